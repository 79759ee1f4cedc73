//! The step of an autoscaler as one value: all its roles are observed, decided, coordinated and
//! drained by one pure function.
//!
//! ```text
//! Config ───────┐
//! RoleMemory ───┼─> plan: decide ─> coordinate ─> drain ─> StepPlan ─> Writes, in order
//! observations ─┘
//! ```
//!
//! [`plan`] makes every choice of a step. The caller that carries it out asks [`Writes`] for the
//! next write and records how it went; nothing is left to choose there. The same plan is made by
//! the operator, by `evaluate` and by a simulator.

mod decide_role;
mod drain_role;
mod memory;
mod reasons;
mod shadow_role;
mod writes;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    coordinate::{RoleDemand, SharedLimits, coordinate},
    decision::Decision,
    drain::DrainStep,
    now::Now,
    observation::Observation,
    policy::Policy,
    replica_reason::ReplicaReason,
    replica_state::ReplicaState,
    shadow::Mode,
};

use drain_role::Drained;

pub use decide_role::Basis;
pub use drain_role::{DrainAction, DrainObservation, WaitingOn, WorkloadState};
pub use memory::RoleMemory;
pub use writes::{Write, Writes};

/// The part of a spec that steps are planned by.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Its roles, at least one.
    pub roles: Vec<RoleConfig>,
    /// The limits that the roles share; `None` where there is only one role.
    pub shared: Option<SharedLimits>,
}

/// The part of a spec that is about one target.
#[derive(Clone, Debug, PartialEq)]
pub struct RoleConfig {
    /// The policy of its decisions.
    pub policy: Policy,
    /// The number of GPUs of one replica, where GPUs are limited.
    pub gpus: i64,
    /// How long a scale-down waits for the requests of each replica that it removes; `None` where
    /// scale-downs do not drain.
    pub drain_deadline: Option<TimeDelta>,
    /// The choice whether its decisions are carried out.
    pub mode: Mode,
}

/// The observation of one target.
#[derive(Clone, Debug)]
pub struct RoleObservation<'a> {
    /// By all usable samples: good enough to grow by, or to stay.
    pub usable: &'a Observation,
    /// By samples beyond doubt only; `None` where no sample is in doubt.
    pub beyond_doubt: Option<&'a Observation>,
    /// The states of its replicas, in the order of [`Observation::replicas`].
    pub states: &'a [ReplicaState],
    /// The number of replicas by what they are.
    pub counts: ReplicaCounts,
    /// The reasons why the autoscaler may not write.
    pub block: WriteBlock,
    /// The observation for scale-downs that drain; ignored where they do not.
    pub drain: DrainObservation,
}

/// The number of a target's replicas by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaCounts {
    /// Those that have not ended and are not being deleted.
    pub alive: i32,
    /// Those that are being deleted.
    pub ending: i32,
    /// Those that serve, or will once they have started: they have their nodes, and nothing is in
    /// their way.
    pub coming: i32,
    /// Those that have been taken out of service.
    pub closed: i32,
}

/// The reasons why an autoscaler may not write to a target that is its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteBlock {
    /// The autoscaler is paused.
    pub paused: bool,
    /// Something else has set the size, and that is respected for now.
    pub manual_change: bool,
    /// Something else undoes every size that is written, and the next write waits until this time;
    /// `None` where it does not wait.
    pub contested_until: Option<DateTime<Utc>>,
}

/// The plan of one step: every choice of it, as a value.
#[derive(Clone, Debug, PartialEq)]
pub struct StepPlan {
    /// One plan per role, in their order.
    pub roles: Vec<RolePlan>,
    shared: Option<SharedLimits>,
}

/// The plan of one step for one target.
#[derive(Clone, Debug, PartialEq)]
pub struct RolePlan {
    /// The decision, after coordination with other roles.
    pub decision: Decision,
    /// Which samples the decision rests on.
    pub basis: Basis,
    /// The number of replicas that the target's own metrics and bounds ask for; `None` where they
    /// ask for nothing.
    pub demand: Option<i32>,
    /// The number of replicas that it is granted, after coordination; `None` where nothing is asked
    /// for.
    pub granted: Option<i32>,
    /// True where a metric is near its target, so that the next sample may change the decision.
    pub near_target: bool,
    /// The pods that leave their Services, or return to them.
    pub drain: DrainAction,
    /// The size that can be written now.
    pub write: Option<i32>,
    /// The size when everything is written that one write can reach.
    goal: i32,
    /// The event that a decided change of size waits for; `None` where it does not wait.
    pub waits: Option<WaitingOn>,
    /// Why each replica exists, in the order of [`Observation::replicas`].
    pub reasons: Vec<ReplicaReason>,
}

impl ReplicaCounts {
    /// Returns the replicas that take up room: those that are requested or exist, and those that
    /// are still terminating.
    pub fn existing(self, requested: i32) -> i32 {
        requested.max(self.alive).saturating_add(self.ending)
    }

    /// Returns the number of requested replicas that do not come.
    pub fn missing(self, requested: i32) -> i32 {
        requested.saturating_sub(self.coming).max(0)
    }

    /// Returns the size that a scale-down under way goes to, after a restart: replicas that are out
    /// of service were on their way out.
    pub fn staying(self, requested: i32) -> i32 {
        (self.alive.max(requested) - self.closed).min(requested)
    }
}

impl WriteBlock {
    /// Returns whether nothing may be written.
    pub fn is_blocked(self) -> bool {
        self.paused || self.keeps_size()
    }

