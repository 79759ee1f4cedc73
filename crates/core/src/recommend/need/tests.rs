//! Proposals to a shadow: a target of another size than the one that was observed.

use proptest::prelude::*;

use super::*;
use crate::{
    decision::{MetricError, MetricOutcome},
    observation::{EngineActivity, Observation, Phase, Precision, Reading, Replica},
    policy::{MetricKind, MetricPolicy, Target},
    profile::Profile,
    recommend::recommend,
    tests::support::{observed, policy_with_windows},
    units::Milli,
};

const READY: Replica = Replica::READY;
const PENDING: Replica = Replica::PENDING;
const STUCK: Replica = Replica { stuck: true, ..PENDING };
const ASLEEP: Replica = Replica { activity: EngineActivity::Asleep, ..READY };
const WEDGED: Replica = Replica { activity: EngineActivity::Wedged, ..READY };
const FAILED: Replica = Replica { phase: Phase::Failed, ..READY };

fn policy(kind: MetricKind, target: Target) -> Policy {
    let metrics = vec![MetricPolicy { kind, target }];
    Policy { metrics, max_replicas: 100, ..policy_with_windows(Profile::Default, 0, 0) }
}

/// The policy of a sum with a target of 10 for each replica.
fn per_replica() -> Policy {
    policy(MetricKind::PerReplica, Target::AverageValue(Milli::whole(10)))
}

/// Returns what one metric proposes to a target that would have this size.
fn proposed(policy: &Policy, observation: &Observation, size: i32) -> Result<i32, MetricError> {
    match recommend(policy, observation, size)[..] {
        [MetricOutcome::Proposal(Proposal { replicas, .. })] => Ok(replicas),
        [MetricOutcome::Failed(error)] => Err(error),
        ref outcomes => panic!("{outcomes:?}"),
    }
}

#[test]
fn the_tolerance_is_that_of_the_size_that_would_be_there() {
    // Observed replicas, load of each; size that would be there, proposal to it.
    let table = [
        // Within the tolerance of both sizes.
        (10, 9_500, 9, 9),
        // Within that of the observed size only: what the load asks for.
        (10, 9_500, 8, 10),
        (10, 10_500, 20, 11),
        // Within that of the other size only.
        (10, 5_000, 5, 5),
        (10, 4_600, 5, 5),
        (10, 19_600, 19, 19),
        // Of neither.
        (10, 5_000, 7, 5),
        (10, 30_000, 20, 30),
        // An equal size, and none at all.
        (10, 9_500, 10, 10),
        (10, 5_000, 0, 5),
        (10, 9_500, 0, 10),
        (10, 0, 0, 0),
        (10, 0, 4, 0),
    ];
    for (count, load, size, expected) in table {
        let mut observation = observed(count, &vec![(READY, None); count as usize]);
        let samples = vec![Some(Milli(load)); count as usize];
        observation.readings = vec![Reading::PerReplica { samples, strays: Vec::new() }];
        let found = proposed(&per_replica(), &observation, size);
        assert_eq!(found, Ok(expected), "{count} {load} {size}");
        // A total of this load.
        let value = Milli(load * i64::from(count));
        let total = Reading::Total { value, precision: Precision::Exact, complete: true };
        observation.readings = vec![total];
        let found = proposed(&per_replica(), &observation, size);
        assert_eq!(found, Ok(expected), "a total of {count} {load} {size}");
    }
}

#[test]
fn a_size_that_stays_on_missing_samples_is_no_proposal_to_another_size() {
    let one = |load, others: &[Replica]| {
        let others = others.iter().map(|replica| (*replica, None));
        [(READY, Some(load))].into_iter().chain(others).collect::<Vec<_>>()
    };
    // Requested replicas, what they are; proposals to 2, 3, 5 and 8 replicas. A load of 25 asks for
    // 2.5 replicas, and each sample that is missing may add one.
    let table = [
        (5, one(25, &[READY; 4]), [3, 3, 5, 8]),
        (5, one(25, &[PENDING; 4]), [3, 3, 5, 8]),
        (5, one(25, &[]), [3, 3, 5, 8]),
        (5, one(25, &[STUCK; 4]), [3, 3, 5, 8]),
        (2, one(25, &[FAILED, READY]), [3, 3, 4, 4]),
        // Below the target: the missing one counts at the target, and the starting ones do not.
        (3, one(2, &[READY, READY]), [2, 3, 3, 3]),
        (3, one(2, &[READY, PENDING]), [2, 2, 2, 2]),
        (5, one(2, &[PENDING; 4]), [1, 1, 1, 1]),
        (5, one(10, &[PENDING; 4]), [2, 3, 5, 8]),
        // More than all sizes have.
        (4, one(95, &[READY, PENDING]), [10, 10, 10, 10]),
    ];
    for (requested, replicas, expected) in table {
        let observation = observed(requested, &replicas);
        let found = [2, 3, 5, 8].map(|size| proposed(&per_replica(), &observation, size));
        assert_eq!(found, expected.map(Ok), "{requested} {replicas:?}");
    }
}

