//! The loop that queries one Prometheus server.

use std::{collections::BTreeSet, sync::Arc};

use futures::{StreamExt, stream};
use tokio::time::{Instant, sleep_until};

use crate::{
    clock::Clock,
    sampling::{
        credentials::CredentialStore,
        error::FetchError,
        feed::Feed,
        memory::MemoryBudget,
        prometheus::{
            client::QueryClient,
            demand::ServerKey,
            query_plan::{PlannedQuery, QueryPlan},
            state::{CompletedQuery, ServerState},
        },
        schedule::Schedule,
    },
    supervise::{Panic, Supervisor},
    telemetry::Telemetry,
};

/// The number of concurrent queries to one server.
const CONCURRENCY: usize = 4;

/// A server and its results, which one task queries for all subscribers.
pub(crate) type PrometheusServer = Feed<ServerKey, ServerState>;

/// The resources that all query loops share.
pub(super) struct QueryContext {
    client: QueryClient,
    telemetry: Telemetry,
    clock: Clock,
    supervisor: Supervisor,
}

impl QueryContext {
    pub(super) fn new(
        credentials: CredentialStore,
        telemetry: Telemetry,
        clock: Clock,
        memory: MemoryBudget,
    ) -> Self {
        let supervisor = Supervisor::new(telemetry.clone(), clock);
        Self { client: QueryClient::new(credentials, memory), telemetry, clock, supervisor }
    }
}

/// Queries one server until the task is aborted. A panic is the error of all of its queries.
pub(super) async fn run(context: Arc<QueryContext>, server: Arc<PrometheusServer>) {
    let start = || query_repeatedly(context.clone(), server.clone());
    context.supervisor.repeat("prometheus", start, |panic| fail(&context, &server, panic)).await;
}

/// Records a panic, and wakes the subscribers.
fn fail(context: &QueryContext, server: &PrometheusServer, panic: &Panic) {
    let error = FetchError::Internal(panic.clone());
    let queries = server.state().plan().queries(&server.key);
    let completed = queries.into_iter().map(|PlannedQuery { purpose, .. }| {
        context.telemetry.record_query(error.kind());
        CompletedQuery { purpose, result: Err(error.clone()) }
    });
    record(context, server, completed.collect());
}

/// Records the results of a round, and wakes the subscribers.
fn record(context: &QueryContext, server: &PrometheusServer, completed: Vec<CompletedQuery>) {
    let now = context.clock.monotonic();
    let subscribers = server.state().record_results(completed, &server.key.labels, now);
    for subscriber in subscribers {
        subscriber.notify_one();
    }
}

async fn query_repeatedly(context: Arc<QueryContext>, server: Arc<PrometheusServer>) {
    let mut schedule = Schedule::new(Instant::now());
    let mut queried = BTreeSet::new();
    loop {
        tokio::select! {
            biased;
            () = sleep_until(schedule.next()) => {
                let plan = server.state().plan();
                queried = plan.parts();
                schedule.record_read(query_all(&context, &server, &plan).await);
            }
            () = server.changed.notified() => {
                // A new demand is queried at once.
                if !server.state().plan().parts().is_subset(&queried) {
                    schedule.tick_now(Instant::now());
                    continue;
                }
            }
        }
        let interval = server.state().interval(server.key.pace);
        schedule.plan_next(interval, server.phase(interval), Instant::now());
    }
}

/// Sends all queries of a plan once, and wakes the subscribers. Returns true if all succeeded.
async fn query_all(context: &QueryContext, server: &PrometheusServer, plan: &QueryPlan) -> bool {
    let completed: Vec<_> = stream::iter(plan.queries(&server.key))
        .map(|PlannedQuery { purpose, query }| async move {
            let result = context.client.query(&server.key, &query).await;
            context.telemetry.record_query(result.as_ref().err().map_or("ok", FetchError::kind));
            CompletedQuery { purpose, result }
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let ok = completed.iter().all(|query| query.result.is_ok());
    record(context, server, completed);
    ok
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use llm_autoscaler_api::Access;
    use llm_autoscaler_engines::{Kind, Measure, Recipe, prometheus::PodLabels};
    use tokio::sync::Notify;

    use super::*;
    use crate::{
        kube_api::stand_in::{Answer, Received, StandIn},
        sampling::{
            egress::Egress,
            feed::FeedRegistry,
            prometheus::demand::{QueryDemand, QueryPace},
        },
    };

    /// A server whose first round panicked used to say "no answer yet" for ever.
    #[tokio::test]
    async fn a_server_whose_task_panics_has_an_error_for_every_query() {
        let api = StandIn::start(|_: &Received| Answer::Never).await;
        let credentials = CredentialStore::new(api.client.clone(), Egress::default()).unwrap();
        let telemetry = Telemetry::default();
        let memory = MemoryBudget::plenty();
        let context = QueryContext::new(credentials, telemetry.clone(), Clock::start(), memory);
        let (namespace, pod) = ("namespace".to_owned(), "pod".to_owned());
        let key = ServerKey {
            url: "http://prometheus:9090".to_owned(),
            labels: PodLabels { namespace, pod, replicas: [].into() },
            matchers: [].into(),
            access: Arc::new(Access::default()),
            namespace: "ns".to_owned(),
            pace: QueryPace::Normal,
        };
        let (wake, second) = (Arc::new(Notify::new()), Duration::from_secs(1));
        let recipe = Recipe::series(Kind::Gauge, "q", []);
        let measure = Arc::new(Measure { recipe, window: Duration::ZERO });
        let demand = QueryDemand {
            namespace: "ns".to_owned(),
            measures: [measure.clone()].into(),
            queries: ["up".to_owned()].into(),
            interval: second,
            timeout: second,
            stale_after: second,
            wake: wake.clone(),
        };
        let registry = FeedRegistry::<ServerKey, ServerState>::default();
        let never = |_| std::future::pending();
        let server = registry.subscribe(registry.new_subscriber(), &key, demand, never);

        let panic = Supervisor::impatient().call("prometheus", || panic!("overflow"));
        fail(&context, &server, &panic.unwrap_err());
        let state = server.state();
        let of_range = state.error(&measure, second).map(ToString::to_string);
        let of_query = state.reply("up").and_then(|reply| reply.error.as_ref());
        for error in [of_range, of_query.map(ToString::to_string)] {
            let error = error.unwrap();
            assert!(error.contains("overflow") && error.contains("InternalError"), "{error}");
        }
        assert!(wake.notified().now_or_never().is_some());
        assert!(telemetry.page().contains("queries_total{result=\"internal\"} 2\n"));
    }
}
