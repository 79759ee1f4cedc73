use std::time::Duration;

use futures::FutureExt;
use llm_autoscaler_engines::{Kind, Measure, Recipe, prometheus::QueryResponse};
use tokio::sync::Notify;

use super::*;
use crate::{
    kube_api::stand_in::{Answer, Received, StandIn},
    sampling::{
        egress::Egress,
        error::FetchProblem,
        feed::FeedRegistry,
        memory::NamespaceBudget,
        prometheus::demand::{QueryDemand, Selection},
    },
};

fn key() -> ServerKey {
    ServerKey::of_tests("http://prometheus:9090")
}

async fn context(telemetry: &Telemetry) -> QueryContext {
    let api = StandIn::start(|_: &Received| Answer::Never).await;
    let credentials = CredentialStore::new(api.client.clone(), Egress::default()).unwrap();
    QueryContext::new(credentials, telemetry.clone(), Clock::start(), MemoryBudget::plenty())
}

fn demand(series: &[&str], queries: &[&str], wake: &Arc<Notify>) -> QueryDemand {
    let second = Duration::from_secs(1);
    let selection = |name: &&str| {
        let recipe = Recipe::series(Kind::Gauge, *name, []);
        Selection::new(&Measure { recipe, window: Duration::ZERO }, second, second, second)
    };
    QueryDemand {
        selections: series.iter().map(selection).collect(),
        queries: queries.iter().map(|&query| query.to_owned()).collect(),
        interval: second,
        timeout: second,
        stale_after: second,
        wake: wake.clone(),
    }
}

/// A server with queries that panicked used to say "no answer yet" for ever.
#[tokio::test]
async fn a_server_whose_task_panics_has_an_error_for_every_query() {
    let telemetry = Telemetry::default();
    let context = context(&telemetry).await;
    let wake = Arc::new(Notify::new());
    let demand = demand(&["q"], &["up"], &wake);
    let selection = demand.selections[0].clone();
    let registry = FeedRegistry::<ServerKey, ServerState>::default();
    let never = |_: &_, _| {};
    let server = registry.subscribe(registry.new_subscriber(), &key(), demand, never);

    let panic = Supervisor::impatient().call("prometheus", || panic!("overflow"));
    fail(&context, &server, &panic.unwrap_err());
    let state = server.state();
    let of_range =
        state.range(&selection).and_then(|range| range.error.as_ref()).map(ToString::to_string);
    let of_query = state.reply("up").and_then(|reply| reply.error.as_ref());
    for error in [of_range, of_query.map(ToString::to_string)] {
        let error = error.unwrap();
        assert!(error.contains("overflow") && error.contains("InternalError"), "{error}");
    }
    assert!(wake.notified().now_or_never().is_some());
    assert!(telemetry.open_metrics().contains("queries_total{result=\"internal\"} 2\n"));
}

/// Runs the loop with a server that answers `never` never, and refuses the series `bad`.
async fn serve(server: &Arc<PrometheusServer>, until: impl Future<Output = ()>) {
    let ask = async |query: InstantQuery| {
        if query.expression == "never" {
            std::future::pending::<()>().await;
        }
        if query.expression.contains("bad") {
            let problem = FetchProblem::Rejected("execution: refused".to_owned());
            return Err(FetchError::Request { url: "http://prometheus".to_owned(), problem });
        }
        let body = br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
        let response = QueryResponse::parse(body).unwrap();
        let memory = NamespaceBudget::plenty().empty();
        Ok(QueryResult { response, now: 1.0, clock_ahead: None, memory })
    };
    let context = Arc::new(context(&Telemetry::default()).await);
    let serving = query_repeatedly(context, server.clone(), ask);
    let until = tokio::time::timeout(Duration::from_secs(20), until);
    tokio::select! {
        () = serving => {}
        ended = until => ended.unwrap(),
    }
}

#[tokio::test]
async fn an_answer_is_there_at_once_although_another_query_never_ends() {
    let registry = FeedRegistry::<ServerKey, ServerState>::default();
    let (wake, other) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let subscribe = |demand| {
        let never = |_: &_, _| {};
        registry.subscribe(registry.new_subscriber(), &key(), demand, never)
    };
    subscribe(demand(&[], &["never"], &other));
    let wanted = demand(&["good", "bad"], &["up"], &wake);
    let server = subscribe(wanted.clone());
    let is_there = async || loop {
        wake.notified().await;
        let state = server.state();
        let ranges: Vec<_> = wanted.selections.iter().map(|it| state.range(it).is_some()).collect();
        if state.reply("up").is_some() && ranges == [true, true] {
            let failed = |it| state.range(it).is_some_and(|range| range.error.is_some());
            let errors = wanted.selections.iter().map(failed);
            assert_eq!(errors.collect::<Vec<_>>(), [false, true], "only the refused series");
            break;
        }
    };
    serve(&server, is_there()).await;
    assert!(server.state().reply("never").is_none());
    assert!(other.notified().now_or_never().is_none(), "it has no answer to wake for");
}

#[tokio::test]
async fn a_demand_beyond_the_limit_has_an_error_that_says_what_to_do() {
    let registry = FeedRegistry::<ServerKey, ServerState>::default();
    let wake = Arc::new(Notify::new());
    let names: Vec<String> = (0..MOST_WANTED).map(|number| format!("q{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let subscribe = |demand| {
        let never = |_: &_, _| {};
        registry.subscribe(registry.new_subscriber(), &key(), demand, never)
    };
    subscribe(demand(&[], &names, &Arc::default()));
    let server = subscribe(demand(&[], &["late"], &wake));
    serve(&server, wake.notified()).await;
    let error = server.state().reply("late").and_then(|reply| reply.error.clone());
    let error = error.unwrap().to_string();
    let expected = "http://prometheus:9090 is queried for 256 different expressions and sets of \
                    series already, the most that it is for one namespace: let autoscalers of \
                    namespace ns share";
    assert!(error.starts_with(expected), "{error}");
}

/// The share of a server with targets at zero used to be that of the moment at which its plan was
/// made.
#[tokio::test]
async fn queries_at_zero_get_fewer_when_other_namespaces_come() {
    let context = Arc::new(context(&Telemetry::default()).await);
    let key = |namespace: usize| ServerKey {
        namespace: namespace.to_string(),
        pace: QueryPace::AtZero,
        ..key()
    };
    let registry = FeedRegistry::<ServerKey, ServerState>::default();
    let (wanted, never) = (demand(&[], &["up"], &Arc::default()), |_: &_, _| {});
    let server = registry.subscribe(registry.new_subscriber(), &key(0), wanted, never);
    let sent = std::cell::Cell::new(0);
    let ask = |_: InstantQuery| {
        sent.set(sent.get() + 1);
        async {
            let problem = FetchProblem::Status(429);
            Err(FetchError::Request { url: String::new(), problem })
        }
    };
    let mut serving = std::pin::pin!(query_repeatedly(context.clone(), server, ask));
    let mut count_for = async |millis| {
        sent.set(0);
        let time = Duration::from_millis(millis);
        tokio::time::timeout(time, serving.as_mut()).await.unwrap_err();
        sent.get()
    };
    assert!(count_for(800).await >= 2, "every half a second");
    let others = (1..=1000).map(|number| context.zero_queries.enter(&key(number)));
    let _others: Vec<_> = others.collect();
    // The next one was planned before they came.
    count_for(700).await;
    assert_eq!(count_for(700).await, 0, "every 25 s");
}
