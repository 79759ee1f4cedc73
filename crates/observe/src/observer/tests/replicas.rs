//! Replicas of several pods, percentiles over replicas, and findings about replicas.

use llm_autoscaler_api::{
    conditions::Reason,
    workloads::{GroupSize, ReportingPods},
};
use llm_autoscaler_core::{Doubt, EngineActivity, ReplicaState};
use llm_autoscaler_engines::Engine;

use super::*;
use crate::observer::Problem;

/// Returns so many replicas of two pods, all of which report.
fn pairs(target: impl FnOnce(Vec<Pod>) -> Target, count: usize) -> Target {
    let pods = pods(2 * count).into_iter().enumerate().map(|(place, mut pod)| {
        Arc::make_mut(&mut pod.labels).insert("pair".to_owned(), (place / 2).to_string());
        pod
    });
    let grouping = Grouping {
        label: "pair".to_owned(),
        reporting: ReportingPods::All,
        size: GroupSize::Fixed(2),
    };
    target(pods.collect()).grouped(&[grouping])
}

#[test]
fn a_replica_has_a_value_only_if_all_its_reporting_pods_have_one() {
    // answers of a-0 to a-3; reading of two replicas
    let table = [
        ([sample(1.0), sample(2.0), sample(3.0), sample(4.0)], per_replica(&[Some(3), Some(7)])),
        ([sample(1.0), missing("x"), sample(3.0), sample(4.0)], per_replica(&[None, Some(7)])),
        ([sample(1.0), pending(), sample(3.0), missing("x")], per_replica(&[None, None])),
    ];
    for (answers, expected) in table {
        let target = pairs(waiting, 2).source(SourceKind::OwnPods, answers.to_vec());
        assert_eq!(target.observe().usable.reading(), &expected, "{answers:?}");
    }
}

#[test]
fn a_pod_in_doubt_puts_its_replica_in_doubt() {
    let answers = vec![sample(1.0), doubtful(2.0), sample(3.0), sample(4.0)];
    let observed = pairs(waiting, 2).source(SourceKind::OwnPods, answers).observe();
    assert_eq!(observed.usable.reading(), &per_replica(&[Some(3), Some(7)]));
    assert_eq!(observed.beyond_doubt.unwrap().reading(), &per_replica(&[None, Some(7)]));
}

#[test]
fn a_share_of_a_replica_is_the_mean_of_its_pods() {
    let metrics = json!([average("KVCacheUsage", 1)]);
    let target = pairs(|pods| target(&metrics, pods), 1)
        .source(SourceKind::OwnPods, vec![sample(3.0), sample(5.0)]);
    assert_eq!(target.observe().usable.reading(), &per_replica(&[Some(4)]));
}

#[test]
fn a_percentile_is_of_the_events_of_all_replicas() {
    let pooled = |value: Option<i64>, reported: &[bool]| Reading::Pooled {
        value: value.map(Milli),
        precision: Precision::Exact,
        reported: reported.to_vec(),
    };
    let fresh = || sample_of(Value::Buckets(Buckets::default()), None);
    // answers of three replicas; reading
    let table = [
        (vec![events(60.0), events(40.0), events(0.0)], pooled(Some(1_900), &[true; 3])),
        (vec![events(60.0), missing("x"), events(40.0)], pooled(Some(1_900), &[true, false, true])),
        // A 90th percentile needs 10 events.
        (vec![events(4.0), events(5.0), events(0.0)], pooled(None, &[true; 3])),
        (vec![events(5.0), events(5.0), events(0.0)], pooled(Some(1_900), &[true; 3])),
        // Before its first request an engine may have no buckets.
        (vec![events(60.0), events(40.0), fresh()], pooled(Some(1_900), &[true; 3])),
        (vec![fresh(), events(60.0), events(40.0)], pooled(Some(1_900), &[true; 3])),
        (vec![fresh(), fresh(), fresh()], pooled(None, &[true; 3])),
        (vec![fresh(), missing("x"), fresh()], pooled(None, &[true, false, true])),
        (vec![missing("x"), missing("x"), missing("x")], Reading::Failed),
    ];
    for (answers, expected) in table {
        let target = ttft(pods(3)).source(SourceKind::OwnPods, answers.clone());
        assert_eq!(target.observe().usable.reading(), &expected, "{answers:?}");
    }
    let target = pairs(ttft, 1).source(SourceKind::OwnPods, vec![events(50.0), missing("x")]);
    assert_eq!(target.observe().usable.reading(), &pooled(None, &[false]));
}

