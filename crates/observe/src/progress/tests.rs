use std::{sync::Arc, time::Duration};

use llm_autoscaler_api::TargetConfig;
use llm_autoscaler_core::Profile;
use serde_json::json;

use super::*;
use crate::{
    pod::Pod,
    samples::{Found, SourceKind, SourceSamples},
};

const MINUTE: u64 = 60;

/// The sample of one engine: requests, rate of progress, running requests, usage of the KV cache.
#[derive(Clone, Copy)]
struct Page {
    requests: f64,
    progress: Lookups,
    running: Option<f64>,
    kv_cache: Option<f64>,
}

#[derive(Clone, Copy)]
enum Lookups {
    Rate(f64),
    /// Less than half of the window is known.
    Young(f64),
    Pending,
    Absent,
}

/// The frozen engine of a public report: 121 requests, and nothing moves.
const FROZEN: Page = Page {
    requests: 121.0,
    progress: Lookups::Rate(0.0),
    running: Some(106.0),
    kv_cache: Some(0.904),
};
/// An engine whose requests wait, while none runs.
const WAITING: Page = Page { requests: 6.0, running: Some(0.0), kv_cache: Some(0.0), ..FROZEN };
/// A quiet engine with one long request.
const LONG: Page =
    Page { requests: 1.0, progress: Lookups::Rate(30.0), running: Some(1.0), kv_cache: Some(0.1) };
const IDLE: Page =
    Page { requests: 0.0, progress: Lookups::Rate(0.0), running: Some(0.0), kv_cache: Some(0.0) };

fn config(engine: &str, profile: Profile) -> TargetConfig {
    let spec = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
        "engine": engine, "minReplicas": 1, "maxReplicas": 8,
        "metrics": [{
            "series": {"name": "queue_length"},
            "target": {"type": "AverageValue", "averageValue": "32"},
        }],
    });
    llm_autoscaler_api::parse_target(&serde_json::from_value(spec).unwrap(), profile).unwrap()
}

fn found(number: f64, doubt: Option<&str>) -> Lookup {
    Lookup::Sample(Sample {
        value: Value::Number(number),
        age: Duration::from_secs(1),
        doubt: doubt.map(|doubt| doubt.to_owned().into()),
        found: Found::default(),
        copies: 1,
    })
}

fn missing() -> Lookup {
    Lookup::Missing("connection refused".to_owned())
}

/// Returns the answers about the engines of `a-0`, `a-1` and so on. A page that does not answer is
/// `None`.
fn samples(pages: &[Option<Page>]) -> Samples {
    let column = |of: fn(&Page) -> Lookup| -> Vec<Lookup> {
        pages.iter().map(|page| page.as_ref().map_or_else(missing, of)).collect()
    };
    let vitals = VitalLookups {
        requests: column(|page| found(page.requests, None)),
        progress: column(|page| match page.progress {
            Lookups::Rate(rate) => found(rate, None),
            Lookups::Young(rate) => found(rate, Some("less than half of its window is known")),
            Lookups::Pending => Lookup::Pending { error: None },
            Lookups::Absent => missing(),
        }),
        gauges: [
            column(|page| page.running.map_or_else(missing, |number| found(number, None))),
            column(|page| page.kv_cache.map_or_else(missing, |number| found(number, None))),
        ],
    };
    Samples {
        sources: vec![SourceSamples {
            kind: SourceKind::OwnPods,
            is_active: true,
            metrics: Vec::new(),
            queries: Vec::new(),
            requests: Vec::new(),
            latency: Vec::new(),
            sleep: Default::default(),
            vitals,
            slo: Vec::new(),
            queued: Vec::new(),
        }],
    }
}

fn replicas(uids: &[&str]) -> Replicas {
    let pods = uids.iter().enumerate().map(|(ordinal, uid)| {
        let name = format!("a-{ordinal}");
        (name.clone(), Arc::new(Pod { uid: (*uid).into(), ..Pod::serving(&name, "a") }))
    });
    Replicas::of(&Arc::new(pods.collect()), &[])
}

