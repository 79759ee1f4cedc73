//! Metrics from outside of the replicas (`type: Object`, `type: External`).

use super::{
    halted::Halted,
    in_direction,
    need::{Need, Proposed},
};
use crate::{
    decision::{Counted, MetricError, Proposal},
    observation::{EngineActivity, Observation, Phase, Precision, Reading, Replica},
    policy::{MetricKind, Policy},
    profile::{Deviation, Profile},
    units::Milli,
};

/// Returns the usage to compare with a `Value` target, in thousandths.
pub(super) fn usage_for_value(
    profile: Profile,
    kind: MetricKind,
    reading: &Reading,
) -> Result<i64, MetricError> {
    usage(profile, kind, reading, |values| {
        let mut total = 0_i64;
        for value in values {
            if value.0 > 0 && total > i64::MAX - value.0 {
                return i64::MAX;
            }
            total = total.wrapping_add(value.0);
        }
        total
    })
}

/// Returns the usage to compare with an `AverageValue` target, in thousandths. The HPA takes a
/// negative sum for an overflow, and replaces it by the largest integer.
pub(super) fn usage_for_average(
    profile: Profile,
    kind: MetricKind,
    reading: &Reading,
) -> Result<i64, MetricError> {
    usage(profile, kind, reading, |values| {
        let mut total = 0_i64;
        for value in values {
            total = total.wrapping_add(value.0);
            if total < 0 {
                return i64::MAX;
            }
        }
        total
    })
}

/// Returns the value of an object, or the sum of external values; `overflowing` is the HPA's sum.
fn usage(
    profile: Profile,
    kind: MetricKind,
    reading: &Reading,
    overflowing: impl Fn(&[Milli]) -> i64,
) -> Result<i64, MetricError> {
    match (kind, reading) {
        (MetricKind::Object, Reading::Object(value))
        | (MetricKind::External, Reading::Total { value, .. }) => Ok(value.0),
        (MetricKind::External, Reading::External(values)) if !values.is_empty() => {
            let saturates = profile.has(Deviation::Saturation);
            Ok(if saturates { saturating_total(values) } else { overflowing(values) })
        }
        _ => Err(MetricError::Fetch),
    }
}

fn saturating_total(values: &[Milli]) -> i64 {
    let total: i128 = values.iter().map(|value| i128::from(value.0)).sum();
    Profile::Default.fit64(total)
}

/// Returns the proposal ⌈ratio × ready replicas⌉, or ⌈ratio⌉ at zero replicas, as
/// `getUsageRatioReplicaCount` of `pkg/controller/podautoscaler/replica_calculator.go` does.
///
/// Example: a usage of 20 at a target of 10, with 3 ready replicas, gives 6.
pub(super) fn propose_value(
    policy: &Policy,
    usage: i64,
    target: Milli,
    observation: &Observation,
) -> Result<Proposed, MetricError> {
    let Policy { profile, tolerance, .. } = *policy;
    let halted = Halted::of(profile, observation).count();
    let current = (observation.scale.current - halted).max(0);
    let ratio = usage as f64 / target.0 as f64;
    let proposed = |replicas: i32, ready, need| {
        let counted = Counted { ready, halted: halted as u32, ..Counted::default() };
        let replicas = replicas.saturating_add(halted);
        let usage = Milli(usage);
        let proposal = Proposal { replicas, usage, precision: Precision::Exact, ratio, counted };
        Proposed { proposal, need }
    };
    if observation.scale.current <= 0 {
        return Ok(proposed(profile.ceil32(ratio), 0, Need::exactly(ratio)));
    }
    if current == 0 {
        // All replicas are halted, so nothing tells what one of them could do.
        return Ok(proposed(0, 0, Need::at_least(0.0)));
    }
    let ready = ready(profile, &observation.replicas);
    let need = Need::exactly(ratio * f64::from(ready));
    if tolerance.hold(ratio) {
        // Starting replicas are no part of the ratio, and will take their share.
        let may_shrink = i64::from(ready) >= i64::from(current);
        return Ok(proposed(current, 0, Need { may_shrink, ..need }));
    }
    if observation.replicas.is_empty() {
        return Err(MetricError::NoReplicas);
    }
    if ready == 0 && profile.has(Deviation::NoneReady) {
        return Err(MetricError::NoneReady);
    }
    let replicas = ceil32_saturating_above(profile, ratio * f64::from(ready));
    let kept = in_direction(profile, ratio, replicas, current);
    let may_shrink = kept == replicas;
    Ok(proposed(kept, ready, Need { may_shrink, ..need }))
}

