//! Metrics with one sample per replica (`type: Pods`).
//!
//! A replica without a sample is assumed to have the usage that changes less: its target when the
//! others are below it, and 0 when they are above.

use super::{
    in_direction, is_against,
    need::{Need, Proposed},
};
use crate::{
    decision::{Counted, MetricError, Proposal},
    observation::{EngineActivity, Observation, Phase, Precision, Replica},
    policy::Policy,
    profile::{Deviation, Profile},
    units::Milli,
};

/// The replicas by group, and the sum of the samples that count.
#[derive(Default)]
struct Groups {
    counted: Counted,
    samples: i64,
    sum: i128,
    /// The load of replicas that are no capacity, which the others have to take.
    load_of_others: i128,
    /// The number of stuck replicas that are among these others.
    stuck_with_load: u32,
}

/// The group of one replica.
#[derive(Clone, Copy)]
enum Group {
    Ready(Milli),
    /// Its load counts, and it is no capacity yet.
    Warming(Milli),
    /// Its load counts, and it will be no capacity.
    StuckWithLoad(Milli),
    Unready,
    Missing,
    Ignored,
    Stuck,
    Halted,
}

/// Returns the proposal from the samples of the replicas, as `calcPlainMetricReplicas` of
/// `pkg/controller/podautoscaler/replica_calculator.go` does.
///
/// Example at a target of 10: 2 replicas with 20 each give ⌈2.0 × 2⌉ = 4. With 30 and no sample,
/// the missing one counts as 0, so the mean is 15 and the proposal ⌈1.5 × 2⌉ = 3.
pub(super) fn propose(
    policy: &Policy,
    target: Milli,
    observation: &Observation,
    samples: &[Option<Milli>],
    strays: &[Milli],
) -> Result<Proposed, MetricError> {
    let Policy { profile, tolerance, .. } = *policy;
    if observation.replicas.is_empty() {
        return Err(MetricError::NoReplicas);
    }
    let groups = Groups::new(profile, observation, samples, strays);
    if groups.samples == 0 {
        return Err(MetricError::NoSamples);
    }
    // Halted replicas stay, beside the replicas that the load of the others requires.
    let halted = groups.counted.halted as i32;
    let current = (observation.scale.current - halted).max(0);
    let usage = mean(profile, groups.sum, groups.samples);
    let ratio = usage as f64 / target.0 as f64;
    let is_doubtful = groups.counts_on_idle() || ratio > 1.0 + tolerance.up;
    let proposed = |replicas: i32| {
        let may_shrink = replicas != current || !is_doubtful;
        let need = Need { may_shrink, ..groups.need(ratio) };
        let counted = groups.counted;
        let replicas = replicas.saturating_add(halted);
        let usage = Milli(usage);
        let proposal = Proposal { replicas, usage, precision: Precision::Exact, ratio, counted };
        Proposed { proposal, need }
    };

    if groups.are_complete(ratio) {
        if tolerance.hold(ratio) {
            return Ok(proposed(current));
        }
        let replicas = profile.ceil32(ratio * f64::from(groups.counted.ready));
        return Ok(proposed(in_direction(profile, ratio, replicas, current)));
    }

    let (sum, count) = groups.filled_in(ratio, target);
    let refined = mean(profile, sum, count) as f64 / target.0 as f64;
    // The opposite turn, from below the target to above it, cannot occur: samples filled in at the
    // target do not lift a mean across it.
    let turned = ratio > 1.0 && refined < 1.0;
    if tolerance.hold(refined) || turned {
        return Ok(proposed(current));
    }
    let replicas = profile.ceil32(refined * count as f64);
    Ok(proposed(if is_against(refined, replicas, current) { current } else { replicas }))
}

fn mean(profile: Profile, sum: i128, count: i64) -> i64 {
    profile.fit64(sum) / count
}

/// Counts the replicas by group where each has contributed to a value or has not.
pub(super) fn count(profile: Profile, observation: &Observation, reported: &[bool]) -> Counted {
    let samples: Vec<_> = reported.iter().map(|reported| reported.then_some(Milli(0))).collect();
    Groups::new(profile, observation, &samples, &[]).counted
}

impl Groups {
    fn new(
        profile: Profile,
        observation: &Observation,
        samples: &[Option<Milli>],
        strays: &[Milli],
    ) -> Self {
        let mut groups = Self::default();
        let rules = GroupRules::of(profile);
        // Most replicas serve plainly, and no rule is about them.
        let (mut plain, mut sum) = (0_u32, 0_i128);
        for (index, replica) in observation.replicas.iter().enumerate() {
            match samples.get(index).copied().flatten() {
                Some(Milli(sample)) if replica.serves_plainly() => {
                    plain += 1;
                    sum += i128::from(sample);
                }
                sample => groups.add(rules.group(*replica, sample)),
            }
        }
        groups.counted.ready += plain;
        groups.samples += i64::from(plain);
        groups.sum += sum;
        if profile.has(Deviation::StartingReplicas) {
            groups.count_absent(observation.scale.current);
        }
        groups.add_load_of_others();
        if !profile.has(Deviation::ReplicaUnits) {
            for stray in strays {
                groups.add_sample(*stray);
            }
        }
        groups
    }

