//! An example of each deviation: the HPA's decision, and that of the Default profile.

use crate::{
    decide::decide,
    decision::{Hold, Outcome},
    history::{History, HistoryRecord, Recommendation},
    observation::{EngineActivity, Observation, Phase, Reading, Replica},
    policy::{MetricKind, MetricPolicy, Policy, Target},
    profile::Profile,
    tests::support::{at, legacy_policy, observed, per_replica, policy_with_windows, ready},
    units::Milli,
};

const READY: Replica = Replica::READY;
const PENDING: Replica = Replica::PENDING;
const LOADING: Replica = Replica { ready: false, ..READY };
const STUCK: Replica = Replica { ready: false, stuck: true, ..READY };
const ENDED: Replica = Replica { phase: Phase::Succeeded, ..LOADING };
const ENDING: Replica = Replica { deleting: true, ..READY };
const ANSWERING: Replica = Replica { activity: EngineActivity::Answering, ..LOADING };
const ASLEEP: Replica = Replica { activity: EngineActivity::Asleep, ..READY };
const WEDGED: Replica = Replica { activity: EngineActivity::Wedged, ..READY };
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
fn ended_replicas() {
    // In the HPA pods that have succeeded, as after the shutdown of a node, are missing samples.
    let leftovers = |samples, count| {
        let mut replicas = vec![(READY, Some(samples)); 4];
        replicas.extend(vec![(ENDED, None); count]);
        observed(4, &replicas)
    };
    assert_eq!(per_pod(&leftovers(20, 4)), [Some(4), Some(8)]);
    assert_eq!(per_pod(&leftovers(1, 3)), [Some(4), Some(1)]);
    assert_eq!(per_pod(&leftovers(20, 0)), [Some(8), Some(8)]);
}

#[test]
fn ending_replicas() {
    let mut replicas = vec![READY; 2];
    replicas.extend([ENDING; 8]);
    assert_eq!(both(OBJECT_VALUE, &outside(15, 2, &replicas)), [Some(15), Some(3)]);
    let mut one = vec![READY];
    one.extend([ENDING; 9]);
    assert_eq!(both(OBJECT_VALUE, &outside(5, 1, &one)), [Some(5), Some(1)]);
}