/// Returns the number of replicas that a ratio is multiplied by. The HPA's `getReadyPodsCount`
/// counts the running pods that are ready, with those that are being deleted.
fn ready(profile: Profile, replicas: &[Replica]) -> u32 {
    let serves = |replica: &&Replica| {
        let answers = replica.activity == EngineActivity::Answering;
        let by_activity = profile.has(Deviation::EngineActivity);
        let stuck = replica.stuck && profile.has(Deviation::StuckReplicas);
        let ending = replica.deleting && profile.has(Deviation::EndingReplicas);
        let halted = replica.is_halted() && by_activity;
        let runs = replica.phase == Phase::Running;
        // A group of pods of which one does not run is pending, and its leader may answer.
        let serves = runs && replica.ready || by_activity && answers && !replica.has_ended();
        serves && !(stuck || ending || halted)
    };
    replicas.iter().filter(serves).count() as u32
}

/// Returns the proposal ⌈total ÷ target⌉; the current replicas matter to the tolerance only.
///
/// The formula is `GetObjectPerPodMetricReplicas` and `GetExternalPerPodMetricReplicas` of
/// `pkg/controller/podautoscaler/replica_calculator.go`. Example: a total of 60 at a target of 10
/// gives 6.
pub(super) fn propose_average(
    policy: &Policy,
    kind: MetricKind,
    usage: i64,
    target: Milli,
    observation: &Observation,
) -> Proposed {
    let Policy { profile, tolerance, .. } = *policy;
    let scale = observation.scale;
    let halted = Halted::of(profile, observation).count();
    let base = if profile.has(Deviation::AskedForReplicas) { scale.current } else { scale.status };
    let base = (base - halted).max(0);
    let ratio = usage as f64 / (target.0 as f64 * f64::from(base));
    let wanted = usage as f64 / target.0 as f64;
    let replicas = if tolerance.hold(ratio) {
        base
    } else if kind == MetricKind::External {
        ceil32_saturating_above(profile, wanted)
    } else {
        profile.ceil32(wanted)
    };
    let shown = Milli(average(profile, kind, usage, base));
    let counted = Counted { halted: halted as u32, ..Counted::default() };
    let replicas = replicas.saturating_add(halted);
    let proposal = Proposal { replicas, usage: shown, precision: Precision::Exact, ratio, counted };
    Proposed { proposal, need: Need::exactly(wanted) }
}

/// Returns the average to display. At zero replicas the HPA's is the smallest integer; ours is the
/// total.
fn average(profile: Profile, kind: MetricKind, usage: i64, replicas: i32) -> i64 {
    if replicas == 0 && profile.has(Deviation::AskedForReplicas) {
        return usage;
    }
    // The largest integer becomes 2^63 as a float: the HPA compares after that conversion.
    if kind == MetricKind::External && usage as f64 >= i64::MAX as f64 {
        return i64::MAX;
    }
    profile.ceil64(usage as f64 / f64::from(replicas))
}

