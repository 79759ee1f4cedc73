//! The step from an observation to a decision.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};

use crate::{
    allowed::{Allowed, allowed},
    decision::{
        Bound, Decision, Derivation, Hold, Limit, MetricOutcome, Outcome, Reason, Stabilization,
    },
    history::History,
    observation::{Doubt, Observation, Reading, Selector},
    policy::{Policy, ToZero},
    profile::Deviation,
    recommend::{Winner, halted::Halted, recommend, winner, with_promise},
};

/// Decides on the number of replicas for one observation.
///
/// This is the part of the HPA's `reconcileAutoscaler`
/// (`pkg/controller/podautoscaler/horizontal.go`) between the read of the scale and the write. It
/// changes nothing: the caller passes the decision to [`History::record`], and a written change of
/// size to [`History::record_scale`].
///
/// ```
/// use chrono::{DateTime, TimeDelta};
/// use llm_autoscaler_core::{
///     History, MetricKind, MetricPolicy, Milli, Observation, Policy, Profile, Reading, Replica,
///     Scale, Settings, Target, Tolerances, decide,
/// };
///
/// let target = Target::AverageValue(Milli::whole(5));
/// let policy = Policy {
///     min_replicas: 1,
///     max_replicas: 10,
///     metrics: vec![MetricPolicy { kind: MetricKind::PerReplica, target }],
///     tolerance: Tolerances { down: 0.1, up: 0.1 },
///     behavior: None,
///     to_zero: None,
///     fallback: None,
///     profile: Profile::Default,
///     settings: Settings::HPA,
/// };
/// let observe = |waiting: i64| Observation {
///     scale: Scale { current: 2, status: 2 },
///     replicas: vec![Replica::READY; 2],
///     readings: vec![Reading::PerReplica {
///         samples: vec![Some(Milli::whole(waiting)); 2],
///         strays: vec![],
///     }],
///     ..Observation::default()
/// };
/// let mut history = History::default();
/// let now = DateTime::UNIX_EPOCH;
///
/// // 2 replicas with 9 waiting requests each at a target of 5: 18 / 5 = 3.6, so 4 replicas.
/// let decision = decide(&policy, &history, &observe(9), now);
/// assert_eq!(decision.desired(), Some(4));
/// history.record(&policy, &decision, now);
///
/// // The load is gone, but the recommendation of 4 is within the window of 300 s.
/// let decision = decide(&policy, &history, &observe(0), now + TimeDelta::seconds(15));
/// assert_eq!(decision.desired(), Some(2), "the window holds the current size");
/// ```
pub fn decide(
    policy: &Policy,
    history: &History,
    observation: &Observation,
    now: DateTime<Utc>,
) -> Decision {
    decide_from(policy, history, observation, observation.scale.current, now)
}

/// Decides as [`decide`], for a target that would have `current` replicas by now, while the
/// observation is of another size. The metrics propose what the observed load asks for; tolerance,
/// direction, missing samples, holds, windows, rate policies and bounds start from `current`.
pub(crate) fn decide_from(
    policy: &Policy,
    history: &History,
    observation: &Observation,
    current: i32,
    now: DateTime<Utc>,
) -> Decision {
    if let Some(outcome) = outcome_without_metrics(policy, observation, current) {
        return Decision { current, outcome, metrics: Vec::new(), adjusted: None };
    }
    let metrics = recommend(policy, observation, current);
    let weighed = with_promise(&metrics, observation, current);
    let outcome = match combine(policy, &weighed, observation, current) {
        Ok(recommended) => {
            Outcome::Computed(derive(policy, history, observation, current, &recommended, now))
        }
        Err(Outcome::NoMetrics { first, failed }) => {
            match fallback(policy, history, current, failed, now) {
                Some(recommended) => {
                    let mut derivation =
                        derive(policy, history, observation, current, &recommended, now);
                    derivation.reason = derivation.reason.map(|_| Reason::Fallback);
                    Outcome::Fallback { first, failed, derivation }
                }
                None => Outcome::NoMetrics { first, failed },
            }
        }
        Err(outcome) => outcome,
    };
    Decision { current, outcome, metrics, adjusted: None }
}

/// Returns the fallback's size, or the current one if that is larger, once every metric has failed
/// for the fallback's time.
fn fallback(
    policy: &Policy,
    history: &History,
    current: i32,
    failed: usize,
    now: DateTime<Utc>,
) -> Option<Recommended> {
    let fallback = policy.fallback?;
    let no_metrics_since = history.no_metrics_since()?;
    let raw = fallback.replicas.max(current);
    let is_due = failed == policy.metrics.len() && now - no_metrics_since >= fallback.after;
    is_due.then_some(Recommended { winner: 0, failed, raw, held: None })
}

/// Returns the outcome where the metrics do not matter: at zero replicas, outside of the bounds, or
/// without a usable selector.
fn outcome_without_metrics(
    policy: &Policy,
    observation: &Observation,
    current: i32,
) -> Option<Outcome> {
    let Policy { min_replicas, max_replicas, .. } = *policy;
    let is_at_zero = current == 0;
    if is_at_zero && !can_leave_zero(policy, observation) {
        Some(Outcome::Disabled)
    } else if is_at_zero && observation.woken {
        Some(Outcome::OutOfBounds { to: min_replicas.max(1), bound: Bound::Wake })
    } else if !is_at_zero && current > max_replicas {
        Some(Outcome::OutOfBounds { to: max_replicas, bound: Bound::AboveMax })
    } else if !is_at_zero && current < min_replicas {
        Some(Outcome::OutOfBounds { to: min_replicas, bound: Bound::BelowMin })
    } else {
        (observation.selector != Selector::Valid).then_some(Outcome::NoSelector)
    }
}