    /// Returns whether a size that something else has set stays for now, so that roles that share
    /// limits with it have to reckon with it.
    pub fn keeps_size(self) -> bool {
        self.manual_change || self.contested_until.is_some()
    }
}

impl StepPlan {
    /// Returns the roles that need their target's own object before their scale-down can be
    /// planned. The plan is made again then.
    pub fn needs_workload(&self) -> impl Iterator<Item = usize> {
        let roles = self.roles.iter().enumerate();
        roles.filter(|(_, role)| role.waits == Some(WaitingOn::Workload)).map(|(role, _)| role)
    }

    /// Returns the number of roles that can be written now.
    pub fn count_writes(&self) -> u32 {
        self.roles.iter().map(|role| u32::from(role.write.is_some())).sum()
    }

    /// Puts all writes off until this time: there is no room for them before. All of them, because
    /// the sizes of roles belong together.
    #[must_use]
    pub fn put_off(self, until: DateTime<Utc>) -> Self {
        let roles = self.roles.into_iter().map(|role| role.paced(Some(until))).collect();
        Self { roles, ..self }
    }

    /// Returns the time of the next write that only its pace delays.
    pub fn next_paced_write(&self) -> Option<DateTime<Utc>> {
        let waits = self.roles.iter().filter_map(|role| match role.waits {
            Some(WaitingOn::Pace { until }) => Some(until),
            _ => None,
        });
        waits.min()
    }

    /// Returns the writes of the step, in their order.
    pub fn writes(&self) -> Writes<'_> {
        Writes::new(self)
    }
}

/// Plans one step of all roles of an autoscaler.
///
/// `memory` and `observed` are in the order of [`Config::roles`]. Nothing is remembered here: the
/// caller records the observation's lag before, and the decisions and writes afterwards.
pub fn plan(
    config: &Config,
    memory: &[&RoleMemory],
    observed: &[RoleObservation<'_>],
    now: Now,
) -> StepPlan {
    let roles = || config.roles.iter().zip(memory).zip(observed);
    let mut decisions: Vec<(Decision, Basis)> = roles()
        .map(|((config, memory), observed)| {
            let actual = observed.usable.scale.current;
            let from = memory.size_before(config.mode, &config.policy, actual);
            decide_role::decide_role(&config.policy, &memory.history, observed, from, now.wall)
        })
        .collect();
    if let Some(shared) = &config.shared {
        let demands: Vec<RoleDemand> = roles()
            .zip(&decisions)
            .map(|(((config, memory), observed), (decision, _))| {
                demand(config, memory, observed, decision, now)
            })
            .collect();
        for ((decision, _), size) in decisions.iter_mut().zip(coordinate(shared, &demands)) {
            decision.apply_coordination(size);
        }
    }
    let plans = config.roles.iter().zip(memory).zip(observed).zip(decisions).map(
        |(((config, memory), observed), decided)| {
            let plan = RolePlan::new(config, observed, decided, now);
            plan.paced(memory.next_write(&config.policy, now))
        },
    );
    StepPlan { roles: plans.collect(), shared: config.shared.clone() }
}

/// The demand of one role, as coordination takes it.
fn demand(
    config: &RoleConfig,
    memory: &RoleMemory,
    observed: &RoleObservation<'_>,
    decision: &Decision,
    now: Now,
) -> RoleDemand {
    let RoleConfig { policy, gpus, mode, .. } = config;
    let fixed = *mode == Mode::Scale && observed.block.keeps_size();
    let own = RoleDemand {
        gpus: *gpus,
        ..RoleDemand::new(policy, &memory.history, decision, fixed, now.wall)
    };
    match mode {
        Mode::Scale => RoleDemand {
            existing: observed.counts.existing(decision.current),
            lagging: memory.lag.lagging(),
            ..own
        },
        // Replicas that start or end are those of the target, and not of the shadow.
        Mode::Recommend => own,
    }
}

impl RolePlan {
    fn new(
        config: &RoleConfig,
        observed: &RoleObservation<'_>,
        (decision, basis): (Decision, Basis),
        now: Now,
    ) -> Self {
        let drained = match config.mode {
            Mode::Scale => drain_role::drain_role(config, observed, &decision, now.wall),
            Mode::Recommend => Drained::nothing(decision.current),
        };
        Self {
            basis,
            demand: decision.own_desired(),
            granted: decision.desired(),
            near_target: decide_role::is_near_target(&decision),
            reasons: reasons::reasons(&config.policy, observed, &decision, &drained),
            drain: drained.action,
            write: drained.write,
            goal: drained.goal,
            waits: drained.waits,
            decision,
        }
    }

    /// Puts the write off until this time, if there are both. What comes before the write, such as
    /// a drain, is done all the same; and the role of a ratio waits for it as for a drain.
    fn paced(self, until: Option<DateTime<Utc>>) -> Self {
        match until.filter(|_| self.write.is_some()) {
            Some(until) => Self { write: None, waits: Some(WaitingOn::Pace { until }), ..self },
            None => self,
        }
    }

    /// Returns whether the role is to have fewer replicas than it has.
    pub fn shrinks(&self, block: WriteBlock) -> bool {
        !block.is_blocked() && self.granted.is_some_and(|granted| granted < self.decision.current)
    }

    /// Returns the drain step, where scale-downs drain and the order of removal is known.
    pub fn drain_step(&self) -> Option<&DrainStep> {
        match &self.drain {
            DrainAction::Step(step) => Some(step),
            DrainAction::Keep | DrainAction::Release | DrainAction::ReleaseUnknown => None,
        }
    }
}

#[cfg(test)]
mod tests;
