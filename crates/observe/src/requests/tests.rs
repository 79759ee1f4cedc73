//! Requests of replicas as tables.

use std::sync::Arc;

use chrono::TimeDelta;
use llm_autoscaler_api::workloads::{GroupSize, Grouping, ReportingPods};

use super::*;
use crate::{
    pod::Pod,
    samples::{Found, Sample, SourceKind},
};

fn pods(pods: impl IntoIterator<Item = Pod>, groupings: &[Grouping]) -> Replicas {
    let pods = pods.into_iter().map(|pod| (pod.name.clone(), Arc::new(pod)));
    Replicas::of(&Arc::new(pods.collect()), groupings)
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
}

/// Returns a sample of an age in seconds.
fn sample(value: Value, age: u64, doubt: Option<&str>) -> Lookup {
    Lookup::Sample(Sample {
        value,
        age: Duration::from_secs(age),
        doubt: doubt.map(|doubt| doubt.to_owned().into()),
        found: Found::default(),
        copies: 1,
    })
}

fn number(number: f64, age: u64) -> Lookup {
    sample(Value::Number(number), age, None)
}

fn missing() -> Lookup {
    Lookup::Missing("refused".to_owned())
}

fn source(requests: Vec<Lookup>, latency: Vec<Lookup>) -> SourceSamples {
    SourceSamples {
        kind: SourceKind::OwnPods,
        is_active: true,
        metrics: Vec::new(),
        queries: Vec::new(),
        requests,
        latency,
        sleep: Default::default(),
        vitals: crate::samples::VitalLookups::default(),
        slo: Vec::new(),
        queued: Vec::new(),
    }
}

#[test]
fn a_replica_without_a_sample_has_unknown_requests() {
    let doubtful = sample(Value::Number(0.0), 1, Some("refused"));
    // answer about a running pod; count and second of its requests, at second 100
    let table = [
        (number(3.0, 4), Some((3, 96))),
        (number(0.0, 4), Some((0, 96))),
        (number(2.1, 0), Some((3, 100))),
        (number(-1.0, 0), Some((0, 100))),
        (doubtful, None),
        (missing(), None),
        (Lookup::Pending { error: None }, None),
        (sample(Value::Buckets(Buckets::default()), 0, None), None),
    ];
    for (answer, expected) in table {
        let replicas = pods([Pod::serving("a-0", "a")], &[]);
        let samples = Samples { sources: vec![source(vec![answer.clone()], Vec::new())] };
        let expected = expected.map(|(count, second)| Requests { count, at: at(second) });
        assert_eq!(requests(&replicas, &samples, true, at(100)), [expected], "{answer:?}");
    }
}

#[test]
fn a_replica_without_a_running_pod_has_no_requests() {
    let mut pending = Pod::serving("a-0", "a");
    pending.replica = llm_autoscaler_core::Replica::PENDING;
    let replicas = pods([pending, Pod::serving("a-1", "a")], &[]);
    let none = Some(Requests { count: 0, at: at(100) });
    let samples = Samples { sources: vec![source(vec![missing(), missing()], Vec::new())] };
    assert_eq!(requests(&replicas, &samples, true, at(100)), [none, None]);
    assert_eq!(
        requests(&replicas, &samples, false, at(100)),
        [none, None],
        "no series counts them"
    );
    assert_eq!(requests(&replicas, &Samples::default(), true, at(100)), [none, None]);
}

#[test]
fn requests_of_a_group_are_known_if_all_its_reporting_pods_have_a_sample() {
    let grouping = Grouping {
        label: "app".to_owned(),
        reporting: ReportingPods::All,
        size: GroupSize::Fixed(2),
    };
    let replicas = pods(["a-0", "a-1"].map(|name| Pod::serving(name, "a")), &[grouping]);
    let known = Some(Requests { count: 5, at: at(93) });
    let table = [
        (vec![number(2.0, 7), number(3.0, 1)], known),
        (vec![number(2.0, 7), missing()], None),
        (vec![number(2.0, 7)], None),
    ];
    for (answers, expected) in table {
        let samples = Samples { sources: vec![source(answers, Vec::new())] };
        assert_eq!(requests(&replicas, &samples, true, at(100)), [expected]);
    }
}

#[test]
fn requests_are_read_from_the_first_active_source_of_pods_that_has_them() {
    let replicas = pods([Pod::serving("a-0", "a")], &[]);
    let inactive = SourceSamples { is_active: false, ..source(vec![number(9.0, 0)], Vec::new()) };
    let others = SourceSamples {
        kind: SourceKind::OtherPods(Arc::default()),
        ..source(vec![number(8.0, 0)], Vec::new())
    };
    let sources = [
        inactive,
        others,
        source(vec![missing()], Vec::new()),
        source(vec![number(4.0, 0)], Vec::new()),
        source(vec![number(5.0, 0)], Vec::new()),
    ];
    let found = requests(&replicas, &Samples { sources: sources.to_vec() }, true, at(100));
    assert_eq!(found, [Some(Requests { count: 4, at: at(100) })]);
}

#[test]
fn durations_of_all_pods_are_pooled() {
    let replicas = pods(["a-0", "a-1"].map(|name| Pod::serving(name, "a")), &[]);
    let events = |count: f64| {
        let buckets = Buckets::new([(10.0, 0.0), (20.0, count), (f64::INFINITY, count)]).unwrap();
        // Advice may rest on samples in doubt.
        sample(Value::Buckets(buckets), 1, Some("refused"))
    };
    let slowest = |answers| {
        let samples = Samples { sources: vec![source(Vec::new(), answers)] };
        slowest_request(&replicas, &samples)
    };
    let found = slowest(vec![events(60.0), events(40.0)]).unwrap();
    assert!((found - 19.9).abs() < 1e-9, "{found}");
    assert_eq!(
        slowest(vec![events(60.0), events(39.0)]),
        None,
        "a 99th percentile needs 100 events"
    );
    assert_eq!(slowest(vec![events(60.0), missing()]), None);
    assert_eq!(slowest(Vec::new()), None);
}