#[test]
fn more_replicas_than_the_target_has_are_a_doubt() {
    let mut ended = Pod::serving("a-2", "a");
    ended.replica.deleting = true;
    // pods, current and reported size; surplus
    let table = [
        (pods(3), (3, 3), false),
        (pods(3), (2, 3), false),
        (pods(3), (3, 2), false),
        (pods(3), (2, 2), true),
        ([pods(2), vec![ended]].concat(), (2, 2), false),
        (pods(0), (-1, 0), false),
    ];
    for (row, (pods, (current, status), surplus)) in table.into_iter().enumerate() {
        let found = waiting(pods).sized(current, status).observe().usable;
        assert_eq!(found.observation.doubt == Some(Doubt::Surplus), surplus, "row {row}");
        assert_eq!(found.findings.advice.len(), usize::from(surplus), "row {row}");
    }
}

#[test]
fn replicas_that_serve_and_replicas_that_are_stuck_are_found() {
    let mut closed = Pod::serving("a-1", "a");
    closed.service.gate = crate::pod::service::Gate::Closed { since: DateTime::UNIX_EPOCH };
    let mut deleted = Pod::serving("a-2", "a");
    deleted.replica.deleting = true;
    let target =
        waiting([Pod::serving("a-0", "a"), closed, deleted, unready(Pod::serving("a-3", "a"))]);
    let answers = vec![sample(1.0), sample(1.0), sample(1.0), missing("timed out")];
    let target = target.source(SourceKind::OwnPods, answers);
    let found = target.observe_at(STARTUP_TIMEOUT.num_seconds()).usable;
    assert_eq!(found.findings.ready, 1);
    assert_eq!(found.findings.stuck, [("a-3".to_owned(), TroubleKind::NotReady)]);
    let stuck: Vec<bool> = found.observation.replicas.iter().map(|replica| replica.stuck).collect();
    assert_eq!(stuck, [false, false, false, true]);
    assert_eq!(target.observe().usable.findings.stuck, []);
}

#[test]
fn a_replica_that_was_ready_and_answers_is_saturated_and_not_stuck() {
    use EngineActivity::{Answering, Unknown, Warming};
    let saturated = || unready(Pod::serving("a-0", "a"));
    let never_ready = || Pod { was_ready: false, ..saturated() };
    let stuck_at = STARTUP_TIMEOUT.num_seconds();
    // pod, answer, second; stuck, activity, replicas that are coming
    let table = [
        (saturated(), sample(500.0), stuck_at - 1, false, Answering, 1),
        (saturated(), sample(500.0), stuck_at, false, Answering, 1),
        (saturated(), doubtful(500.0), stuck_at, false, Answering, 1),
        (saturated(), missing("timed out"), stuck_at, true, Unknown, 0),
        (saturated(), missing("timed out"), stuck_at - 1, false, Unknown, 1),
        (never_ready(), sample(0.0), stuck_at, true, Warming, 0),
        (never_ready(), sample(0.0), stuck_at - 1, false, Warming, 1),
        // A page that answers without a usable number is no dead one.
        (saturated(), Lookup::NoNumber("NaN".to_owned()), stuck_at, false, Answering, 1),
        (saturated(), Lookup::Contradicted("a counter".to_owned()), stuck_at, false, Answering, 1),
        (saturated(), Lookup::Ambiguous("two".to_owned()), stuck_at, false, Answering, 1),
    ];
    for (row, (pod, answer, second, stuck, activity, coming)) in table.into_iter().enumerate() {
        let target = waiting([pod]).source(SourceKind::OwnPods, vec![answer]);
        let found = target.observe_at(second).usable;
        let replica = found.observation.replicas[0];
        assert_eq!((replica.stuck, replica.activity), (stuck, activity), "row {row}");
        assert_eq!(found.findings.stuck.len(), usize::from(stuck), "row {row}");
        let counts = target.replicas.counts(&found.observation.replicas);
        assert_eq!(counts.coming, coming, "row {row}");
    }
}

#[test]
fn a_replica_sleeps_if_all_its_engine_processes_do() {
    use EngineActivity::{Answering, Asleep};
    let unknown = || missing("no such series");
    // awake and sleeping processes; activity
    let table = [
        (sample(1.0), sample(0.0), Answering),
        (sample(0.0), sample(1.0), Asleep),
        (sample(0.0), sample(2.0), Asleep),
        // One of two processes sleeps.
        (sample(1.0), sample(1.0), Answering),
        // Before the first request neither is exposed as 1.
        (sample(0.0), sample(0.0), Answering),
        (unknown(), unknown(), Answering),
        (unknown(), sample(1.0), Answering),
    ];
    for (awake, asleep, expected) in table {
        let row = format!("{awake:?} {asleep:?}");
        let mut target =
            waiting(pods(2)).source(SourceKind::OwnPods, vec![sample(60.0), sample(0.0)]);
        target.samples.sources[0].sleep = [vec![unknown(), awake], vec![unknown(), asleep]];
        let found = target.observe().usable;
        let activities = found.observation.replicas.iter().map(|replica| replica.activity);
        assert_eq!(activities.collect::<Vec<_>>(), [Answering, expected], "{row}");
        let advice: Vec<_> = found.findings.advice.iter().map(|advice| &*advice.text).collect();
        let is_told = advice.iter().any(|text| text.starts_with("the engines of a-1 sleep"));
        assert_eq!(is_told, expected == Asleep, "{row}");
    }
}

