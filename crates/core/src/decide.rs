//! The step: the order in which the parts are asked.

use chrono::{DateTime, Utc};

use crate::recommend::{recommend, winner};
use crate::{
    Bound, Decision, Derivation, Deviation, Doubt, History, Hold, Limit, MetricKind, MetricOutcome,
    Observation, Outcome, Policy, Reading, Reason, Recommendation, Scale, Selector, Stabilization,
    ToZero, limit, stabilize,
};

/// One step: the number of replicas that `observation` calls for, under `policy`, given `history`.
///
/// The part of the HPA's reconcile between reading the scale and writing it. Nothing is remembered here: the
/// caller passes the decision to [`History::record`], and a written change to [`History::scaled`].
pub fn decide(
    policy: &Policy,
    history: &History,
    observation: &Observation,
    now: DateTime<Utc>,
) -> Decision {
    let current = observation.scale.current;
    let without_metrics = |outcome| Decision { current, outcome, metrics: Vec::new(), tied: None };
    if let Some(outcome) = shortcut(policy, observation) {
        return without_metrics(outcome);
    }
    if observation.selector != Selector::Valid {
        return without_metrics(Outcome::NoSelector);
    }
    let metrics = recommend(policy, observation);
    let outcome = match verdict(policy, &metrics, observation) {
        Ok(recommended) => {
            Outcome::Computed(derive(policy, history, observation, &recommended, now))
        }
        Err(Outcome::Blind { first, failed }) => {
            match fallback(policy, history, (current, failed), now) {
                Some(recommended) => {
                    let mut derivation = derive(policy, history, observation, &recommended, now);
                    derivation.reason = derivation.reason.map(|_| Reason::Fallback);
                    Outcome::Fallback { first, failed, derivation }
                }
                None => Outcome::Blind { first, failed },
            }
        }
        Err(outcome) => outcome,
    };
    Decision { current, outcome, metrics, tied: None }
}

/// What is asked for while nobody knows: at least the policy's number, once nobody has known for long enough.
fn fallback(
    policy: &Policy,
    history: &History,
    (current, failed): (i32, usize),
    now: DateTime<Utc>,
) -> Option<Recommended> {
    let fallback = policy.fallback?;
    let blind_since = history.blind_since()?;
    let raw = fallback.replicas.max(current);
    let due = failed == policy.metrics.len() && now - blind_since >= fallback.after;
    due.then_some(Recommended { winner: 0, failed, raw, held: None })
}

/// Where the bounds alone, or a target at zero, say it all.
fn shortcut(policy: &Policy, observation: &Observation) -> Option<Outcome> {
    let Policy { min_replicas, max_replicas, .. } = *policy;
    match observation.scale.current {
        0 if leaves_zero(policy, observation) => {
            let to = min_replicas.max(1);
            observation.woken.then_some(Outcome::OutOfBounds { to, bound: Bound::Asleep })
        }
        0 => Some(Outcome::Disabled),
        current if current > max_replicas => {
            Some(Outcome::OutOfBounds { to: max_replicas, bound: Bound::AboveMax })
        }
        current if current < min_replicas => {
            Some(Outcome::OutOfBounds { to: min_replicas, bound: Bound::BelowMin })
        }
        _ => None,
    }
}

/// Only who scaled to zero scales from zero, and only where something can say when.
fn leaves_zero(policy: &Policy, observation: &Observation) -> bool {
    let ours = observation.scaled_to_zero && policy.settings.scale_to_zero;
    ours && (policy.min_replicas != 0 || policy.can_leave_zero())
}

/// What the metrics say together.
struct Recommended {
    winner: usize,
    failed: usize,
    raw: i32,
    held: Option<Hold>,
}

/// The highest proposal, unless a metric that failed might have been higher.
fn verdict(
    policy: &Policy,
    metrics: &[MetricOutcome],
    observation: &Observation,
) -> Result<Recommended, Outcome> {
    let current = observation.scale.current;
    let is_failure = |metric: &MetricOutcome| matches!(metric, MetricOutcome::Failed(_));
    let failed = metrics.iter().filter(|metric| is_failure(metric)).count();
    let first = metrics.iter().position(is_failure).unwrap_or_default();
    let Some((winner, raw)) = winner(metrics) else {
        let silent = failed == 0 && !metrics.is_empty();
        return Err(if silent { Outcome::Silent } else { Outcome::Blind { first, failed } });
    };
    if failed > 0 && raw < current {
        return Err(Outcome::Blind { first, failed });
    }
    let held = if raw < current { hold(policy, metrics, observation) } else { None };
    Ok(Recommended { winner, failed, raw, held })
}

