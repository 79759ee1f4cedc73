//! From readings to proposals: how many replicas would bring each metric to its target.

mod outside;
mod per_replica;
mod pooled;

use crate::{
    Deviation, MetricError, MetricKind, MetricOutcome, MetricPolicy, Observation, Policy, Profile,
    Proposal, Reading, Target, Tolerances,
};

/// The outcome of every metric, in the order of the policy.
pub(crate) fn recommend(policy: &Policy, observation: &Observation) -> Vec<MetricOutcome> {
    let outcome = |(index, metric)| {
        let reading = observation.readings.get(index).unwrap_or(&Reading::Failed);
        if let Some(silence) = pooled::silence(policy.profile, reading, observation) {
            return MetricOutcome::Silent(silence);
        }
        match propose(policy, metric, reading, observation) {
            Ok(proposal) => MetricOutcome::Proposal(proposal),
            Err(error) => MetricOutcome::Failed(error),
        }
    };
    policy.metrics.iter().enumerate().map(outcome).collect()
}

/// What one metric asks for.
///
/// # Errors
/// Why it cannot be computed. A reading of another kind than the metric's counts as no reading.
pub fn propose(
    policy: &Policy,
    metric: &MetricPolicy,
    reading: &Reading,
    observation: &Observation,
) -> Result<Proposal, MetricError> {
    match (metric.kind, metric.target) {
        (_, Target::Missing)
        | (MetricKind::PerReplica, Target::Value(_))
        | (MetricKind::Pooled, Target::AverageValue(_)) => Err(MetricError::NoTarget),
        (MetricKind::PerReplica, Target::AverageValue(target)) => match reading {
            Reading::PerReplica { samples, strays } => {
                per_replica::propose(policy, target, observation, samples, strays)
            }
            // Somebody else has added up what the replicas would have said.
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
            Reading::Pooled { value, reported } => {
                pooled::propose(policy, *value, reported, target, observation)
            }
            Reading::Total { value, .. } => {
                outside::propose_value(policy, value.0, target, observation)
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

/// The proposal that wins, by its index: the highest, the first of equals.
///
/// As in the HPA a proposal also replaces one of zero, so that of several zeros the last one wins.
pub(crate) fn winner(metrics: &[MetricOutcome]) -> Option<(usize, i32)> {
    let mut best = None;
    for (index, metric) in metrics.iter().enumerate() {
        let MetricOutcome::Proposal(proposal) = metric else { continue };
        if best.is_none_or(|(_, replicas)| replicas == 0 || proposal.replicas > replicas) {
            best = Some((index, proposal.replicas));
        }
    }
    best
}

impl Tolerances {
    /// Whether the ratio of usage to target is near enough to 1, both ends included.
    fn hold(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// Whether going to `replicas` would be a move against the direction of the metric.
fn is_against(ratio: f64, replicas: i32, current: i32) -> bool {
    (ratio < 1.0 && replicas > current) || (ratio > 1.0 && replicas < current)
}

/// `replicas`, or `current` where that would be a move against the direction of the metric; the HPA does not look.
fn in_direction(profile: Profile, ratio: f64, replicas: i32, current: i32) -> i32 {
    let stays = profile.has(Deviation::DirectionCheck) && is_against(ratio, replicas, current);
    if stays { current } else { replicas }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Counted, Milli};

    fn proposal(replicas: i32) -> MetricOutcome {
        MetricOutcome::Proposal(Proposal {
            replicas,
            usage: Milli(0),
            ratio: 1.0,
            counted: Counted::default(),
        })
    }

    #[test]
    fn the_highest_wins_and_of_equals_the_first() {
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
            assert_eq!(winner(metrics), expected, "{metrics:?}");
        }
    }

    #[test]
    fn both_ends_of_the_tolerance_hold() {
        let tolerance = Tolerances { down: 0.25, up: 0.5 };
        for (ratio, holds) in
            [(0.75, true), (1.5, true), (0.7499, false), (1.5001, false), (f64::NAN, false)]
        {
            assert_eq!(tolerance.hold(ratio), holds, "{ratio}");
        }
    }
}
