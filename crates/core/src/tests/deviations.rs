//! An example of each deviation: the HPA's decision, and that of the Default profile.

use crate::{
    decide::decide,
    decision::{Hold, Outcome},
    history::{History, HistoryRecord, Recommendation},
    observation::{Observation, Reading, Replica},
    policy::{MetricKind, MetricPolicy, Policy, Target},
    profile::Profile,
    tests::support::{at, legacy_policy, observed, per_replica, policy_with_windows, ready},
    units::Milli,
};

const READY: Replica = Replica::READY;
const PENDING: Replica = Replica::PENDING;
const LOADING: Replica = Replica { ready: false, ..READY };
const STUCK: Replica = Replica { ready: false, stuck: true, ..READY };
const STUCK_PENDING: Replica = Replica { stuck: true, ..PENDING };

const OBJECT_VALUE: MetricPolicy =
    MetricPolicy { kind: MetricKind::Object, target: Target::Value(Milli::whole(10)) };
const OBJECT_AVERAGE: MetricPolicy =
    MetricPolicy { kind: MetricKind::Object, target: Target::AverageValue(Milli::whole(10)) };

/// Returns the desired replicas of both profiles: the HPA's, then the Default profile's.
fn both(metric: MetricPolicy, observation: &Observation) -> [Option<i32>; 2] {
    [Profile::HpaExact, Profile::Default].map(|profile| {
        let policy = Policy { metrics: vec![metric], ..policy_with_windows(profile, 0, 0) };
        decide(&policy, &History::default(), observation, at(0)).desired()
    })
}

fn per_pod(observation: &Observation) -> [Option<i32>; 2] {
    both(per_replica(10), observation)
}

fn outside(value: i64, current: i32, replicas: &[Replica]) -> Observation {
    let replicas: Vec<_> = replicas.iter().map(|replica| (*replica, None)).collect();
    let readings = vec![Reading::Object(Milli::whole(value))];
    Observation { readings, ..observed(current, &replicas) }
}

#[test]
fn direction_check() {
    // The target is overloaded while 7 of 10 replicas are absent: no reason to scale down.
    let overloaded = observed(10, &[(READY, Some(15)); 3]);
    assert_eq!(per_pod(&overloaded), [Some(5), Some(10)]);
    // More pods than requested, as in a surge: no reason to scale up.
    let idle = observed(2, &[(READY, Some(8)); 4]);
    assert_eq!(per_pod(&idle), [Some(4), Some(2)]);
    assert_eq!(both(OBJECT_VALUE, &outside(15, 10, &[READY; 3])), [Some(5), Some(10)]);
}

#[test]
fn none_ready() {
    assert_eq!(both(OBJECT_VALUE, &outside(50, 3, &[LOADING; 3])), [Some(1), None]);
    assert_eq!(both(OBJECT_VALUE, &outside(1, 3, &[LOADING; 3])), [Some(1), None]);
}

#[test]
fn quorum() {
    let samples = |seen: usize| {
        let mut samples = [None; 10];
        samples[..seen].fill(Some(1));
        ready(&samples)
    };
    assert_eq!(per_pod(&samples(7)), [Some(4), Some(10)]);
    assert_eq!(per_pod(&samples(8)), [Some(3), Some(3)]);
    let policy = policy_with_windows(Profile::Default, 0, 0);
    let decision = decide(&policy, &History::default(), &samples(7), at(0));
    let Outcome::Computed(derivation) = decision.outcome else { panic!("{decision:?}") };
    assert_eq!(
        (derivation.held, derivation.raw, derivation.recommended),
        (Some(Hold::NoQuorum), 4, 10)
    );
    // Pending replicas count for the quorum, too.
    let mut pending = vec![(READY, Some(1)); 3];
    pending.extend([(PENDING, None); 2]);
    assert_eq!(per_pod(&observed(5, &pending)), [Some(1), Some(5)]);
    // A size that does not shrink is not held.
    let decision = decide(&policy, &History::default(), &ready(&[Some(10), None, None]), at(0));
    let Outcome::Computed(derivation) = decision.outcome else { panic!("{decision:?}") };
    assert_eq!((derivation.held, derivation.raw), (None, 3));
    // A scale-up needs no quorum.
    let mut few = samples(2);
    few.readings =
        vec![Reading::PerReplica { samples: vec![Some(Milli::whole(90)); 2], strays: Vec::new() }];
    assert_eq!(per_pod(&few), [Some(18), Some(18)]);
}

#[test]
fn replica_units() {
    let mut observation = ready(&[Some(10), Some(10)]);
    let Reading::PerReplica { strays, .. } = &mut observation.readings[0] else { unreachable!() };
    *strays = vec![Milli::whole(100); 2];
    assert_eq!(per_pod(&observation), [Some(11), Some(2)]);
}