#[test]
fn a_group_is_saturated_if_one_of_its_reporting_pods_answers() {
    let worker = |answer| {
        let target = pairs(waiting, 1).source(SourceKind::OwnPods, vec![sample(9.0), answer]);
        target.observe_at(STARTUP_TIMEOUT.num_seconds()).usable.observation.replicas[0].activity
    };
    assert_eq!(worker(sample(9.0)), EngineActivity::Answering);
    assert_eq!(worker(missing("x")), EngineActivity::Answering);
    let dead = pairs(waiting, 1).source(SourceKind::OwnPods, vec![missing("x"), missing("y")]);
    let found = dead.observe_at(STARTUP_TIMEOUT.num_seconds()).usable;
    assert_eq!(found.observation.replicas[0].activity, EngineActivity::Unknown);
}

#[test]
fn the_engine_of_a_replica_with_a_sample_answers() {
    use ReplicaState::{Ready, Starting, Unready};
    let three = || [unready(Pod::serving("a-0", "a")), unready(Pod::serving("a-1", "a"))];
    let ready = || Pod::serving("a-2", "a");
    let all = || three().into_iter().chain([ready()]);
    let answers = vec![sample(1.0), missing("x"), missing("x")];
    let target = waiting(all()).source(SourceKind::OwnPods, answers);
    assert_eq!(target.observe().usable.states(), [Unready, Starting, Ready]);
    let pooled = ttft(all()).source(SourceKind::OwnPods, vec![events(1.0), pending(), pending()]);
    assert_eq!(pooled.observe().usable.states(), [Unready, Starting, Ready]);
    // A total is of no replica. Then nothing tells that a pod which was ready is dead.
    let gateway = SourceKind::OtherPods(members([Pod::serving("g-0", "g")]));
    let total = waiting(all()).source(gateway, vec![sample(9.0)]);
    assert_eq!(total.observe().usable.states(), [Unready, Unready, Ready]);
}

#[test]
fn samples_of_several_pods_of_one_name_are_no_number() {
    let text = "two values of cluster: set matchers";
    let several = || Lookup::Ambiguous(text.to_owned());
    let observe = |answers| waiting(pods(2)).source(SourceKind::OwnPods, answers).observe();
    let found = observe(vec![several(), sample(3.0)]).usable;
    assert_eq!(found.reading(), &per_replica(&[None, Some(3)]));
    assert_eq!(found.problems(), [format!("a-0: {text}")]);
    let advice: Vec<_> = found.findings.advice.iter().collect();
    assert_eq!(advice.len(), 1);
    assert_eq!(advice[0].reason, Reason::TwoCandidates);
    assert!(advice[0].text.ends_with(text), "{advice:?}");
    let found = observe(vec![several(), several()]).usable;
    assert_eq!(found.reading(), &Reading::Failed, "the size stays");
    assert_eq!(found.findings.advice.len(), 1, "once for all pods");
}

#[test]
fn pods_with_pages_of_another_engine_are_named_and_count_as_nothing() {
    let other = |engine: Engine| Lookup::OtherEngine { engine, reason: "no series".to_owned() };
    let (sglang, tgi) = (|| other(Engine::Sglang), || other(Engine::Tgi));
    // answers; the reading, if one pod has a sample; the text
    let some = [None, None, Some(3), Some(4)];
    let table = [
        (
            vec![sglang(), sglang(), sample(3.0), sample(4.0)],
            per_replica(&some),
            "the pages of a-0, a-1 are of SGLang, and the field engine is VLLM: their load",
        ),
        (
            vec![sglang(), tgi(), sample(3.0), sample(4.0)],
            per_replica(&some),
            "a-0, a-1 are of SGLang and Text Generation Inference, and the field engine is VLLM",
        ),
        (
            vec![sglang(), sglang()],
            Reading::Failed,
            "of all 2 pods are of SGLang, and the field \
            engine is VLLM: set it to SGLang",
        ),
        (
            (0..8).map(|_| sglang()).chain([sample(3.0)]).collect(),
            per_replica(&[None, None, None, None, None, None, None, None, Some(3)]),
            "a-0, a-1, a-2, a-3, a-4 and of 3 more pods are of SGLang",
        ),
    ];
    for (answers, reading, expected) in table {
        let target = waiting(pods(answers.len())).source(SourceKind::OwnPods, answers.clone());
        let found = target.observe().usable;
        assert_eq!(found.findings.advice.len(), 1, "{:?}", found.findings.advice);
        let advice = found.findings.advice.first().unwrap();
        assert_eq!(advice.reason, Reason::OtherEngine);
        assert!(advice.text.contains(expected), "{}", advice.text);
        assert_eq!(found.reading(), &reading, "{answers:?}");
        assert_eq!(
            found.findings.problems[0],
            Problem { of: "a-0".to_owned(), text: "no series".to_owned() }
        );
    }
}