#[test]
fn halted_replicas_leave_the_size_as_it_is() {
    // The replicas; proposals to 2, 3 and 8 replicas.
    let table = [
        // Nothing is missing, and nothing tells what another size would need.
        (vec![(ASLEEP, None); 5], [5, 5, 8]),
        (vec![(WEDGED, None); 5], [6, 6, 8]),
        // Two stay asleep beside those that the load asks for.
        (vec![(READY, Some(12)), (READY, Some(13)), (ASLEEP, None), (ASLEEP, None)], [5, 5, 5]),
        (vec![(READY, Some(10)), (ASLEEP, None), (ASLEEP, None)], [3, 3, 3]),
    ];
    for (replicas, expected) in table {
        let observation = observed(replicas.len() as i32, &replicas);
        let found = [2, 3, 8].map(|size| proposed(&per_replica(), &observation, size));
        assert_eq!(found, expected.map(Ok), "{replicas:?}");
    }
}

#[test]
fn a_value_is_shared_by_the_replicas_that_serve() {
    let value = policy(MetricKind::Pooled, Target::Value(Milli::whole(10)));
    let exactly = Precision::Exact;
    // Value, precision, what the five replicas are; proposals to 0, 2, 3, 5 and 8 replicas.
    let table = [
        (10, exactly, [READY; 5], [5, 5, 5, 5, 5]),
        (20, exactly, [READY; 5], [10, 10, 10, 10, 10]),
        (4, exactly, [READY; 5], [2, 2, 2, 2, 2]),
        // Two serve with what they can take: that is no reason for five, nor against eight.
        (10, exactly, [READY, READY, PENDING, PENDING, PENDING], [2, 2, 3, 5, 8]),
        // Above the target and fewer by the ratio: the direction keeps five, and eight.
        (12, exactly, [READY, READY, PENDING, PENDING, PENDING], [3, 3, 3, 5, 8]),
        // A value that may be above the target or below it.
        (4, Precision::AtLeast, [READY; 5], [1, 2, 3, 5, 8]),
        (4, Precision::AtMost(Milli::whole(90)), [READY; 5], [1, 2, 3, 5, 8]),
    ];
    for (value_of_all, precision, replicas, expected) in table {
        let mut observation = observed(5, &replicas.map(|replica| (replica, None)));
        let reported = replicas.iter().map(|replica| replica.ready).collect();
        let pooled = Some(Milli::whole(value_of_all));
        observation.readings = vec![Reading::Pooled { value: pooled, precision, reported }];
        let found = [0, 2, 3, 5, 8].map(|size| proposed(&value, &observation, size));
        assert_eq!(found, expected.map(Ok), "{value_of_all} {precision:?} {replicas:?}");
    }
}

/// Replicas with a target of 64, so that means and ratios are exact.
fn fleet() -> impl Strategy<Value = (i32, Vec<(Replica, Option<i64>)>)> {
    let replica = prop_oneof![
        4 => (0_i64..5).prop_map(|load| (READY, Some(60 * load))),
        1 => Just((READY, None)),
        1 => Just((PENDING, None)),
        1 => Just((STUCK, None)),
        1 => Just((FAILED, None)),
    ];
    proptest::collection::vec(replica, 1..7).prop_flat_map(|replicas| {
        let listed = replicas.iter().filter(|(replica, _)| *replica != FAILED).count() as i32;
        (listed.max(1)..listed + 3, Just(replicas))
    })
}

proptest! {
    #[test]
    fn a_shadow_moves_to_what_the_load_asks_for_and_never_to_a_size_that_only_stayed(
        (requested, replicas) in fleet(),
        size in 1..12_i32,
    ) {
        let policy = policy(MetricKind::PerReplica, Target::AverageValue(Milli::whole(64)));
        let observation = observed(requested, &replicas);
        let load: i64 = replicas.iter().filter(|(replica, _)| *replica == READY)
            .filter_map(|(_, sample)| *sample).sum();
        let asked = (load as f64 / 64.0).ceil() as i32;
        let Ok(found) = proposed(&policy, &observation, size) else {
            return Ok(());
        };
        prop_assert!(found <= asked.max(size), "{found} for {asked}");
        prop_assert!(found >= asked.min(size), "{found} for {asked}");
        // Where replicas start or are stuck, a shadow stays if the target does, unless the load
        // asks for more.
        let stays = proposed(&policy, &observation, requested) == Ok(requested);
        let alive = || replicas.iter().filter(|(replica, _)| *replica != FAILED);
        let all_run = alive().all(|(replica, _)| *replica == READY);
        if stays && !(all_run && alive().count() as i32 == requested) {
            prop_assert!(found >= size, "{found} on doubt");
        }
    }

    #[test]
    fn a_shadow_of_the_observed_size_has_its_proposal(
        (requested, replicas) in fleet(),
    ) {
        // The tolerance of the HPA's formula leaves stuck replicas out, and nothing tells how many
        // of a shadow's would be stuck.
        prop_assume!(replicas.iter().all(|(replica, _)| !replica.stuck));
        let policy = policy(MetricKind::PerReplica, Target::AverageValue(Milli::whole(64)));
        let observation = observed(requested, &replicas);
        let metric = &policy.metrics[0];
        let reading = &observation.readings[0];
        let Ok(proposed) = crate::recommend::propose_for(&policy, metric, reading, &observation)
        else {
            return Ok(());
        };
        let by_need = proposed.need.replicas(&policy, requested);
        prop_assert_eq!(by_need, proposed.proposal.replicas);
    }
}