fn ceil32_saturating_above(profile: Profile, value: f64) -> i32 {
    if value > f64::from(i32::MAX) { i32::MAX } else { profile.ceil32(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::support::{legacy_policy, observed};

    const NOT_READY: Replica = Replica { ready: false, ..Replica::READY };
    const DELETING: Replica = Replica { deleting: true, ..Replica::READY };

    #[test]
    fn a_value_is_shared_by_the_ready_replicas() {
        let table = [
            (20, 3, &[Replica::READY; 3][..], Ok(6)),
            (11, 3, &[Replica::READY; 3], Ok(3)),
            (50, 3, &[Replica::READY, NOT_READY, DELETING], Ok(10)),
            (20, 3, &[NOT_READY; 3], Ok(0)),
            (20, 3, &[], Err(MetricError::NoReplicas)),
            (10, 3, &[], Ok(3)),
            // At zero neither the replicas nor the tolerance matter.
            (10, 0, &[], Ok(1)),
            (101, 0, &[], Ok(11)),
            (0, 0, &[], Ok(0)),
            (i64::MAX / 1000, 3, &[Replica::READY; 3], Ok(i32::MAX)),
        ];
        for (usage, current, replicas, expected) in table {
            let replicas: Vec<_> = replicas.iter().map(|replica| (*replica, None)).collect();
            let observation = observed(current, &replicas);
            let target = Milli::whole(10);
            let proposal =
                propose_value(&legacy_policy(), Milli::whole(usage).0, target, &observation);
            assert_eq!(proposal.map(|it| it.proposal.replicas), expected, "{usage} {current}");
        }
    }

    #[test]
    fn a_total_is_divided_by_its_target() {
        // total, status, expected replicas, expected average
        let table = [
            (60, 3, 6, 20_000),
            (31, 3, 3, 10_334),
            (60, 0, 6, i64::MIN),
            (0, 0, 0, i64::MIN),
            (33, 3, 3, 11_000),
        ];
        for (total, status, replicas, average) in table {
            let mut observation = observed(9, &[]);
            observation.scale.status = status;
            let kind = MetricKind::Object;
            let target = Milli::whole(10);
            let proposal =
                propose_average(&legacy_policy(), kind, total * 1000, target, &observation)
                    .proposal;
            assert_eq!(
                (proposal.replicas, proposal.usage),
                (replicas, Milli(average)),
                "{total} {status}"
            );
        }
    }

    #[test]
    fn the_ready_replicas_are_counted() {
        let observation = observed(3, &[(Replica::READY, None), (NOT_READY, None)]);
        let proposed = propose_value(&legacy_policy(), 50, Milli(10), &observation).unwrap();
        assert_eq!(proposed.proposal.counted, Counted { ready: 1, ..Counted::default() });
    }

    #[test]
    fn absurd_totals_differ_by_kind_and_profile() {
        use MetricKind::{External, Object};
        use Profile::{Default, HpaExact};
        const MAX: i64 = i64::MAX;
        let third = (MAX as f64 / 3.0).ceil() as i64;
        // total, replicas; expected replicas and average
        let table = [
            (HpaExact, Object, MAX, 3, i32::MIN, third),
            (HpaExact, External, MAX, 3, i32::MAX, MAX),
            (HpaExact, External, 60, 3, 6, 20),
            (HpaExact, External, 60, 0, 6, i64::MIN),
            (Default, Object, MAX, 3, i32::MAX, third),
            (Default, Object, 60, 3, 6, 20),
            (Default, Object, 60, 0, 6, 60),
        ];
        for (profile, kind, total, replicas, wanted, shown) in table {
            let policy = Policy { profile, ..legacy_policy() };
            let mut observation = observed(replicas, &[]);
            observation.scale.status = replicas;
            let proposal = propose_average(&policy, kind, total, Milli(10), &observation);
            let found = (proposal.proposal.replicas, proposal.proposal.usage.0);
            assert_eq!(found, (wanted, shown), "{profile:?} {kind:?} {total} {replicas}");
        }
    }

    #[test]
    fn sums_of_external_values_overflow_as_the_hpas_do() {
        const MAX: i64 = i64::MAX;
        // values; the usage for a value and for an average, each of HpaExact and Default
        let table: &[(&[i64], [i64; 2], [i64; 2])] = &[
            (&[1, 2, 3], [6, 6], [6, 6]),
            (&[MAX, 1, -5], [MAX, MAX - 4], [MAX, MAX - 4]),
            (&[MAX - 1, 1, -5], [MAX - 5, MAX - 5], [MAX - 5, MAX - 5]),
            (&[MAX - 10, 20, -5], [MAX, MAX], [MAX, MAX]),
            (&[-5, 8], [3, 3], [MAX, 3]),
            (&[5, -5], [0, 0], [0, 0]),
            (&[i64::MIN, -1], [MAX, i64::MIN], [MAX, i64::MIN]),
        ];
        for (values, for_value, for_average) in table {
            let reading = Reading::External(values.iter().map(|value| Milli(*value)).collect());
            let both = |usage: fn(Profile, MetricKind, &Reading) -> Result<i64, MetricError>| {
                [Profile::HpaExact, Profile::Default]
                    .map(|profile| usage(profile, MetricKind::External, &reading).unwrap())
            };
            assert_eq!(both(usage_for_value), *for_value, "{values:?}");
            assert_eq!(both(usage_for_average), *for_average, "{values:?}");
        }
    }

    #[test]
    fn nothing_is_no_reading() {
        for reading in [Reading::Failed, Reading::External(Vec::new()), Reading::Object(Milli(1))] {
            for usage in [usage_for_value, usage_for_average] {
                let usage = usage(Profile::HpaExact, MetricKind::External, &reading);
                assert_eq!(usage, Err(MetricError::Fetch), "{reading:?}");
            }
        }
    }
}
