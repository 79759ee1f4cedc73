//! The loop that queries one Prometheus server.

use std::sync::Arc;

use futures::{
    StreamExt,
    future::{Abortable, Aborted},
    stream::FuturesUnordered,
};
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use crate::{
    clock::Clock,
    sampling::{
        credentials::CredentialStore,
        error::FetchError,
        feed::Feed,
        memory::MemoryBudget,
        prometheus::{
            answer::QueryAnswer,
            client::QueryClient,
            demand::{QueryPace, ServerKey},
            dialect::Dialect,
            instant_query::{InstantQuery, QueryResult},
            permits::{QueryPermits, ZeroQueries},
            query_plan::{MOST_WANTED, QueryId, Wanted},
            scheduler::{DueQuery, Scheduler},
            splits::Splits,
            state::ServerState,
        },
    },
    spans,
    supervise::{Panic, Supervisor},
    telemetry::Telemetry,
};

/// The task's name in the operator's metrics.
const NAME: &str = "prometheus";

/// A server and its results, which one task queries for all subscribers.
pub(crate) type PrometheusServer = Feed<ServerKey, ServerState>;

/// The resources that all query loops share.
pub(super) struct QueryContext {
    client: QueryClient,
    permits: QueryPermits,
    zero_queries: ZeroQueries,
    telemetry: Telemetry,
    clock: Clock,
    supervisor: Supervisor,
}

/// A query that has ended.
struct CompletedQuery {
    id: QueryId,
    answer: Result<QueryAnswer, FetchError>,
    /// The time at which it was sent.
    sent: Instant,
}

impl QueryContext {
    pub(super) fn new(
        credentials: CredentialStore,
        telemetry: Telemetry,
        clock: Clock,
        memory: MemoryBudget,
    ) -> Self {
        let supervisor = Supervisor::new(telemetry.clone(), clock);
        let (permits, zero_queries) = (QueryPermits::default(), ZeroQueries::default());
        let client = QueryClient::new(credentials, memory);
        Self { client, permits, zero_queries, telemetry, clock, supervisor }
    }
}

/// Begins to query a server.
pub(super) fn begin(context: Arc<QueryContext>, server: &Arc<PrometheusServer>) {
    let supervisor = context.supervisor.clone();
    server.sampler.begin(|| supervisor.spawn(NAME, run(context, server.clone())));
}

/// Queries one server until the task is aborted. A panic is the error of all of its queries.
async fn run(context: Arc<QueryContext>, server: Arc<PrometheusServer>) {
    let dialect = Arc::new(Dialect::default());
    let start = || {
        let (asking, asked, dialect) = (context.clone(), server.clone(), dialect.clone());
        let ask = move |query: InstantQuery| {
            let (context, server, dialect) = (asking.clone(), asked.clone(), dialect.clone());
            async move {
                let span = spans::query(&server.key.namespace, &server.key.url);
                let asked = context.client.query(&server.key, &query, &dialect);
                let result = asked.instrument(span.clone()).await;
                spans::record_result(
                    &span,
                    result.as_ref().map_or_else(FetchError::kind, |_| "ok"),
                );
                result
            }
        };
        query_repeatedly(context.clone(), server.clone(), ask)
    };
    context.supervisor.repeat(NAME, start, |panic| fail(&context, &server, panic)).await;
}

/// Records a panic, and wakes the subscribers.
fn fail(context: &QueryContext, server: &PrometheusServer, panic: &Panic) {
    let error = FetchError::Internal(panic.clone());
    let plan = server.state().plan(&Splits::default());
    for id in plan.queries.into_keys() {
        context.telemetry.record_query(error.kind());
        record(context, server, &id, Err(error.clone()));
    }
}

/// Records the answer to a query, and wakes its subscribers.
fn record(
    context: &QueryContext,
    server: &PrometheusServer,
    id: &QueryId,
    answer: Result<QueryAnswer, FetchError>,
) {
    let now = context.clock.monotonic();
    let subscribers = server.state().record_answer(id, answer, now);
    for subscriber in subscribers {
        subscriber.notify_one();
    }
}