    fn add(&mut self, group: Group) {
        match group {
            Group::Ready(sample) => {
                self.counted.ready += 1;
                self.add_sample(sample);
            }
            Group::Warming(Milli(load)) => {
                self.counted.warming += 1;
                self.load_of_others += i128::from(load);
            }
            Group::StuckWithLoad(Milli(load)) => {
                self.counted.stuck += 1;
                self.stuck_with_load += 1;
                self.load_of_others += i128::from(load);
            }
            Group::Unready => self.counted.unready += 1,
            Group::Missing => self.counted.missing += 1,
            Group::Ignored => self.counted.ignored += 1,
            Group::Stuck => self.counted.stuck += 1,
            Group::Halted => self.counted.halted += 1,
        }
    }

    /// Adds the load of replicas that are no capacity to that of the others. Where there are no
    /// others, they count as the capacity that they may be, as in the HPA.
    fn add_load_of_others(&mut self) {
        self.sum += self.load_of_others;
        if self.samples == 0 && self.load_of_others != 0 {
            let others = self.counted.warming + self.stuck_with_load;
            self.counted.ready += others;
            self.counted.stuck -= self.stuck_with_load;
            self.counted.warming = 0;
            self.samples = others.into();
        }
    }

    fn add_sample(&mut self, sample: Milli) {
        self.samples += 1;
        self.sum += i128::from(sample.0);
    }

    /// Counts the replicas that are requested and not listed yet.
    fn count_absent(&mut self, current: i32) {
        let Counted { ready, unready, warming, missing, stuck, halted, .. } = self.counted;
        let listed = [ready, unready, warming, missing, stuck, halted];
        let listed: i64 = listed.map(i64::from).iter().sum();
        self.counted.absent = (i64::from(current) - listed).max(0) as u32;
    }

    /// Returns the replicas that are starting: they have no load now and will take their share of
    /// it.
    fn starting(&self) -> i64 {
        let Counted { unready, warming, absent, .. } = self.counted;
        [unready, warming, absent].map(i64::from).iter().sum()
    }

    /// Returns whether replicas are counted that have no load, and either will take their share or
    /// will never do.
    fn counts_on_idle(&self) -> bool {
        self.starting() > 0 || self.counted.stuck > 0
    }

    /// Returns whether no sample is to be filled in. Starting replicas matter to a scale-up only.
    fn are_complete(&self, ratio: f64) -> bool {
        let grows_past_starting = self.starting() > 0 && ratio > 1.0;
        !grows_past_starting && self.counted.missing == 0
    }

    /// Returns the need of replicas by the samples at this ratio to the target. Starting replicas
    /// have no load yet.
    fn need(&self, ratio: f64) -> Need {
        let least = ratio * self.samples as f64;
        Need { most: least + f64::from(self.counted.missing), ..Need::exactly(least) }
    }

    /// Returns the sum and the number of the samples, with absent ones filled in.
    fn filled_in(&self, ratio: f64, target: Milli) -> (i128, i64) {
        let missing = i64::from(self.counted.missing);
        if ratio < 1.0 {
            (self.sum + i128::from(missing) * i128::from(target.0), self.samples + missing)
        } else if ratio > 1.0 {
            (self.sum, self.samples + missing + self.starting())
        } else {
            (self.sum, self.samples)
        }
    }
}

/// The deviations that decide on the group of a replica, looked up once for all replicas.
#[derive(Clone, Copy)]
struct GroupRules {
    ended: bool,
    stuck: bool,
    activity: bool,
}

impl GroupRules {
    fn of(profile: Profile) -> Self {
        Self {
            ended: profile.has(Deviation::EndedReplicas),
            stuck: profile.has(Deviation::StuckReplicas),
            activity: profile.has(Deviation::EngineActivity),
        }
    }

