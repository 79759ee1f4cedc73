use std::time::Duration;

use llm_autoscaler_engines::{
    Kind, Measure, Recipe,
    exposition::Value,
    prometheus::{PodLabels, QueryResponse},
};
use serde_json::json;

use super::*;
use crate::sampling::{
    error::FetchProblem,
    memory::{MemoryBudget, NamespaceBudget},
    prometheus::{instant_query::QueryResult, range_samples::SampleDoubt},
};

const STALE_AFTER: Duration = Duration::from_mins(1);
/// The server's time of the responses.
const NOW: f64 = 1000.0;

fn labels() -> PodLabels {
    let replicas = ["replica".to_owned()].into();
    PodLabels { namespace: "namespace".to_owned(), pod: "pod".to_owned(), replicas }
}

fn record(
    state: &mut ServerState,
    query: &QueryId,
    result: Result<QueryResult, FetchError>,
    at: Monotonic,
) -> Vec<Arc<Notify>> {
    let answer = result.map(|result| QueryAnswer::new(query, result, &labels(), at));
    state.record_answer(query, answer, at)
}

fn measure() -> Arc<Measure> {
    named("q")
}

fn named(name: &str) -> Arc<Measure> {
    let recipe = Recipe::series(Kind::Gauge, name, []);
    Arc::new(Measure { recipe, window: Duration::ZERO })
}

fn selection(measure: &Measure) -> Selection {
    let second = Duration::from_secs(1);
    Selection::new(measure, second, second, STALE_AFTER)
}

fn range(measures: &[&Measure]) -> QueryId {
    let selections: Vec<_> = measures.iter().map(|measure| selection(measure)).collect();
    let names = selections.iter().map(|selection| selection.names.clone()).collect();
    QueryId::Range(selections[0].group, names)
}

/// Returns the series of a pod with samples of this value, the latest one at this age.
fn series(pod: &str, age: f64, spacing: f64, count: u32, value: f64) -> serde_json::Value {
    let at = |n: u32| NOW - age - f64::from(n) * spacing;
    let values = (0..count).rev().map(|n| json!([at(n), value.to_string()]));
    json!({
        "metric": {"__name__": "q", "namespace": "models", "pod": pod},
        "values": values.collect::<Vec<_>>(),
    })
}

fn state(series: &[serde_json::Value], partial: bool) -> ServerState {
    let body = json!({
        "status": "success",
        "isPartial": partial,
        "data": {"resultType": "matrix", "result": series},
    });
    let response = QueryResponse::parse(body.to_string().as_bytes()).unwrap();
    let memory = NamespaceBudget::plenty().empty();
    let result = Ok(QueryResult { response, now: NOW, clock_ahead: None, memory });
    let mut state = ServerState::default();
    record(&mut state, &range(&[&measure()]), result, Monotonic::default());
    state
}

fn doubt(state: &ServerState, pod: &str) -> Option<SampleDoubt> {
    let now = Monotonic::default();
    let (pod, measure) = (("models", pod), measure());
    let range = state.range(&selection(&measure));
    let sample = range.map_or(Ok(None), |range| range.sample(pod, &measure, STALE_AFTER, now));
    let sample = sample.unwrap().unwrap();
    assert!(matches!(sample.reading.value, Value::Number(_)), "it may grow the target still");
    sample.doubt
}

#[test]
fn a_sample_that_should_have_had_successors_is_in_doubt() {
    // age and spacing in seconds, number of samples; whether it is late
    let table = [
        (25.0, 5.0, 7, true),
        (13.0, 5.0, 9, true),
        (12.0, 5.0, 9, false),
        (25.0, 15.0, 3, false),
        (37.0, 15.0, 2, false),
        (38.0, 15.0, 2, true),
        (59.0, 30.0, 2, false),
        // Samples of short intervals reach a store late.
        (6.0, 1.0, 50, false),
        (8.0, 1.0, 50, true),
        // A pod with one sample, and no neighbour.
        (20.0, 0.0, 1, false),
        (31.0, 0.0, 1, true),
    ];
    for (age, spacing, count, is_late) in table {
        let state = state(&[series("a-3", age, spacing, count, 0.0)], false);
        let found = doubt(&state, "a-3");
        let found_late = matches!(found, Some(SampleDoubt::Late { .. }));
        assert_eq!((found_late, found.is_some()), (is_late, is_late), "{age} {spacing} {count}");
    }
}

