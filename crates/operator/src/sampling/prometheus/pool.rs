//! The Prometheus servers that are queried.

use std::sync::Arc;

use crate::{
    clock::Clock,
    sampling::{
        credentials::CredentialStore,
        error::FetchError,
        feed::{Change, FeedRegistry, SubscriberId},
        memory::MemoryBudget,
        prometheus::{
            demand::{QueryDemand, QueryPace, ServerKey},
            query_loop::{self, PrometheusServer, QueryContext},
            state::ServerState,
        },
    },
    telemetry::Telemetry,
};

/// The largest number of servers that the autoscalers of one namespace query.
const MOST_SERVERS: usize = 16;

/// All servers that have subscribers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PrometheusPool {
    servers: Arc<FeedRegistry<ServerKey, ServerState>>,
    context: Arc<QueryContext>,
}

impl PrometheusPool {
    /// Returns a pool without servers.
    pub(crate) fn new(
        credentials: CredentialStore,
        telemetry: Telemetry,
        clock: Clock,
        memory: MemoryBudget,
    ) -> Self {
        let context = Arc::new(QueryContext::new(credentials, telemetry, clock, memory));
        Self { servers: Arc::default(), context }
    }

    /// Returns the ID of a new subscriber.
    pub(crate) fn new_subscriber(&self) -> SubscriberId {
        self.servers.new_subscriber()
    }

    /// Subscribes to a server, or changes the demand.
    ///
    /// # Errors
    /// It would be one server too many of its namespace.
    pub(crate) fn subscribe(
        &self,
        subscriber: SubscriberId,
        key: &ServerKey,
        demand: QueryDemand,
    ) -> Result<Arc<PrometheusServer>, FetchError> {
        let tell = |server: &Arc<PrometheusServer>, change| match change {
            Change::Begun => query_loop::begin(self.context.clone(), server),
            Change::Changed => server.sampler.changed.notify_one(),
        };
        let is_counted =
            |known: &ServerKey| known.namespace == key.namespace && known.pace == QueryPace::Normal;
        let has_room = |servers: &mut dyn Iterator<Item = &ServerKey>| {
            // A server of targets at zero is counted as the one that they have already.
            key.pace == QueryPace::AtZero
                || servers.filter(|known| is_counted(known)).count() < MOST_SERVERS
        };
        let server = self.servers.subscribe_if(subscriber, key, demand, has_room, tell);
        server.ok_or_else(|| FetchError::TooManyServers {
            url: key.url.clone(),
            namespace: key.namespace.clone(),
            limit: MOST_SERVERS,
        })
    }

    /// Ends the subscription to a server.
    pub(crate) fn unsubscribe(&self, subscriber: SubscriberId, key: &ServerKey) {
        self.servers.unsubscribe(subscriber, key, |server| server.sampler.end());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        kube_api::stand_in::{Answer, Received, StandIn},
        sampling::egress::Egress,
    };

    #[tokio::test]
    async fn a_namespace_has_a_limited_number_of_servers() {
        let api = StandIn::start(|_: &Received| Answer::Never).await;
        let credentials = CredentialStore::new(api.client.clone(), Egress::default()).unwrap();
        let pool = PrometheusPool::new(
            credentials,
            Telemetry::default(),
            Clock::start(),
            MemoryBudget::plenty(),
        );
        let key = |number: usize, namespace: &str, pace| ServerKey {
            namespace: namespace.to_owned(),
            pace,
            ..ServerKey::of_tests(format!("http://192.0.2.1:{number}"))
        };
        let demand = QueryDemand {
            selections: [].into(),
            queries: [].into(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            stale_after: Duration::from_secs(1),
            wake: Arc::default(),
        };
        let subscriber = pool.new_subscriber();
        let subscribe = |key: &ServerKey| pool.subscribe(subscriber, key, demand.clone());
        for number in 0..MOST_SERVERS {
            assert!(subscribe(&key(number, "a", QueryPace::Normal)).is_ok());
        }
        let (first, late) = (key(0, "a", QueryPace::Normal), key(99, "a", QueryPace::Normal));
        let error = subscribe(&late).err().unwrap().to_string();
        let expected = "http://192.0.2.1:99 is not queried: the autoscalers of namespace a query \
                        16 servers already";
        assert!(error.starts_with(expected), "{error}");
        assert!(subscribe(&first).is_ok(), "a known server");
        assert!(subscribe(&key(0, "a", QueryPace::AtZero)).is_ok(), "at zero");
        assert!(subscribe(&key(99, "b", QueryPace::Normal)).is_ok(), "another namespace");
        pool.unsubscribe(subscriber, &first);
        assert!(subscribe(&late).is_ok(), "there is room again");
    }
}