    /// Returns the group of a replica, as the HPA's `groupPods` does; the first rule that applies
    /// decides.
    fn group(self, replica: Replica, sample: Option<Milli>) -> Group {
        let has_ended = match replica.phase {
            Phase::Failed => true,
            Phase::Succeeded => self.ended,
            Phase::Pending | Phase::Running | Phase::Unknown => false,
        };
        if replica.deleting || has_ended {
            return Group::Ignored;
        }
        if self.activity && replica.is_halted() {
            return Group::Halted;
        }
        let answers = replica.activity == EngineActivity::Answering;
        let is_warming =
            self.activity && replica.activity == EngineActivity::Warming && !replica.ready;
        match (replica.phase, sample) {
            (_, None) if self.stuck && replica.stuck => Group::Stuck,
            // A page that answers is load, whether or not the replica gets ready; capacity only a
            // replica that has been ready.
            (_, Some(sample)) if is_warming && self.stuck && replica.stuck => {
                Group::StuckWithLoad(sample)
            }
            (_, Some(sample)) if is_warming => Group::Warming(sample),
            // A group of pods of which one does not run is pending, and its leader may answer.
            (Phase::Pending, Some(sample)) if self.activity && answers => Group::Ready(sample),
            (Phase::Pending, _) => Group::Unready,
            (_, None) => Group::Missing,
            (_, Some(sample)) => Group::Ready(sample),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observation::Reading,
        policy::{MetricKind, MetricPolicy, Target},
        tests::support::{legacy_policy, observed},
    };

    const READY: Replica = Replica::READY;
    const PENDING: Replica = Replica::PENDING;
    const NOT_READY: Replica = Replica { ready: false, ..READY };
    const FAILED: Replica = Replica { phase: Phase::Failed, ..READY };
    const DELETING: Replica = Replica { deleting: true, ..READY };

    /// Returns the proposal for replicas with these samples at a target of 10.
    fn replicas(current: i32, replicas: &[(Replica, Option<i64>)]) -> Result<i32, MetricError> {
        let observation = observed(current, replicas);
        let Reading::PerReplica { samples, strays } = &observation.readings[0] else {
            unreachable!()
        };
        let proposal = propose(&legacy_policy(), Milli::whole(10), &observation, samples, strays);
        proposal.map(|proposed| proposed.proposal.replicas)
    }

    #[test]
    fn every_replica_is_in_one_group() {
        let table = [
            (0, &[][..], Err(MetricError::NoReplicas)),
            (2, &[(READY, None), (READY, None)], Err(MetricError::NoSamples)),
            (2, &[(PENDING, Some(50)), (FAILED, Some(50))], Err(MetricError::NoSamples)),
            // Complete: ratio × ready replicas; an unready replica with a sample counts as ready.
            (2, &[(READY, Some(20)), (READY, Some(20))], Ok(4)),
            (2, &[(READY, Some(20)), (NOT_READY, Some(20))], Ok(4)),
            (4, &[(READY, Some(5)), (READY, Some(5)), (READY, Some(5)), (READY, Some(5))], Ok(2)),
            // Deleted and failed replicas do not count.
            (2, &[(READY, Some(20)), (DELETING, Some(90)), (FAILED, Some(90))], Ok(2)),
            // Pending replicas count as idle for a scale-up, and not at all for a scale-down.
            (2, &[(READY, Some(30)), (PENDING, None)], Ok(3)),
            (2, &[(READY, Some(15)), (PENDING, Some(90))], Ok(2)),
            (4, &[(READY, Some(5)), (PENDING, None)], Ok(1)),
            // Missing samples count as 0 for a scale-up, and as the target for a scale-down.
            (2, &[(READY, Some(30)), (READY, None)], Ok(3)),
            (4, &[(READY, Some(2)), (READY, Some(2)), (READY, Some(2)), (READY, None)], Ok(2)),
            (2, &[(READY, Some(2)), (READY, None)], Ok(2)),
            (
                8,
                &[(READY, Some(8)), (READY, Some(8)), (READY, None), (READY, None), (READY, None)],
                Ok(8),
            ),
            (2, &[(READY, Some(10)), (READY, None)], Ok(2)),
        ];
        for (current, observed, expected) in table {
            assert_eq!(replicas(current, observed), expected, "{current} {observed:?}");
        }
    }

    #[test]
    fn the_groups_are_counted() {
        const STUCK: Replica = Replica { stuck: true, ..PENDING };
        let replicas = [
            &[(READY, Some(10)); 1][..],
            &[(PENDING, None); 2],
            &[(READY, None); 3],
            &[(DELETING, Some(10)); 4],
            &[(STUCK, None); 5],
        ];
        let observation = observed(17, &replicas.concat());
        let policy = Policy { profile: Profile::Default, ..legacy_policy() };
        let proposal = super::super::propose(
            &policy,
            &policy.metrics[0],
            &observation.readings[0],
            &observation,
        );
        let expected = Counted {
            ready: 1,
            unready: 2,
            missing: 3,
            absent: 6,
            ignored: 4,
            stuck: 5,
            ..Counted::default()
        };
        assert_eq!(proposal.unwrap().counted, expected);
    }

    #[test]
    fn a_metric_per_replica_has_an_average_only() {
        let value =
            MetricPolicy { kind: MetricKind::PerReplica, target: Target::Value(Milli::whole(10)) };
        let observation = observed(1, &[(READY, Some(20))]);
        let proposal =
            super::super::propose(&legacy_policy(), &value, &observation.readings[0], &observation);
        assert_eq!(proposal, Err(MetricError::NoTarget));
    }
}