#[test]
fn the_last_sample_of_a_pod_has_the_spacing_of_its_neighbours() {
    let series = [series("a-0", 3.0, 5.0, 9, 5.0), series("a-3", 25.0, 0.0, 1, 0.0)];
    let state = state(&series, false);
    assert_eq!(doubt(&state, "a-0"), None);
    let (age, spacing) = (Duration::from_secs(25), Some(Duration::from_secs(5)));
    assert_eq!(doubt(&state, "a-3"), Some(SampleDoubt::Late { age, spacing }));
}

#[test]
fn a_sample_of_a_partial_response_is_in_doubt() {
    let series = [series("a-0", 3.0, 5.0, 9, 5.0)];
    assert_eq!(doubt(&state(&series, false), "a-0"), None);
    let found = doubt(&state(&series, true), "a-0");
    assert!(matches!(&found, Some(SampleDoubt::Warned(text)) if text.contains("isPartial")));
}

#[test]
fn a_partial_response_to_a_query_has_a_warning() {
    let body = br#"{"status":"success","isPartial":true,"data":{"resultType":"vector","result":[{"metric":{},"value":[1795828825,"15"]}]}}"#;
    let response = QueryResponse::parse(body).unwrap();
    let memory = NamespaceBudget::plenty().empty();
    let result = Ok(QueryResult { response, now: NOW, clock_ahead: None, memory });
    let query = QueryId::Expression("sum(q)".to_owned());
    let mut state = ServerState::default();
    record(&mut state, &query, result, Monotonic::default());
    let reply = state.reply("sum(q)").unwrap();
    assert_eq!(reply.numbers.as_ref().unwrap().numbers, [15.0]);
    assert_eq!(reply.warnings.len(), 1, "so the total is incomplete");
}

#[test]
fn a_pod_that_has_come_back_is_at_one_address() {
    let at = |address: &str, age, count, value| {
        let mut series = series("a-0", age, 5.0, count, value);
        series["metric"]["instance"] = json!(address);
        series
    };
    // age of the old pod's latest sample in seconds; addresses
    for (age, addresses) in [(10.0, 2), (16.0, 1), (50.0, 1)] {
        let series = [at("10.0.0.1:8000", age, 3, 0.0), at("10.0.0.2:8000", 1.0, 2, 7.0)];
        let state = state(&series, false);
        let expected = (addresses > 1).then_some(SampleDoubt::Addresses(addresses));
        assert_eq!(doubt(&state, "a-0"), expected, "{age}");
    }
}

#[test]
fn a_failure_is_that_of_the_series_that_were_queried_and_never_their_absence() {
    let (good, bad) = (measure(), named("bad"));
    let mut state = state(&[series("a-0", 3.0, 5.0, 9, 5.0)], false);
    let problem = FetchProblem::Rejected("execution: refused".to_owned());
    let error = FetchError::Request { url: "http://prometheus".to_owned(), problem };
    let wakes = [(&good, Arc::new(Notify::new())), (&bad, Arc::new(Notify::new()))];
    let registry = crate::sampling::feed::FeedRegistry::<u8, ServerState>::default();
    for (measure, wake) in &wakes {
        let demand = QueryDemand {
            selections: [selection(measure)].into(),
            queries: [].into(),
            interval: STALE_AFTER,
            timeout: STALE_AFTER,
            stale_after: STALE_AFTER,
            wake: wake.clone(),
        };
        state.subscribe(registry.new_subscriber(), demand);
    }
    let at = Monotonic::default();
    let woken = record(&mut state, &range(&[&bad]), Err(error.clone()), at);
    assert!(woken.len() == 1 && Arc::ptr_eq(&woken[0], &wakes[1].1), "who wants it is woken");
    assert_eq!(doubt(&state, "a-0"), None, "the other series are untouched");
    let failed = state.range(&selection(&bad)).unwrap();
    let found = failed.sample(("models", "a-0"), &bad, STALE_AFTER, at);
    assert_eq!(found.err(), Some(error.clone()));
    record(&mut state, &range(&[&good]), Err(error.clone()), at);
    assert_eq!(doubt(&state, "a-0"), Some(SampleDoubt::Failed(error)), "kept, and in doubt");
}

#[test]
fn what_nobody_wants_any_more_is_forgotten() {
    let mut state = state(&[series("a-0", 3.0, 5.0, 9, 5.0)], false);
    assert!(state.range(&selection(&measure())).is_some());
    let plan = state.plan(&Splits::default());
    assert!(plan.queries.is_empty() && state.range(&selection(&measure())).is_none());
}