#[test]
fn samples_give_advice() {
    let extract = |found, copies| match sample(1.0) {
        Lookup::Sample(sample) => Lookup::Sample(Sample { found, copies, ..sample }),
        other => other,
    };
    let former = Found { alternative: Some((0, 1)), ambiguous: false };
    let ambiguous = Found { alternative: None, ambiguous: true };
    let name = "KVCacheUsage";
    // answer; text
    let table = [
        (extract(Found::default(), 1), None),
        (extract(former, 1), Some("is read from vllm:gpu_cache_usage_perc, a former name of")),
        (extract(ambiguous, 1), Some("pods publish it under a former name too")),
        (extract(Found::default(), 2), Some("the scrape source has it 2 times for the pod a-0")),
    ];
    for (answer, expected) in table {
        let target = target(&json!([average(name, 1)]), pods(1))
            .source(SourceKind::OwnPods, vec![answer.clone()]);
        let found = target.observe().usable;
        let texts: Vec<&str> = found.findings.advice.iter().map(|advice| &*advice.text).collect();
        assert_eq!(texts.len(), usize::from(expected.is_some()), "{texts:?}");
        assert!(expected.is_none_or(|expected| texts[0].contains(expected)), "{texts:?}");
    }
}

#[test]
fn a_percentile_outside_of_the_buckets_is_a_bound_and_advice_names_them() {
    let buckets = |cumulative: &[(f64, f64)]| {
        let cumulative = cumulative.iter().copied();
        sample_of(Value::Buckets(Buckets::new(cumulative).unwrap()), None)
    };
    let shape =
        |below: f64, up_to: f64| buckets(&[(0.3, below), (60.0, up_to), (f64::INFINITY, 100.0)]);
    // A newer version of the engine has more buckets. Its events are larger than 60 too.
    let newer = || buckets(&[(0.1, 0.0), (60.0, 0.0), (240.0, 100.0), (f64::INFINITY, 100.0)]);
    let exact = |value| (value, Precision::Exact);
    // the target; answers of two replicas; the value in thousandths; a part of the advice
    let table = [
        ("120", [shape(0.0, 0.0), shape(0.0, 0.0)], (60_000, Precision::AtLeast), "bound is 60"),
        ("120", [shape(0.0, 90.0), shape(0.0, 90.0)], exact(60_000), "bound is 60"),
        ("58", [shape(0.0, 100.0), shape(0.0, 100.0)], exact(54_030), "tolerance of 10 %"),
        ("120", [shape(0.0, 0.0), newer()], (60_000, Precision::AtLeast), "bounds 0.3, 60"),
        ("2", [shape(0.0, 0.0), shape(0.0, 0.0)], (60_000, Precision::AtLeast), ""),
        (
            "200m",
            [shape(100.0, 100.0), shape(100.0, 100.0)],
            (270, Precision::AtMost(Milli(300))),
            "first bound is 0.3",
        ),
        ("2", [shape(100.0, 100.0), shape(100.0, 100.0)], (270, Precision::AtMost(Milli(300))), ""),
    ];
    for (target_value, answers, (value, precision), advice) in table {
        let wanted = json!({"type": "Value", "value": target_value});
        let metrics = json!([{"signal": "TimeToFirstToken", "target": wanted}]);
        let own = target(&metrics, pods(2)).source(SourceKind::OwnPods, answers.to_vec());
        let found = own.observe().usable;
        let reading =
            Reading::Pooled { value: Some(Milli(value)), precision, reported: vec![true; 2] };
        assert_eq!(found.reading(), &reading, "{target_value}: {answers:?}");
        let texts: Vec<_> = found.findings.advice.iter().collect();
        match (advice, &texts[..]) {
            ("", found) => assert!(
                found.iter().all(|advice| advice.reason != Reason::TargetOutOfReach),
                "{found:?}"
            ),
            (part, found) => assert!(
                found.iter().any(|advice| {
                    advice.reason == Reason::TargetOutOfReach && advice.text.contains(part)
                }),
                "{part}: {found:?}"
            ),
        }
    }
}
