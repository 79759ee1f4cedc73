//! Lookups on a page after one or more scrapes, at the interval 1 s and the timeout 1 s.

use std::iter;

use llm_autoscaler_engines::{
    Gateway, Kind, Program, Recipe, Signal,
    exposition::{PageError, Scratch},
};
use tokio::sync::Notify;

use super::*;
use crate::sampling::{
    error::{FetchError, FetchProblem},
    feed::{FeedRegistry, FeedState},
    measure_set::MeasureSets,
    memory::NamespaceBudget,
    page_state::{PageKey, PageSubscription, ScrapeResult, ScrapedPage},
};

/// A scrape: its time in ms, and the page or the problem.
type Scrape<'a> = (u64, Result<&'a str, FetchProblem>);

const WAITING: &str = "vllm:num_requests_waiting 3\n";
const SGLANG: &str = "# TYPE sglang:num_queue_reqs gauge\nsglang:num_queue_reqs 3\n\
    # TYPE sglang:num_running_reqs gauge\nsglang:num_running_reqs 3\n";
const BAD_LINE: &str = "vllm:num_requests_waiting many\n";

fn ms(ms: u64) -> Monotonic {
    Monotonic(Duration::from_millis(ms))
}

fn address() -> Address {
    Address { ip: [10, 0, 0, 7].into(), port: 8000, tls: false, path: "/metrics".into() }
}

fn config() -> ScrapeConfig {
    ScrapeConfig {
        ports: Vec::new(),
        usual_port: None,
        path: "/metrics".to_owned(),
        tls: false,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        pods: None,
        gateway: None,
        access: Arc::default(),
    }
}

fn measure(kind: Kind, window: u64) -> Arc<Measure> {
    let name = match kind {
        Kind::Counter => "vllm:request_success_total",
        _ => "vllm:num_requests_waiting",
    };
    let recipe = Recipe::series(kind, name, iter::empty());
    Arc::new(Measure { recipe, window: Duration::from_secs(window) })
}

fn subscription(measure: &Arc<Measure>) -> PageSubscription {
    PageSubscription {
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        measures: [measure.clone()].into(),
        wake: Arc::new(Notify::new()),
    }
}