/// Hundreds of autoscalers may want thousands of series more than a server is asked for.
#[test]
fn subscribers_of_many_series_are_found_at_once() {
    let measures: Vec<_> = (0..6000).map(|number| named(&format!("q{number}"))).collect();
    let wanted: Vec<_> =
        measures.iter().map(|measure| Wanted::Selection(selection(measure))).collect();
    let registry = crate::sampling::feed::FeedRegistry::<u8, ServerState>::default();
    let mut state = ServerState::default();
    for some in measures.chunks(8) {
        let demand = QueryDemand {
            selections: some.iter().map(|measure| selection(measure)).collect(),
            queries: ["up".to_owned()].into(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            stale_after: STALE_AFTER,
            wake: Arc::default(),
        };
        state.subscribe(registry.new_subscriber(), demand);
    }
    let began = std::time::Instant::now();
    assert_eq!(state.subscribers(&wanted).len(), 750);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(state.subscribers(&wanted[..9]).len(), 2);
    assert_eq!(state.subscribers(&[Wanted::Expression("up".to_owned())]).len(), 750);
    assert!(state.subscribers(&[]).is_empty());
}

/// Returns a result with this many series and this much reserved memory.
fn result_of(series: usize, budget: &NamespaceBudget, bytes: usize) -> QueryResult {
    let series: Vec<_> = (0..series).map(|_| r#"{"metric":{},"value":[1,"2"]}"#).collect();
    let series = series.join(",");
    let body =
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#);
    let response = QueryResponse::parse(body.as_bytes()).unwrap();
    let mut memory = budget.empty();
    memory.resize(bytes).unwrap();
    QueryResult { response, now: NOW, clock_ahead: None, memory }
}

/// Numbers that were kept without a reservation took memory beyond any budget.
#[test]
fn the_numbers_of_an_expression_count_in_the_budget_of_memory() {
    let budget = MemoryBudget::new(1 << 20, crate::telemetry::Telemetry::default());
    let namespace = budget.of("ns");
    let query = QueryId::Expression("x".to_owned());
    let mut state = ServerState::default();
    let result = result_of(1000, &namespace, 400_000);
    record(&mut state, &query, Ok(result), Monotonic::default());
    assert_eq!(state.reply("x").unwrap().numbers.as_ref().unwrap().numbers.len(), 1000);
    assert!((8_000..20_000).contains(&budget.used()), "{}", budget.used());
    state.plan(&Splits::default());
    assert_eq!(budget.used(), 0, "nobody wants it");
}

/// A response that filled the share of its namespace used to keep all later ones out.
#[test]
fn a_response_that_is_too_old_to_be_used_takes_no_memory() {
    let budget = MemoryBudget::new(1 << 20, crate::telemetry::Telemetry::default());
    let (namespace, query) = (budget.of("ns"), range(&[&measure()]));
    let mut state = ServerState::default();
    let mut record = |seconds, result| {
        record(&mut state, &query, result, Monotonic(Duration::from_secs(seconds)));
    };
    record(100, Ok(result_of(1, &namespace, 400_000)));
    let failed = || {
        let problem = FetchProblem::Timeout(Duration::from_secs(1));
        Err(FetchError::Request { url: String::new(), problem })
    };
    record(160, failed());
    assert_eq!(budget.used(), 400_000, "a sample may still be used");
    record(161, failed());
    assert_eq!(budget.used(), 0);
}

/// A reading of a histogram has a list of its own for each measure and pod.
#[test]
fn readings_count_in_the_budget_of_memory() {
    let budget = MemoryBudget::new(20_000, crate::telemetry::Telemetry::default());
    let body = json!({"status": "success", "data": {"resultType": "matrix",
        "result": [series("a-0", 1.0, 1.0, 5, 3.0)]}});
    let response = QueryResponse::parse(body.to_string().as_bytes()).unwrap();
    let memory = budget.of("ns").empty();
    let result = Ok(QueryResult { response, now: NOW, clock_ahead: None, memory });
    let mut state = ServerState::default();
    record(&mut state, &range(&[&measure()]), result, Monotonic::default());
    let mut used = Vec::new();
    // Each measure has an address of its own, and so has a reading of its own.
    let measures: Vec<_> = (0..200).map(|_| measure()).collect();
    for measure in &measures {
        let results = state.range(&selection(measure)).unwrap();
        let sample = results.sample(("models", "a-0"), measure, STALE_AFTER, Monotonic::default());
        assert!(sample.unwrap().is_some(), "it is made anew where it cannot be kept");
        used.push(budget.used());
    }
    assert!(used[0] > 0 && used.is_sorted() && used[199] <= 10_000, "{used:?}");
    assert_eq!(used[198], used[199], "there is no more memory");
}
