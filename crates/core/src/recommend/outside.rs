//! Metrics that are not made of samples of replicas (`type: Object`, `type: External`).

use super::in_direction;
use crate::{
    Counted, Deviation, MetricError, MetricKind, Milli, Observation, Phase, Policy, Profile, Proposal,
    Reading, Replica,
};

/// The value to be compared with a `Value` target.
pub(super) fn usage_for_value(
    profile: Profile,
    kind: MetricKind,
    reading: &Reading,
) -> Result<i64, MetricError> {
    let values = match (kind, reading) {
        (MetricKind::Object, Reading::Object(value)) => return Ok(value.0),
        (MetricKind::External, Reading::External(values)) if !values.is_empty() => values,
        _ => return Err(MetricError::Fetch),
    };
    if profile.has(Deviation::Saturation) {
        return Ok(saturating_total(values));
    }
    let mut total = 0_i64;
    for value in values {
        if value.0 > 0 && total > i64::MAX - value.0 {
            return Ok(i64::MAX);
        }
        total = total.wrapping_add(value.0);
    }
    Ok(total)
}

/// The value to be compared with an `AverageValue` target. The HPA takes a negative sum for an overflow,
/// and so for infinity.
pub(super) fn usage_for_average(
    profile: Profile,
    kind: MetricKind,
    reading: &Reading,
) -> Result<i64, MetricError> {
    let values = match (kind, reading) {
        (MetricKind::Object, Reading::Object(value)) => return Ok(value.0),
        (MetricKind::External, Reading::External(values)) if !values.is_empty() => values,
        _ => return Err(MetricError::Fetch),
    };
    if profile.has(Deviation::Saturation) {
        return Ok(saturating_total(values));
    }
    let mut total = 0_i64;
    for value in values {
        total = total.wrapping_add(value.0);
        if total < 0 {
            return Ok(i64::MAX);
        }
    }
    Ok(total)
}

fn saturating_total(values: &[Milli]) -> i64 {
    let total: i128 = values.iter().map(|value| i128::from(value.0)).sum();
    Profile::Default.fit64(total)
}

/// `ratio × ready replicas`; at zero replicas `ratio` alone, which is at least a way out.
pub(super) fn propose_value(
    policy: &Policy,
    usage: i64,
    target: Milli,
    observation: &Observation,
) -> Result<Proposal, MetricError> {
    let Policy { profile, tolerance, .. } = *policy;
    let current = observation.scale.current;
    let ratio = usage as f64 / target.0 as f64;
    let proposal = |replicas, ready| {
        let counted = Counted { ready, ..Counted::default() };
        Proposal { replicas, usage: Milli(usage), ratio, counted }
    };
    if current == 0 {
        return Ok(proposal(profile.ceil32(ratio), 0));
    }
    if tolerance.hold(ratio) {
        return Ok(proposal(current, 0));
    }
    if observation.replicas.is_empty() {
        return Err(MetricError::NoReplicas);
    }
    let ready = ready(profile, &observation.replicas);
    if ready == 0 && profile.has(Deviation::NoneReady) {
        return Err(MetricError::NoneReady);
    }
    let replicas = ceil32_saturating_above(profile, ratio * f64::from(ready));
    Ok(proposal(in_direction(profile, ratio, replicas, current), ready))
}

/// How many serve. The HPA does not look at deletion here.
fn ready(profile: Profile, replicas: &[Replica]) -> u32 {
    let serves = |replica: &&Replica| {
        let stuck = replica.stuck && profile.has(Deviation::StuckReplicas);
        replica.phase == Phase::Running && replica.ready && !stuck
    };
    replicas.iter().filter(serves).count() as u32
}

/// `total ÷ target`: a number of replicas that depends on no replica. Those that exist only matter to the
/// tolerance.
pub(super) fn propose_average(
    policy: &Policy,
    kind: MetricKind,
    usage: i64,
    target: Milli,
    observation: &Observation,
) -> Proposal {
    let Policy { profile, tolerance, .. } = *policy;
    let scale = observation.scale;
    let base = if profile.has(Deviation::AskedForReplicas) { scale.current } else { scale.status };
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
    Proposal { replicas, usage: shown, ratio, counted: Counted::default() }
}

/// The average to be shown. At zero replicas the HPA's is the smallest integer; ours is the total.
fn average(profile: Profile, kind: MetricKind, usage: i64, replicas: i32) -> i64 {
    if replicas == 0 && profile.has(Deviation::AskedForReplicas) {
        return usage;
    }
    // 2^63 as a float: the HPA compares after the conversion, which rounds up.
    if kind == MetricKind::External && usage as f64 >= i64::MAX as f64 {
        return i64::MAX;
    }
    profile.ceil64(usage as f64 / f64::from(replicas))
}

fn ceil32_saturating_above(profile: Profile, value: f64) -> i32 {
    if value > f64::from(i32::MAX) { i32::MAX } else { profile.ceil32(value) }
}