fn state(measure: &Arc<Measure>, scrapes: &[Scrape<'_>]) -> PageState {
    let mut state = PageState::default();
    let subscriber = FeedRegistry::<PageKey, PageState>::default().new_subscriber();
    state.subscribe(subscriber, subscription(measure));
    for scrape in scrapes {
        record(&mut state, scrape);
    }
    state
}

fn record(state: &mut PageState, (at, response): &Scrape<'_>) {
    let measures = state.measures(&NamespaceBudget::plenty(), &MeasureSets::default());
    let (mut scratch, mut extracts) = (Scratch::default(), Vec::new());
    let request = |problem| FetchError::Request { url: address().url(), problem };
    let (bytes, error) = match response {
        Err(problem) => (None, Some(request(problem.clone()))),
        Ok(text) => {
            let parsed = measures.extractor.read(text.as_bytes(), &mut scratch, &mut extracts);
            let is_valid = matches!(parsed, Ok(_) | Err(PageError::BadLine { .. }));
            let error = parsed.err().map(|error| FetchProblem::Invalid(error.to_string()));
            (is_valid.then_some(text.as_bytes()), error.map(request))
        }
    };
    let page = bytes.map(|bytes| ScrapedPage { bytes, extracts: &extracts });
    state.record_scrape(ScrapeResult { measures, at: ms(*at), error, page });
}

fn sample(
    state: &PageState,
    measure: &Arc<Measure>,
    program: impl Into<Program>,
    now: u64,
) -> Lookup {
    let (address, config) = (address(), config());
    let lookup = PageLookup {
        address: &address,
        config: &config,
        program: program.into(),
        subscribed_at: ms(0),
        now: ms(now),
    };
    lookup.sample(state, measure)
}

fn text(lookup: &Lookup) -> String {
    match lookup {
        Lookup::Pending { error: None } => "pending".to_owned(),
        Lookup::Pending { error: Some(error) } => format!("pending: {error}"),
        Lookup::Missing(reason)
        | Lookup::NoNumber(reason)
        | Lookup::Ambiguous(reason)
        | Lookup::OtherEngine { reason, .. } => format!("missing: {reason}"),
        Lookup::NoSeries => "no series".to_owned(),
        Lookup::Contradicted(reason) => format!("contradicted: {reason}"),
        Lookup::Sample(Sample { value, age, doubt, .. }) => {
            let doubt = doubt.as_ref().map(|doubt| format!(", doubt: {doubt}"));
            let (age, doubt) = (age.as_millis(), doubt.unwrap_or_default());
            match value {
                Value::Number(number) => format!("{number} after {age} ms{doubt}"),
                other => format!("{other:?} after {age} ms{doubt}"),
            }
        }
    }
}

#[test]
fn a_gauge_is_pending_then_sampled_then_stale() {
    const URL: &str = "http://10.0.0.7:8000/metrics";
    let timeout = || Err(FetchProblem::Timeout(Duration::from_secs(1)));
    let page = |at| (at, Ok(WAITING));
    let timed_out = format!("{URL}: timed out after 1 s");
    for (name, scrapes, now, expected) in [
        ("the first scrape is awaited", vec![], 30_900, "pending".to_owned()),
        ("for its timeout and 30 s", vec![], 31_000, format!("missing: {URL}: no sample yet")),
        ("a failed first scrape", vec![(100, timeout())], 200, format!("missing: {timed_out}")),
        ("a sample", vec![page(100)], 300, "3 after 200 ms".to_owned()),
        (
            "an older sample after an error is in doubt",
            vec![page(100), (1100, timeout())],
            1200,
            format!("3 after 1100 ms, doubt: {timed_out}"),
        ),
        ("three intervals and the timeout", vec![page(100)], 4100, "3 after 4000 ms".to_owned()),
        ("stale", vec![page(100)], 4101, format!("missing: {URL}: no sample yet")),
        (
            "stale after errors",
            vec![page(100), (4100, timeout())],
            4101,
            format!("missing: {timed_out}"),
        ),
    ] {
        let measure = measure(Kind::Gauge, 0);
        let state = state(&measure, &scrapes);
        assert_eq!(text(&sample(&state, &measure, Engine::Vllm, now)), expected, "{name}");
    }
}

#[test]
fn an_absent_series_is_explained() {
    let has_no = "missing: http://10.0.0.7:8000/metrics has no vllm:num_requests_waiting";
    for (name, page, engine, expected) in [
        ("another engine", SGLANG, Engine::Vllm, "; it looks like a page of SGLang: check"),
        ("no engine", "up 1\n", Engine::Vllm, ", and no other series of vLLM"),
        ("a custom engine", "up 1\n", Engine::Custom, ""),
        (
            "a name that resembles it",
            "vllm:num_requests_queued 1\n",
            Engine::Vllm,
            "; the page has vllm:num_requests_queued",
        ),
        (
            "an unknown program",
            "up 1\njobs_queue 1\nactive_jobs 2\njobs_queue_total 3\n",
            Engine::Vllm,
            ", and no other series of vLLM; its gauges that may tell the load are jobs_queue, \
             active_jobs",
        ),
        ("an engine without a sample", "# TYPE up gauge\n", Engine::Custom, ""),
        ("a custom engine's other series", SGLANG, Engine::Custom, "; it looks like a page of"),
    ] {
        let measure = measure(Kind::Gauge, 0);
        let state = state(&measure, &[(100, Ok(page))]);
        let lookup = sample(&state, &measure, engine, 200);
        let is_other = name == "another engine";
        assert_eq!(matches!(lookup, Lookup::OtherEngine { .. }), is_other, "{name}: {lookup:?}");
        let found = text(&lookup);
        assert!(found.starts_with(&format!("{has_no}{expected}")), "{name}: {found}");
    }
}

#[test]
fn a_gateway_without_a_series_is_explained_by_what_it_needs() {
    let url = "missing: http://10.0.0.7:8000/metrics has no vllm_router_running_requests";
    let policy = "vllm-router publishes its requests in flight only with the policy cache_aware";
    let signal = Gateway::VllmRouter.profile().table.recipe(Signal::InFlightRequests).unwrap();
    let measure = Arc::new(Measure { recipe: signal, window: Duration::ZERO });
    for (page, expected) in [
        (
            "vllm_router_processed_requests_total{worker=\"w\"} 3\nvllm_router_active_workers 1\n",
            format!("{url}; {policy}"),
        ),
        (
            SGLANG,
            format!(
                "{url}; it looks like a page of SGLang: check podSelector and the field gateway, \
                 which is vLLM's router (`vllm-router`)"
            ),
        ),
        ("up 1\n", format!("{url}, and no other series of vLLM's router (`vllm-router`)")),
    ] {
        let state = state(&measure, &[(100, Ok(page))]);
        let found = text(&sample(&state, &measure, Gateway::VllmRouter, 200));
        assert!(found.starts_with(&expected), "{found}");
    }
}

#[test]
fn an_empty_page_is_called_empty() {
    let measure = measure(Kind::Gauge, 0);
    for page in ["", "\n \n"] {
        let state = state(&measure, &[(100, Ok(page))]);
        let found = text(&sample(&state, &measure, Engine::Vllm, 200));
        let expected = "missing: the page http://10.0.0.7:8000/metrics is empty: ";
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn labels_that_no_series_has_are_named_with_those_that_there_are() {
    let labels = [("model_name".to_owned(), "Qwen/Qwen3-32B".to_owned())];
    for (kind, page) in [
        (Kind::Gauge, "queue{engine=\"0\",model_name=\"qwen3-32b\"} 9\n"),
        (Kind::Counter, "queue{model_name=\"qwen3-32b\"} 9\n"),
        (Kind::Histogram, "queue_bucket{model_name=\"qwen3-32b\",le=\"+Inf\"} 9\n"),
    ] {
        let recipe = Recipe::series(kind, "queue", labels.clone());
        let measure = Arc::new(Measure { recipe, window: Duration::ZERO });
        // A rate is pending until there have been two pages.
        let state = state(&measure, &[(100, Ok(page)), (1100, Ok(page))]);
        let found = text(&sample(&state, &measure, Engine::Vllm, 9000));
        let found = if found.contains("no sample yet") {
            text(&sample(&state, &measure, Engine::Vllm, 1200))
        } else {
            found
        };
        assert_eq!(
            found,
            "missing: http://10.0.0.7:8000/metrics has queue, but none with the labels of the \
             selector, model_name=\"Qwen/Qwen3-32B\": it has model_name=\"qwen3-32b\"",
            "{kind:?}"
        );
    }
}

#[test]
fn a_bad_line_is_reported_instead_of_the_absence() {
    let measure = measure(Kind::Gauge, 0);
    let state = state(&measure, &[(100, Ok(BAD_LINE))]);
    let found = text(&sample(&state, &measure, Engine::Vllm, 200));
    assert!(found.starts_with("missing: ") && !found.contains("has no"), "{found}");
    let error = state.error().map(ToString::to_string);
    assert_eq!(error.map(|error| format!("missing: {error}")), Some(found));
}

#[test]
fn a_rate_is_pending_then_young_then_certain() {
    let url = "http://10.0.0.7:8000/metrics";
    let requests: Vec<String> =
        (0..=10).map(|n| format!("vllm:request_success_total {n}\n")).collect();
    let page = |second: usize| (second as u64 * 1000, Ok(requests[second].as_str()));
    let pages = |seconds: usize| (0..=seconds).map(page).collect::<Vec<_>>();
    let timeout = (1000, Err(FetchProblem::Timeout(Duration::from_secs(1))));
    for (name, scrapes, now, expected) in [
        ("one sample", vec![page(0)], 900, "pending".to_owned()),
        (
            "a late first sample",
            vec![(20_000, Ok(requests[0].as_str()))],
            20_100,
            "pending".to_owned(),
        ),
        (
            "an error instead of the second",
            vec![page(0), timeout.clone()],
            1100,
            format!("pending: {url}: timed out after 1 s"),
        ),
        (
            "the second sample is overdue",
            vec![page(0)],
            4000,
            format!("missing: {url}: only one sample so far"),
        ),
        (
            "less than half of the window",
            pages(2),
            2100,
            "1 after 100 ms, doubt: too few samples so far for a scale-down".to_owned(),
        ),
        ("half of the window", pages(5), 5100, "1 after 100 ms".to_owned()),
        ("the window", pages(10), 10_100, "1 after 100 ms".to_owned()),
    ] {
        let measure = measure(Kind::Counter, 10);
        let state = state(&measure, &scrapes);
        assert_eq!(text(&sample(&state, &measure, Engine::Vllm, now)), expected, "{name}");
    }
}

#[test]
fn a_new_subscription_asks_for_a_scrape_and_the_others_keep_their_past() {
    let (waiting, requests) = (measure(Kind::Gauge, 0), measure(Kind::Counter, 10));
    let registry = FeedRegistry::<PageKey, PageState>::default();
    let (first, second) = (registry.new_subscriber(), registry.new_subscriber());
    let mut state = PageState::default();
    state.subscribe(first, subscription(&waiting));
    record(&mut state, &(100, Ok(WAITING)));
    assert!(!state.has_new_measures(&NamespaceBudget::plenty(), &MeasureSets::default()));
    state.subscribe(second, subscription(&requests));
    assert!(state.has_new_measures(&NamespaceBudget::plenty(), &MeasureSets::default()));
    assert_eq!(text(&sample(&state, &waiting, Engine::Vllm, 200)), "3 after 100 ms");
    state.unsubscribe(first);
    state.measures(&NamespaceBudget::plenty(), &MeasureSets::default());
    assert!(state.track(&waiting).is_none() && state.track(&requests).is_some());
}

#[test]
fn a_page_has_a_limited_number_of_measures_and_the_oldest_subscriptions_come_first() {
    let registry = FeedRegistry::<PageKey, PageState>::default();
    let mut state = PageState::default();
    let series = |subscriber: usize, at: usize| {
        let recipe = Recipe::series(Kind::Gauge, format!("s{subscriber}_{at}"), []);
        Arc::new(Measure { recipe, window: Duration::ZERO })
    };
    let mut subscribers = Vec::new();
    for subscriber in 0..300 {
        let measures: Vec<_> = (0..16).map(|at| series(subscriber, at)).collect();
        let id = registry.new_subscriber();
        let wanted = measures.clone().into();
        state.subscribe(id, PageSubscription { measures: wanted, ..subscription(&measures[0]) });
        subscribers.push((id, measures));
    }
    let is_extracted = |state: &mut PageState, place: usize| {
        let (_, measures): &(_, Vec<Arc<Measure>>) = &subscribers[place];
        record(state, &(100, Ok("other 1\n")));
        (state.has_tried(&measures[0]), state.is_refused(&measures[0]))
    };
    assert_eq!(is_extracted(&mut state, 127), (true, false));
    assert_eq!(is_extracted(&mut state, 128), (false, true));
    let refused = sample(&state, &subscribers[299].1[0], Engine::Vllm, 200);
    assert!(text(&refused).contains("others read so many different series"), "{refused:?}");
    // Where one goes, the next ones take its place.
    state.unsubscribe(subscribers[0].0);
    assert_eq!(is_extracted(&mut state, 128), (true, false));
    assert_eq!(is_extracted(&mut state, 129), (false, true));
}

#[test]
fn a_page_that_contradicts_the_kind_has_no_sample_at_once_and_after_an_upgrade() {
    const GAUGE: &str = "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting 3\n";
    const COUNTER: &str =
        "# TYPE vllm:num_requests_waiting counter\nvllm:num_requests_waiting 9000\n";
    let contradicted = "contradicted: http://10.0.0.7:8000/metrics: the page's # TYPE says that \
        vllm:num_requests_waiting is a counter, and it is read as a gauge: it is not used; if the \
        metric is a series, set its type";
    for (name, scrapes, expected) in [
        ("the first page", vec![(100, Ok(COUNTER))], contradicted),
        ("an upgrade", vec![(100, Ok(GAUGE)), (1100, Ok(COUNTER))], contradicted),
        ("back again", vec![(100, Ok(COUNTER)), (1100, Ok(GAUGE))], "3 after 100 ms"),
        ("a page without types", vec![(1100, Ok(WAITING))], "3 after 100 ms"),
    ] {
        let measure = measure(Kind::Gauge, 0);
        let state = state(&measure, &scrapes);
        assert_eq!(text(&sample(&state, &measure, Engine::Vllm, 1200)), expected, "{name}");
    }
}

#[test]
fn a_value_that_is_no_number_is_called_by_its_name() {
    const URL: &str = "http://10.0.0.7:8000/metrics";
    for (value, name) in [("NaN", "NaN"), ("+Inf", "+Inf"), ("-Inf", "-Inf")] {
        let page = format!("vllm:num_requests_waiting {value}\n");
        let measure = measure(Kind::Gauge, 0);
        let expected =
            format!("missing: {URL}: vllm:num_requests_waiting is {name}, which is no number");
        for scrapes in [vec![(1100, Ok(&*page))], vec![(100, Ok(WAITING)), (1100, Ok(&*page))]] {
            let state = state(&measure, &scrapes);
            assert_eq!(text(&sample(&state, &measure, Engine::Vllm, 1200)), expected);
        }
    }
}