#[test]
fn engine_activity() {
    // Saturated replicas lose their readiness. They are capacity, and their load counts.
    assert_eq!(both(OBJECT_VALUE, &outside(20, 2, &[ANSWERING; 2])), [Some(1), Some(4)]);
    assert_eq!(both(OBJECT_VALUE, &outside(20, 2, &[READY, ANSWERING])), [Some(2), Some(4)]);
    let saturated = [(STUCK, Some(50)), (READY, Some(1))];
    assert_eq!(per_pod(&observed(2, &saturated)), [Some(6), Some(6)]);
    assert_eq!(per_pod(&observed(2, &[(STUCK, Some(50)); 2])), [Some(10), Some(10)]);
    // Replicas that sleep are no idle capacity: the load of the others is shared by the others.
    let asleep = |load| observed(3, &[(READY, Some(load)), (ASLEEP, Some(0)), (ASLEEP, Some(0))]);
    assert_eq!(per_pod(&asleep(18)), [Some(2), Some(4)]);
    assert_eq!(per_pod(&asleep(10)), [Some(1), Some(3)]);
    assert_eq!(per_pod(&asleep(1)), [Some(1), Some(3)]);
    let replicas = [READY, ASLEEP, ASLEEP];
    assert_eq!(both(OBJECT_AVERAGE, &outside(18, 3, &replicas)), [Some(2), Some(4)]);
    assert_eq!(both(OBJECT_VALUE, &outside(20, 3, &replicas)), [Some(6), Some(4)]);
    assert_eq!(per_pod(&observed(2, &[(ASLEEP, Some(0)); 2])), [Some(1), Some(2)]);
    // The requests of a wedged replica are no load that others could take; it is replaced once.
    assert_eq!(per_pod(&observed(2, &[(READY, Some(18)), (WEDGED, Some(20))])), [Some(4), Some(3)]);
    let replaced = [(READY, Some(9)), (READY, Some(9)), (WEDGED, Some(20))];
    assert_eq!(per_pod(&observed(3, &replaced)), [Some(4), Some(3)]);
    // Where no other replica serves, one is added, once, and stays without any load.
    let wedged = |others: &[(Replica, Option<i64>)], current| {
        let mut replicas = vec![(WEDGED, Some(121))];
        replicas.extend(others);
        per_pod(&observed(current, &replicas))[1]
    };
    assert_eq!(wedged(&[], 1), Some(2));
    assert_eq!(wedged(&[], 2), Some(2));
    assert_eq!(wedged(&[(PENDING, None)], 2), Some(2));
    assert_eq!(wedged(&[(LOADING, None)], 2), Some(2));
    assert_eq!(wedged(&[(READY, None)], 2), None, "a replica that serves has no sample");
    assert_eq!(wedged(&[(READY, Some(0))], 2), Some(2));
    assert_eq!(wedged(&[(READY, Some(0)); 3], 4), Some(2));
    assert_eq!(wedged(&[(WEDGED, Some(9))], 2), Some(3));
    assert_eq!(wedged(&[(ASLEEP, Some(0))], 2), Some(3));
    assert_eq!(wedged(&[(WEDGED, Some(9)), (READY, Some(25))], 3), Some(5));
    assert_eq!(both(OBJECT_VALUE, &outside(0, 1, &[WEDGED])), [Some(1), Some(2)]);
    assert_eq!(both(OBJECT_VALUE, &outside(11, 1, &[WEDGED]))[1], Some(2), "never by a ratio");
    // One that crashes beside it serves nothing either.
    assert_eq!(wedged(&[(STUCK, None)], 2), Some(3));
    assert_eq!(wedged(&[(STUCK, None), (PENDING, None)], 3), Some(3));
    assert_eq!(both(OBJECT_AVERAGE, &outside(0, 2, &[READY, WEDGED])), [Some(1), Some(2)]);
    // An idle replica beside sleeping ones is the one that is awake.
    assert_eq!(per_pod(&asleep(0)), [Some(1), Some(3)]);
    assert_eq!(both(OBJECT_AVERAGE, &outside(0, 2, &[ASLEEP; 2])), [Some(1), Some(2)]);
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

#[test]
fn unobserved_time() {
    // Five replicas were needed at 0 s, and no metric was there from 100 s to 400 s.
    let both = [Profile::HpaExact, Profile::Default].map(|profile| {
        let policy =
            Policy { metrics: vec![per_replica(10)], ..policy_with_windows(profile, 0, 300) };
        let mut history = History::default();
        let mut step = |observation: &Observation, second| {
            let decision = decide(&policy, &history, observation, at(second));
            history.record(&policy, &decision, at(second));
            decision.desired()
        };
        step(&ready(&[Some(10); 5]), 0);
        for second in (100..=400).step_by(15) {
            assert_eq!(step(&ready(&[None; 5]), second), None);
        }
        step(&ready(&[Some(0); 5]), 410)
    });
    assert_eq!(both, [Some(1), Some(5)]);
}

#[test]
fn engine_activity_of_replicas_that_were_never_ready() {
    const WARMING: Replica = Replica { activity: EngineActivity::Warming, ..LOADING };
    const STUCK_WARMING: Replica = Replica { stuck: true, ..WARMING };
    const GROUP: Replica =
        Replica { phase: Phase::Pending, activity: EngineActivity::Answering, ..LOADING };
    // Two replicas take the load of 36. Four that answer and were never ready are no capacity.
    let mut six = vec![(READY, Some(18)); 2];
    six.extend([(STUCK_WARMING, Some(0)); 4]);
    assert_eq!(per_pod(&observed(6, &six)), [Some(4), Some(6)]);
    // Their load counts.
    let loaded = [(READY, Some(10)), (WARMING, Some(25))];
    assert_eq!(per_pod(&observed(2, &loaded)), [Some(4), Some(4)]);
    let starting = [(READY, Some(20)), (WARMING, Some(0)), (WARMING, Some(0))];
    assert_eq!(per_pod(&observed(3, &starting)), [Some(2), Some(3)]);
    assert_eq!(per_pod(&observed(2, &[(WARMING, Some(20)); 2])), [Some(4), Some(4)]);
    assert_eq!(per_pod(&observed(2, &[(WARMING, Some(0)); 2])), [Some(1), None]);
    // The leader of a group answers while a worker is created anew.
    let mut five = vec![(READY, Some(2)); 4];
    five.push((GROUP, Some(40)));
    assert_eq!(per_pod(&observed(5, &five)), [Some(1), Some(5)]);
    assert_eq!(both(OBJECT_VALUE, &outside(20, 2, &[READY, GROUP])), [Some(2), Some(4)]);
}