/// What keeps the target from shrinking although no metric that was computed wants what there is.
fn hold(policy: &Policy, metrics: &[MetricOutcome], observation: &Observation) -> Option<Hold> {
    let incomplete = |reading: &Reading| matches!(reading, Reading::Total { complete: false, .. });
    if lacks_quorum(policy, metrics) {
        Some(Hold::NoQuorum)
    } else if observation.readings.iter().any(incomplete) {
        Some(Hold::Incomplete)
    } else {
        observation.doubt.map(|doubt| match doubt {
            Doubt::Samples => Hold::Doubt,
            Doubt::Surplus => Hold::Surplus,
        })
    }
}

/// Whether a metric rests on samples from fewer than four fifths of the replicas that could have one.
fn lacks_quorum(policy: &Policy, metrics: &[MetricOutcome]) -> bool {
    let of_replicas = |index: usize| {
        matches!(policy.metrics[index].kind, MetricKind::PerReplica | MetricKind::Pooled)
    };
    policy.profile.has(Deviation::Quorum)
        && metrics.iter().enumerate().any(|(index, metric)| match metric {
            MetricOutcome::Proposal(proposal) => {
                of_replicas(index) && !proposal.counted.is_quorum()
            }
            MetricOutcome::Silent(_) | MetricOutcome::Failed(_) => false,
        })
}

/// From the proposal to the number that is asked for.
fn derive(
    policy: &Policy,
    history: &History,
    observation: &Observation,
    metrics: &Recommended,
    now: DateTime<Utc>,
) -> Derivation {
    let Recommended { winner, failed, raw, held } = *metrics;
    let Scale { current, .. } = observation.scale;
    let awake = stays_awake(policy, history, observation, raw, now);
    let proposed = raw.max(i32::from(awake));
    let recommended = if held.is_some() { current } else { proposed };

    let first = [Recommendation { replicas: current, at: now }];
    let past = history.recommendations().unwrap_or(&first);
    let (stabilized, (limited, limit)) = match &policy.behavior {
        None => {
            let window = policy.settings.downscale_stabilization;
            let highest = stabilize::legacy(past, window, recommended, now);
            let stabilized = never_growing(policy, highest, current.max(recommended));
            (stabilized, limit::legacy(policy, history, current, stabilized, now))
        }
        Some(behavior) => {
            let stabilized = stabilize::with_behavior(past, behavior, current, recommended, now);
            (stabilized, limit::with_behavior(policy, behavior, history, current, stabilized, now))
        }
    };
    let limit = if awake && limited == 1 { Limit::NotIdleYet } else { limit };
    let below_min = current == 0 && limited < policy.min_replicas;
    Derivation {
        winner,
        failed,
        raw,
        recommended,
        stabilized,
        stabilization: stabilization(policy, current, recommended, stabilized),
        limited,
        limit,
        desired: if below_min { policy.min_replicas } else { limited },
        reason: reason(current, proposed).or(below_min.then_some(Reason::BelowMin)),
        held,
    }
}

/// Whether the last replica stays although nothing is asked for: not for long enough yet, or somebody has just called.
fn stays_awake(
    policy: &Policy,
    history: &History,
    observation: &Observation,
    raw: i32,
    now: DateTime<Utc>,
) -> bool {
    let Some(ToZero { after }) = policy.to_zero else { return false };
    let idle = history.idle_since().is_some_and(|since| now - since >= after);
    raw < 1 && observation.scale.current > 0 && (observation.woken || !idle)
}

/// The legacy window holds what there is; what there was, before someone made it fewer, is past.
fn never_growing(policy: &Policy, highest: i32, ceiling: i32) -> i32 {
    if policy.profile.has(Deviation::WindowNeverGrows) { highest.min(ceiling) } else { highest }
}

fn stabilization(
    policy: &Policy,
    current: i32,
    recommended: i32,
    stabilized: i32,
) -> Stabilization {
    if stabilized == recommended {
        Stabilization::None
    } else if policy.behavior.is_some() && recommended >= current {
        Stabilization::Up
    } else {
        Stabilization::Down
    }
}

/// Compared before any window or limit, as the HPA does.
fn reason(current: i32, proposed: i32) -> Option<Reason> {
    match proposed.cmp(&current) {
        std::cmp::Ordering::Greater => Some(Reason::AboveTarget),
        std::cmp::Ordering::Less => Some(Reason::AllBelowTarget),
        std::cmp::Ordering::Equal => None,
    }
}

#[cfg(test)]
mod tests;
