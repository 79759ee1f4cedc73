//! From readings to proposals: the number of replicas that would bring each metric to its target.

pub(crate) mod halted;
mod need;
mod outside;
mod per_replica;
mod pooled;
mod promised;

use self::{halted::Halted, need::Proposed};
use crate::{
    decision::{MetricError, MetricOutcome, Proposal},
    observation::{Observation, Reading},
    policy::{MetricKind, MetricPolicy, Policy, Target, Tolerances},
    profile::{Deviation, Profile},
};

pub(crate) use promised::with_promise;

/// Returns the outcome of every metric, in the order of the policy, for a target that would have
/// `size` replicas under the observed load.
pub(crate) fn recommend(
    policy: &Policy,
    observation: &Observation,
    size: i32,
) -> Vec<MetricOutcome> {
    let observed = observation.scale.current;
    let halted = Halted::of(policy.profile, observation);
    let outcome = |(index, metric)| {
        let reading = observation.readings.get(index).unwrap_or(&Reading::Failed);
        if let Some(counted) = pooled::without_events(policy.profile, reading, observation) {
            return MetricOutcome::NoEvents(counted);
        }
        match propose_for(policy, metric, reading, observation) {
            Ok(proposed) => MetricOutcome::Proposal(proposed.for_size(policy, observed, size)),
            Err(error) => MetricOutcome::Failed(error),
        }
    };
    policy
        .metrics
        .iter()
        .enumerate()
        .map(outcome)
        .map(|outcome| halted.raise(outcome, size))
        .collect()
}

/// Returns the number of replicas that would bring one metric to its target.
///
/// The formulas are those of `pkg/controller/podautoscaler/replica_calculator.go`:
/// `GetMetricReplicas` for [`MetricKind::PerReplica`], and for objects and external metrics
/// `getUsageRatioReplicaCount` with a [`Target::Value`], and `GetObjectPerPodMetricReplicas` or
/// `GetExternalPerPodMetricReplicas` with a [`Target::AverageValue`].
///
/// # Errors
/// Returns the reason why the metric cannot be computed. A reading of another kind than the
/// metric's counts as no reading ([`MetricError::Fetch`]).
pub fn propose(
    policy: &Policy,
    metric: &MetricPolicy,
    reading: &Reading,
    observation: &Observation,
) -> Result<Proposal, MetricError> {
    propose_for(policy, metric, reading, observation).map(|proposed| proposed.proposal)
}

fn propose_for(
    policy: &Policy,
    metric: &MetricPolicy,
    reading: &Reading,
    observation: &Observation,
) -> Result<Proposed, MetricError> {
    match (metric.kind, metric.target) {
        (_, Target::Missing)
        | (MetricKind::PerReplica, Target::Value(_))
        | (MetricKind::Pooled, Target::AverageValue(_)) => Err(MetricError::NoTarget),
        (MetricKind::PerReplica, Target::AverageValue(target)) => match reading {
            Reading::PerReplica { samples, strays } => {
                per_replica::propose(policy, target, observation, samples, strays)
            }
            // The total stands for the sum of the replicas' samples.
            Reading::Total { value, .. } => Ok(outside::propose_average(
                policy,
                MetricKind::External,
                value.0,
                target,
                observation,
            )),
            _ => Err(MetricError::Fetch),
        },
        (MetricKind::Pooled, Target::Value(target)) => match reading {
            Reading::Pooled { value, precision, reported } => {
                let value = value.ok_or(MetricError::NoSamples)?;
                pooled::propose(policy, value, *precision, reported, target, observation)
            }
            Reading::Total { value, precision, .. } => {
                pooled::propose_value(policy, *value, *precision, target, observation)
            }
            _ => Err(MetricError::Fetch),
        },
        (kind, Target::Value(target)) => {
            let usage = outside::usage_for_value(policy.profile, kind, reading)?;
            outside::propose_value(policy, usage, target, observation)
        }
        (kind, Target::AverageValue(target)) => {
            let usage = outside::usage_for_average(policy.profile, kind, reading)?;
            Ok(outside::propose_average(policy, kind, usage, target, observation))
        }
    }
}

/// The proposal that applies among those of all metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Winner {
    /// The index of its metric.
    pub(crate) index: usize,
    /// The proposed number of replicas.
    pub(crate) replicas: i32,
}

/// Returns the highest proposal, and the first among equals.
///
/// As in `computeReplicasForMetrics` of `pkg/controller/podautoscaler/horizontal.go`, any proposal
/// replaces one of zero, so that of several zeros the last one wins.
pub(crate) fn winner(metrics: &[MetricOutcome]) -> Option<Winner> {
    let mut best: Option<Winner> = None;
    for (index, metric) in metrics.iter().enumerate() {
        let MetricOutcome::Proposal(Proposal { replicas, .. }) = *metric else { continue };
        if best.is_none_or(|best| best.replicas == 0 || replicas > best.replicas) {
            best = Some(Winner { index, replicas });
        }
    }
    best
}

impl Tolerances {
    /// Returns whether the ratio of usage to target is near enough to 1, both ends included
    /// (`Tolerances.isWithin` of `pkg/controller/podautoscaler/replica_calculator.go`).
    fn hold(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// Returns whether a change to `replicas` contradicts the ratio: more replicas below the target, or
/// fewer above it.
fn is_against(ratio: f64, replicas: i32, current: i32) -> bool {
    (ratio < 1.0 && replicas > current) || (ratio > 1.0 && replicas < current)
}

/// Returns `replicas`, or `current` where that contradicts the ratio and
/// [`Deviation::DirectionCheck`] applies.
fn in_direction(profile: Profile, ratio: f64, replicas: i32, current: i32) -> i32 {
    let stays = profile.has(Deviation::DirectionCheck) && is_against(ratio, replicas, current);
    if stays { current } else { replicas }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decision::Counted, observation::Precision, units::Milli};

    fn proposal(replicas: i32) -> MetricOutcome {
        MetricOutcome::Proposal(Proposal {
            replicas,
            usage: Milli(0),
            precision: Precision::Exact,
            ratio: 1.0,
            counted: Counted::default(),
        })
    }

    #[test]
    fn the_highest_proposal_wins_and_the_first_among_equals() {
        let failed = MetricOutcome::Failed(MetricError::Fetch);
        let table = [
            (&[][..], None),
            (&[failed], None),
            (&[proposal(3), proposal(5), proposal(5)], Some((1, 5))),
            (&[failed, proposal(2)], Some((1, 2))),
            (&[proposal(0), proposal(0)], Some((1, 0))),
            (&[proposal(0), proposal(-2), proposal(-1)], Some((2, -1))),
        ];
        for (metrics, expected) in table {
            let found = winner(metrics).map(|winner| (winner.index, winner.replicas));
            assert_eq!(found, expected, "{metrics:?}");
        }
    }

    #[test]
    fn both_ends_of_the_tolerance_are_within_it() {
        let tolerance = Tolerances { down: 0.25, up: 0.5 };
        for (ratio, holds) in
            [(0.75, true), (1.5, true), (0.7499, false), (1.5001, false), (f64::NAN, false)]
        {
            assert_eq!(tolerance.hold(ratio), holds, "{ratio}");
        }
    }
}
