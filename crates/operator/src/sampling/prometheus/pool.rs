//! The Prometheus servers that are queried.

use std::sync::Arc;

use crate::{
    clock::Clock,
    sampling::{
        credentials::CredentialStore,
        feed::{FeedRegistry, SubscriberId},
        memory::MemoryBudget,
        prometheus::{
            demand::{QueryDemand, ServerKey},
            query_loop::{self, PrometheusServer, QueryContext},
            state::ServerState,
        },
    },
    telemetry::Telemetry,
};

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
    pub(crate) fn subscribe(
        &self,
        subscriber: SubscriberId,
        key: &ServerKey,
        demand: QueryDemand,
    ) -> Arc<PrometheusServer> {
        let run = |server| query_loop::run(self.context.clone(), server);
        self.servers.subscribe(subscriber, key, demand, run)
    }

    /// Ends the subscription to a server.
    pub(crate) fn unsubscribe(&self, subscriber: SubscriberId, key: &ServerKey) {
        self.servers.unsubscribe(subscriber, key);
    }
}