#[test]
fn starting_replicas() {
    // The load of 10.8 replicas on 9, with a tenth starting: within the tolerance.
    assert_eq!(per_pod(&observed(10, &[(READY, Some(12)); 9])), [Some(11), Some(10)]);
    // Pending replicas, which the HPA does count, give the same.
    let mut pending = vec![(READY, Some(12)); 9];
    pending.push((PENDING, None));
    assert_eq!(per_pod(&observed(10, &pending)), [Some(10), Some(10)]);
    // More are requested if the starting ones will not be enough, and only once.
    assert_eq!(per_pod(&observed(4, &[(READY, Some(35)); 2])), [Some(7), Some(7)]);
    assert_eq!(per_pod(&observed(7, &[(READY, Some(35)); 2])), [Some(7), Some(7)]);
}

#[test]
fn stuck_replicas() {
    // In the HPA the two stuck replicas are missing samples, which hold back a scale-down.
    let idle = observed(4, &[(READY, Some(5)), (READY, Some(5)), (STUCK, None), (STUCK, None)]);
    assert_eq!(per_pod(&idle), [Some(3), Some(1)]);
    // They are no starting capacity either: the load is that of the two ready ones.
    let busy =
        observed(4, &[(READY, Some(21)), (READY, Some(21)), (STUCK_PENDING, None), (STUCK, None)]);
    assert_eq!(per_pod(&busy), [Some(4), Some(5)]);
    // No replacement is requested for stuck replicas.
    let broken = observed(4, &[(READY, Some(15)), (STUCK, None), (STUCK, None), (STUCK, None)]);
    assert_eq!(per_pod(&broken)[1], Some(4));
    assert_eq!(per_pod(&observed(2, &[(STUCK, None); 2]))[1], None);
}

#[test]
fn asked_for_replicas() {
    // The total fits the 4 requested replicas; `status.replicas` is still 3.
    let mut lagging = outside(40, 4, &[READY; 4]);
    lagging.scale.status = 3;
    assert_eq!(both(OBJECT_AVERAGE, &lagging), [Some(4), Some(4)]);
    lagging.readings = vec![Reading::Object(Milli::whole(31))];
    assert_eq!(both(OBJECT_AVERAGE, &lagging), [Some(3), Some(4)]);
}

#[test]
fn window_never_grows() {
    let shrunk_by_hand = ready(&[Some(10), Some(10)]);
    let past = vec![Recommendation { replicas: 5, at: at(-60) }];
    let history = History::from_lists(Some(past), Vec::new(), Vec::new());
    let desired = [Profile::HpaExact, Profile::Default].map(|profile| {
        let policy = Policy { profile, ..legacy_policy() };
        decide(&policy, &history, &shrunk_by_hand, at(0)).desired()
    });
    assert_eq!(desired, [Some(4), Some(2)]);
}

#[test]
fn growth_by_time() {
    // Steps at 0, 2 and 15 s, with a load for 20 replicas.
    let sizes = [Profile::HpaExact, Profile::Default].map(|profile| {
        let policy = Policy { profile, ..legacy_policy() };
        let (mut history, mut current, mut sizes) = (History::default(), 1, Vec::new());
        for second in [0, 2, 15] {
            let load = ready(&vec![Some(200 / i64::from(current)); current as usize]);
            let decision = decide(&policy, &history, &load, at(second));
            let desired = decision.desired().unwrap();
            history.record(&policy, &decision, at(second));
            history.record_scale(&policy, current, desired, at(second));
            current = desired;
            sizes.push(desired);
        }
        sizes
    });
    assert_eq!(sizes, [[4, 8, 16], [4, 4, 8]]);
}

#[test]
fn surviving_history() {
    let record = HistoryRecord {
        recommendations: vec![Recommendation { replicas: 9, at: at(-10) }],
        ..HistoryRecord::default()
    };
    let remembered = [Profile::HpaExact, Profile::Default].map(|profile| {
        let history = History::restore(&record, &policy_with_windows(profile, 0, 300), 5, at(0));
        history.recommendations().map(<[Recommendation]>::len)
    });
    assert_eq!(remembered, [None, Some(2)]);
}

#[test]
fn kept_scale_events() {
    let remembered = [Profile::HpaExact, Profile::Default].map(|profile| {
        let mut policy = policy_with_windows(profile, 0, 0);
        let down = &mut policy.behavior.as_mut().unwrap().scale_down;
        down.policies[0].period = chrono::TimeDelta::seconds(600);
        let mut history = History::default();
        history.record_scale(&policy, 1, 3, at(0));
        // Scale-up policies count the events of 15 s and scale-down policies those of 600 s, in
        // both directions.
        history.record_scale(&policy, 3, 4, at(100));
        history.scale_ups().len()
    });
    assert_eq!(remembered, [1, 2]);
}

#[test]
fn saturation() {
    let absurd = ready(&[Some(i64::MAX / 1000), Some(i64::MAX / 1000)]);
    assert_eq!(per_pod(&absurd), [Some(1), Some(20)]);
}