/// Sends each query when it is due, and records its result as soon as it is there. `ask` sends one.
async fn query_repeatedly<F>(
    context: Arc<QueryContext>,
    server: Arc<PrometheusServer>,
    ask: impl Fn(InstantQuery) -> F,
) where
    F: Future<Output = Result<QueryResult, FetchError>>,
{
    let share = match server.key.pace {
        QueryPace::AtZero => Some(context.zero_queries.enter(&server.key)),
        QueryPace::Normal => None,
    };
    let mut scheduler = Scheduler::new(&server.key);
    let mut in_flight = FuturesUnordered::new();
    let mut planned = None;
    loop {
        let now = Instant::now();
        let generation = Some(server.state().generation());
        if scheduler.is_outdated(now) || planned != generation {
            planned = generation;
            set_plan(&server, &mut scheduler, now);
        }
        if let Some(share) = &share {
            // Others come and go while the plan stays.
            scheduler.set_crowd(share.crowd(scheduler.query_count()));
        }
        for due in scheduler.take_due(now) {
            in_flight.push(send(&context, &server, &ask, due));
        }
        let next = scheduler.next_due();
        tokio::select! {
            biased;
            Some(ended) = in_flight.next() => {
                // A query that was cancelled is no longer known.
                if let Ok(completed) = ended {
                    complete(&context, &server, &mut scheduler, completed);
                }
            }
            () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
            () = server.sampler.changed.notified() => {}
        }
    }
}

/// Makes the plan anew. Demands beyond the limit of a server have an error.
fn set_plan(server: &PrometheusServer, scheduler: &mut Scheduler, now: Instant) {
    let mut state = server.state();
    let plan = state.plan(scheduler.splits());
    let ServerKey { url, namespace, .. } = &server.key;
    let (url, namespace) = (url.clone(), namespace.clone());
    let error = FetchError::TooManyQueries { url, namespace, limit: MOST_WANTED };
    let excess: Vec<Wanted> = plan.excess.iter().cloned().collect();
    for wanted in &excess {
        state.record_error(wanted, &error);
    }
    let subscribers = state.subscribers(&excess);
    drop(state);
    for subscriber in subscribers {
        subscriber.notify_one();
    }
    scheduler.set_plan(&plan, now);
}

/// Sends a query when its namespace has a permit left.
async fn send<F>(
    context: &QueryContext,
    server: &PrometheusServer,
    ask: &impl Fn(InstantQuery) -> F,
    DueQuery { id, settings, registration }: DueQuery,
) -> Result<CompletedQuery, Aborted>
where
    F: Future<Output = Result<QueryResult, FetchError>>,
{
    let query = id.query(&server.key, &settings);
    let sending = async {
        let _permit = context.permits.enter(&server.key.namespace, id.lane()).await;
        let sent = Instant::now();
        let result = ask(query).await;
        let at = context.clock.monotonic();
        let answer = match result {
            Ok(result) => QueryAnswer::sorted(&id, result, &server.key, at).await,
            Err(error) => Err(error),
        };
        (answer, sent)
    };
    let (answer, sent) = Abortable::new(sending, registration).await?;
    Ok(CompletedQuery { id, answer, sent })
}

/// Records the end of a query, and wakes its subscribers. A query that is asked again in parts has
/// no result yet, unless it has taken as long as it may.
fn complete(
    context: &QueryContext,
    server: &PrometheusServer,
    scheduler: &mut Scheduler,
    CompletedQuery { id, answer, sent }: CompletedQuery,
) {
    let now = Instant::now();
    let error = answer.as_ref().err();
    context.telemetry.record_query(error.map_or("ok", FetchError::kind));
    let duration = now.saturating_duration_since(sent);
    context.telemetry.record_query_duration(duration);
    let is_split = scheduler.record(&id, error, duration, now);
    if !is_split || error.is_some_and(FetchError::is_timeout) {
        record(context, server, &id, answer);
    }
}

#[cfg(test)]
mod tests;