/// Returns whether a target at zero may be scaled up: this autoscaler scaled it to zero, and a
/// metric or a wake call can tell when to scale it up again.
fn can_leave_zero(policy: &Policy, observation: &Observation) -> bool {
    let is_ours = observation.scaled_to_zero && policy.settings.scale_to_zero;
    is_ours && (policy.min_replicas != 0 || policy.can_leave_zero())
}

/// The recommendation of all metrics together.
struct Recommended {
    winner: usize,
    failed: usize,
    raw: i32,
    held: Option<Hold>,
}

/// Takes the highest proposal, as `computeReplicasForMetrics` of
/// `pkg/controller/podautoscaler/horizontal.go` does.
///
/// # Errors
/// Returns the outcome of the step where there is no proposal, and where the proposal would scale
/// down although a metric failed, which might have been higher.
fn combine(
    policy: &Policy,
    metrics: &[MetricOutcome],
    observation: &Observation,
    current: i32,
) -> Result<Recommended, Outcome> {
    let is_failure = |metric: &MetricOutcome| matches!(metric, MetricOutcome::Failed(_));
    let failed = metrics.iter().filter(|metric| is_failure(metric)).count();
    let first = metrics.iter().position(is_failure).unwrap_or_default();
    let Some(Winner { index, replicas: raw }) = winner(metrics) else {
        let has_no_events = failed == 0 && !metrics.is_empty();
        return Err(if has_no_events {
            Outcome::NoEvents
        } else {
            Outcome::NoMetrics { first, failed }
        });
    };
    if failed > 0 && raw < current {
        return Err(Outcome::NoMetrics { first, failed });
    }
    let held = if raw < current { hold(policy, metrics, observation) } else { None };
    Ok(Recommended { winner: index, failed, raw, held })
}

/// Returns the rule that keeps the target from shrinking although every computed metric proposes
/// fewer replicas.
fn hold(policy: &Policy, metrics: &[MetricOutcome], observation: &Observation) -> Option<Hold> {
    let is_incomplete =
        |reading: &Reading| matches!(reading, Reading::Total { complete: false, .. });
    if lacks_quorum(policy, metrics) {
        Some(Hold::NoQuorum)
    } else if observation.readings.iter().any(is_incomplete) {
        Some(Hold::Incomplete)
    } else {
        observation.doubt.map(|doubt| match doubt {
            Doubt::Samples => Hold::Doubt,
            Doubt::Surplus => Hold::Surplus,
        })
    }
}

/// Returns whether a proposal rests on samples from fewer than four fifths of the replicas that
/// could have one.
fn lacks_quorum(policy: &Policy, metrics: &[MetricOutcome]) -> bool {
    policy.profile.has(Deviation::Quorum)
        && policy.metrics.iter().zip(metrics).any(|(metric, outcome)| match outcome {
            MetricOutcome::Proposal(proposal) => {
                metric.kind.is_from_replicas() && !proposal.counted.is_quorum()
            }
            MetricOutcome::NoEvents(_) | MetricOutcome::Failed(_) => false,
        })
}

/// Derives the desired replicas from the recommendation: hold, windows, rate policies, bounds.
fn derive(
    policy: &Policy,
    history: &History,
    observation: &Observation,
    current: i32,
    metrics: &Recommended,
    now: DateTime<Utc>,
) -> Derivation {
    let Recommended { winner, failed, raw, held } = *metrics;
    let stays_awake = current > 0 && stays_awake(policy, history, observation, raw, now);
    let proposed = raw.max(i32::from(stays_awake));
    let recommended = if held.is_some() { current } else { raw.max(0) };

    let allowed = allowed(policy, history, current, recommended, now);
    let Allowed { stabilized, limited, limit } = allowed;
    let (limited, limit) =
        if stays_awake && limited <= 1 { (1, Limit::NotIdleYet) } else { (limited, limit) };
    let is_replacement = || Halted::of(policy.profile, observation).replacement() == Some(raw);
    let why = match reason(current, proposed) {
        Some(Reason::AboveTarget) if is_replacement() => Some(Reason::Replacement),
        why => why,
    };
    let is_below_min = current == 0 && limited < policy.min_replicas;
    Derivation {
        winner,
        failed,
        raw,
        recommended,
        stabilized,
        stabilization: stabilization(policy, current, recommended, stabilized),
        limited,
        limit,
        desired: if is_below_min { policy.min_replicas } else { limited },
        reason: why.or(is_below_min.then_some(Reason::BelowMin)),
        held,
    }
}

/// Returns whether the last replica stays although the metrics ask for none: the target has not
/// been idle for long enough, or a wake call arrived lately.
fn stays_awake(
    policy: &Policy,
    history: &History,
    observation: &Observation,
    raw: i32,
    now: DateTime<Utc>,
) -> bool {
    let Some(ToZero { after }) = policy.to_zero else { return false };
    let is_idle = history.idle_since().is_some_and(|since| now - since >= after);
    raw < 1 && (observation.woken || !is_idle)
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

/// Returns the reason for a change. As in the HPA it follows from the proposal, before any window
/// or limit.
fn reason(current: i32, proposed: i32) -> Option<Reason> {
    match proposed.cmp(&current) {
        Ordering::Greater => Some(Reason::AboveTarget),
        Ordering::Less => Some(Reason::AllBelowTarget),
        Ordering::Equal => None,
    }
}

#[cfg(test)]
mod tests;