/// Returns the progress of one engine after these pages, each at a second.
fn after(engine: &str, pages: &[(u64, Option<Page>)]) -> Progress {
    let config = config(engine, Profile::Default);
    let (mut tracker, replicas) = (ProgressTracker::default(), replicas(&["u"]));
    for (second, page) in pages {
        let now = Monotonic::default().after(Duration::from_secs(*second));
        tracker.observe(config.vitals.as_deref(), &replicas, &samples(&[*page]), now);
    }
    tracker.of(0)
}

/// A name, the pages of an engine at their seconds, and its progress after them.
type History = (&'static str, Vec<(u64, Option<Page>)>, Progress);

#[test]
fn an_engine_with_requests_that_stands_still_for_minutes_is_wedged() {
    use Progress::{Idle, Wedged, Working};
    let end = 5 * MINUTE;
    let frozen = Wedged(Some(121.0));
    let page = |second: u64, page: Page| (second, Some(page));
    let table: Vec<History> = vec![
        ("frozen, too short", vec![page(0, FROZEN), page(end - 1, FROZEN)], Working),
        ("frozen", vec![page(0, FROZEN), page(end, FROZEN)], frozen),
        (
            "requests wait and none runs",
            vec![page(0, WAITING), page(end, WAITING)],
            Wedged(Some(6.0)),
        ),
        (
            "requests pile up in front of it",
            vec![page(0, WAITING), page(end, Page { requests: 60.0, ..WAITING })],
            Wedged(Some(60.0)),
        ),
        (
            "frozen with a queue that clients leave",
            vec![page(0, FROZEN), page(end, Page { requests: 110.0, ..FROZEN })],
            Wedged(Some(110.0)),
        ),
        ("a long request", vec![page(0, LONG), page(end, LONG), page(2 * end, LONG)], Working),
        (
            "idle for long, and then busy",
            vec![page(0, IDLE), page(2 * end, IDLE), page(2 * end + 1, FROZEN)],
            Working,
        ),
        ("idle", vec![page(0, IDLE), page(2 * end, IDLE)], Idle),
        (
            "requests came and went",
            vec![page(0, FROZEN), page(end / 2, IDLE), page(end, FROZEN)],
            Working,
        ),
        (
            "the running requests change",
            vec![
                page(0, FROZEN),
                page(MINUTE, Page { running: Some(105.0), ..FROZEN }),
                page(end, FROZEN),
            ],
            Working,
        ),
        (
            "the KV cache fills",
            vec![page(0, FROZEN), page(end, Page { kv_cache: Some(0.905), ..FROZEN })],
            Working,
        ),
    ];
    check(table);
}

fn check(table: Vec<History>) {
    for (name, pages, expected) in table {
        assert_eq!(after("VLLM", &pages), expected, "{name}");
    }
}

#[test]
fn what_is_not_known_is_no_evidence_and_ends_no_verdict() {
    use Progress::{Unknown, Wedged, Working};
    let end = 5 * MINUTE;
    let frozen = Wedged(Some(121.0));
    let page = |second: u64, page: Page| (second, Some(page));
    let table: Vec<History> = vec![
        (
            "a young window",
            vec![page(0, FROZEN), page(end, Page { progress: Lookups::Young(0.0), ..FROZEN })],
            Working,
        ),
        (
            "a pending window",
            vec![page(0, FROZEN), page(end, Page { progress: Lookups::Pending, ..FROZEN })],
            Working,
        ),
        ("no answer", vec![(0, None), (end, None)], Unknown),
        ("no answer at the end", vec![page(0, FROZEN), (end, None)], Working),
        // A verdict stays until there is evidence against it.
        ("no answer since", vec![page(0, FROZEN), page(end, FROZEN), (2 * end, None)], frozen),
        (
            "a young window since",
            vec![
                page(0, FROZEN),
                page(end, FROZEN),
                page(end + 1, Page { progress: Lookups::Young(0.0), ..FROZEN }),
            ],
            frozen,
        ),
        (
            "a token came",
            vec![
                page(0, FROZEN),
                page(end, FROZEN),
                page(end + 1, Page { progress: Lookups::Rate(0.01), ..FROZEN }),
            ],
            Working,
        ),
        (
            "clients give up",
            vec![page(0, FROZEN), page(end, FROZEN), page(end + 1, IDLE)],
            Wedged(Some(0.0)),
        ),
        (
            "requests end",
            vec![
                page(0, FROZEN),
                page(end, FROZEN),
                page(end + 1, Page { running: Some(105.0), ..FROZEN }),
            ],
            Wedged(Some(121.0)),
        ),
    ];
    check(table);
}

#[test]
fn what_an_engine_exposes_decides_if_it_can_be_called_wedged() {
    let end = 5 * MINUTE;
    let without = Page { progress: Lookups::Absent, ..FROZEN };
    let no_cache = Page { kv_cache: None, ..FROZEN };
    // engine, its page, wedged
    let table = [
        ("VLLM", FROZEN, true),
        ("VLLM", no_cache, true),
        ("VLLM", without, false),
        ("SGLang", FROZEN, true),
        ("SGLang", without, false),
        ("Dynamo", FROZEN, true),
        ("LMDeploy", FROZEN, true),
        ("TGI", no_cache, true),
        // Its counters grow when a request ends, so the KV cache has to tell.
        ("TensorRTLLM", FROZEN, true),
        ("TensorRTLLM", no_cache, false),
        ("Custom", FROZEN, false),
    ];
    for (row, (engine, page, wedged)) in table.into_iter().enumerate() {
        let found = after(engine, &[(0, Some(page)), (end, Some(page))]);
        assert_eq!(found == Progress::Wedged(Some(121.0)), wedged, "row {row}: {engine} {found:?}");
    }
}

#[test]
fn the_hpa_knows_no_wedged_engines() {
    let engines = ["VLLM", "SGLang", "Dynamo", "TensorRTLLM", "LMDeploy", "TGI"];
    for engine in engines {
        assert!(config(engine, Profile::Default).vitals.is_some(), "{engine}");
        assert_eq!(config(engine, Profile::HpaExact).vitals, None, "{engine}");
    }
    assert_eq!(config("Custom", Profile::Default).vitals, None);
}

#[test]
fn wedged_engines_are_remembered_by_their_pods() {
    let config = config("VLLM", Profile::Default);
    let at = |second| Monotonic::default().after(Duration::from_secs(second));
    let mut tracker = ProgressTracker::default();
    let three = replicas(&["u", "v", "w"]);
    for second in [0, 5 * MINUTE] {
        let pages = [Some(FROZEN), Some(LONG), Some(WAITING)];
        tracker.observe(config.vitals.as_deref(), &three, &samples(&pages), at(second));
    }
    let remembered = tracker.wedged();
    assert_eq!(remembered, ["u", "w"]);
    // After a restart the first samples are young.
    let mut tracker = ProgressTracker::restored(&remembered, at(0));
    let young = Page { progress: Lookups::Young(0.0), ..FROZEN };
    tracker.observe(
        config.vitals.as_deref(),
        &three,
        &samples(&[None, Some(LONG), Some(young)]),
        at(1),
    );
    assert_eq!(
        [0, 1, 2].map(|at| tracker.of(at)),
        [Progress::Wedged(None), Progress::Working, Progress::Wedged(Some(121.0))]
    );
    // A pod that is created again under its name is another one.
    tracker.observe(config.vitals.as_deref(), &replicas(&["x"]), &samples(&[Some(young)]), at(2));
    assert_eq!((tracker.of(0), tracker.wedged()), (Progress::Working, Vec::new()));
}
