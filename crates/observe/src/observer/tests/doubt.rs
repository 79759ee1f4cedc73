//! Stale samples and samples in doubt.

use super::*;

#[test]
fn only_usable_samples_count_and_only_certain_ones_beyond_doubt() {
    let failed = || Lookup::Pending { error: Some("timeout".to_owned()) };
    // answers; usable reading; reading beyond doubt, if it is another one
    let table = [
        (vec![sample(1.0), sample(2.0)], per_replica(&[Some(1), Some(2)]), None),
        (
            vec![sample(1.0), doubtful(2.0)],
            per_replica(&[Some(1), Some(2)]),
            Some(per_replica(&[Some(1), None])),
        ),
        (
            vec![doubtful(1.0), doubtful(2.0)],
            per_replica(&[Some(1), Some(2)]),
            Some(Reading::Failed),
        ),
        (vec![sample(1.0), missing("stale")], per_replica(&[Some(1), None]), None),
        (vec![missing("stale"), missing("stale")], Reading::Failed, None),
        (vec![sample(1.0), pending()], per_replica(&[Some(1), None]), None),
        (vec![pending(), pending()], per_replica(&[None, None]), None),
        (vec![pending(), failed()], per_replica(&[None, None]), None),
        // The answers are of an observation before the second pod existed.
        (vec![sample(1.0)], per_replica(&[Some(1), None]), None),
    ];
    for (answers, usable, beyond_doubt) in table {
        let target = waiting(pods(2)).source(SourceKind::OwnPods, answers.clone());
        let observed = target.observe();
        assert_eq!(observed.usable.reading(), &usable, "{answers:?}");
        assert_eq!(observed.usable.findings.in_doubt, beyond_doubt.is_some(), "{answers:?}");
        let strict = observed.beyond_doubt.as_ref().map(TargetObservation::reading);
        assert_eq!(strict, beyond_doubt.as_ref(), "{answers:?}");
    }
}

#[test]
fn a_doubt_is_a_problem_only_beyond_doubt() {
    let answers = vec![sample(1.0), doubtful(2.0)];
    let observed = waiting(pods(2)).source(SourceKind::OwnPods, answers).observe();
    assert_eq!(observed.usable.problems(), [""; 0]);
    assert_eq!(observed.beyond_doubt.unwrap().problems(), ["a-1: connection refused"]);
}

#[test]
fn a_first_answer_is_due_until_a_scrape_fails() {
    let failed = Lookup::Pending { error: Some("timeout".to_owned()) };
    let target = waiting(pods(1)).source(SourceKind::OwnPods, vec![failed]);
    let now = DateTime::UNIX_EPOCH;
    let usable = target.snapshot(now).observe(crate::samples::Evidence::Usable);
    assert!(usable.findings.warming_up && usable.problems().is_empty());
    let strict = target.snapshot(now).observe(crate::samples::Evidence::BeyondDoubt);
    assert!(!strict.findings.warming_up);
    assert_eq!(strict.problems(), ["a-0: timeout"]);
}

#[test]
fn the_origin_has_the_age_of_the_oldest_sample() {
    let aged = |seconds| match sample(1.0) {
        Lookup::Sample(sample) => {
            Lookup::Sample(Sample { age: Duration::from_secs(seconds), ..sample })
        }
        other => other,
    };
    let target = waiting(pods(3)).source(SourceKind::OwnPods, vec![aged(2), aged(9), aged(4)]);
    let usable = target.observe().usable;
    assert_eq!(usable.origin().age, Duration::from_secs(9));
    assert_eq!((&usable.origin().samples[..], &usable.origin().why), (&[3][..], &None));
}

#[test]
fn the_reasons_of_several_metrics_are_one_problem_per_pod() {
    let metrics = json!([average("WaitingRequests", 10), average("RunningRequests", 10)]);
    let answers = vec![vec![missing("no waiting")], vec![missing("no running")]];
    let target = target(&metrics, pods(1)).source_of_metrics(SourceKind::OwnPods, answers);
    let observed = target.observe().usable;
    assert_eq!(observed.problems(), ["a-0: no running; no waiting"]);
    assert_eq!(observed.observation.readings, [Reading::Failed, Reading::Failed]);
}

#[test]
fn a_page_that_answers_is_load_and_a_stuck_pod_owes_no_sample() {
    let mut deleted = Pod::serving("a-0", "a");
    deleted.replica.deleting = true;
    let stuck_at = STARTUP_TIMEOUT.num_seconds();
    let saturated = || unready(Pod::serving("a-0", "a"));
    let never_ready = || Pod { was_ready: false, ..saturated() };
    let (one, refused) = (|| sample(1.0), || missing("refused"));
    // pod, answer, second; sample, problems under the Default profile and under HpaExact
    let table = [
        (deleted, one(), 0, None, [0, 0]),
        (saturated(), one(), stuck_at - 1, Some(1), [0, 0]),
        (saturated(), one(), stuck_at, Some(1), [0, 0]),
        (never_ready(), one(), stuck_at, Some(1), [0, 0]),
        (saturated(), refused(), stuck_at - 1, None, [1, 1]),
        (saturated(), refused(), stuck_at, None, [0, 1]),
        (never_ready(), refused(), stuck_at, None, [0, 1]),
    ];
    for (pod, answer, second, expected, problems) in table {
        for (profile, problems) in [Profile::Default, Profile::HpaExact].into_iter().zip(problems) {
            let mut target =
                waiting([pod.clone()]).source(SourceKind::OwnPods, vec![answer.clone()]);
            target.config.policy.profile = profile;
            let found = target.observe_at(second).usable;
            let reading = if problems > 0 { Reading::Failed } else { per_replica(&[expected]) };
            assert_eq!(found.reading(), &reading, "{pod:?} {second} {profile:?}");
            assert_eq!(found.problems().len(), problems, "{pod:?} {second} {profile:?}");
        }
    }
}
