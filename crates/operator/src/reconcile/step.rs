//! The step of an autoscaler, in one function.

use futures::future;
use kube::ResourceExt;
use llm_autoscaler_api::conditions::{ConditionType, ConditionUpdate, Reason};
use llm_autoscaler_core::{Now, RoleMemory, RoleObservation, StepPlan, plan};
use tracing::warn;

use crate::{
    reconcile::{
        autoscaler::Autoscaler,
        execute::{Done, execute},
        observe::RoleSight,
        role::Role,
    },
    status::assemble,
};

/// How often a step is made again because something else wrote to a target in between.
const CONFLICTS: u32 = 5;

/// Why a step happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The period has passed, or a wake call came: all scales are read.
    Tick,
    /// The spec, or the annotation that pauses, has changed: all scales are read.
    Spec,
    /// A fresh sample is there: scales are taken as they were last read.
    Sample,
}

/// A step that is to be tried again soon. What went wrong is in the status by then.
#[derive(Debug)]
pub struct StepFailed;

/// What an attempt at a step has come to.
enum Attempt {
    /// It is complete.
    Complete,
    /// Something else has changed a target in between: what was decided is void.
    Conflict,
}

impl Autoscaler {
    /// Makes one step, and reports it.
    ///
    /// # Errors
    /// The step did not come to its end, and is to be tried again soon.
    pub(super) async fn step(&mut self, cause: Cause) -> Result<(), StepFailed> {
        if let Some(obstacle) = self.obstacle() {
            return self.report_obstacle(obstacle).await;
        }
        let result = self.attempts(cause).await;
        self.publish().await;
        result
    }

    async fn attempts(&mut self, cause: Cause) -> Result<(), StepFailed> {
        self.locate(|role| cause != Cause::Sample || role.is_outdated()).await?;
        for _ in 0..CONFLICTS {
            if matches!(self.attempt().await?, Attempt::Complete) {
                return Ok(());
            }
            // It is decided anew, so what a role has reported is reported again.
            self.roles.iter_mut().for_each(|role| role.warnings.clear());
            self.locate(Role::is_outdated).await?;
        }
        warn!(
            namespace = self.object.namespace(),
            name = self.object.name_any(),
            "a target is being changed by something else all the time; trying again soon"
        );
        Err(StepFailed)
    }

    /// The step: observe, plan, execute, remember, report. The clock is read here and nowhere below.
    async fn attempt(&mut self) -> Result<Attempt, StepFailed> {
        let now = self.context.clock.now();
        let Some(sights) = self.observe(now).await else {
            // The first samples are on their way.
            return Ok(Attempt::Complete);
        };
        let (sights, plan) = self.plan(sights, now).await;
        let done = execute(&self.context, &mut self.roles, &plan, &sights, now).await;
        for (role, (plan, sight)) in self.roles.iter_mut().zip(plan.roles.iter().zip(&sights)) {
            role.record_sight(plan, sight, now);
        }
        self.record(&plan, &sights, &done, now);
        match done {
            Done { conflict: true, .. } => Ok(Attempt::Conflict),
            Done { failed: true, .. } => Err(StepFailed),
            Done { .. } => Ok(Attempt::Complete),
        }
    }

    /// Observes all roles; `None` while the first samples of one of them are on their way.
    async fn observe(&mut self, now: Now) -> Option<Vec<RoleSight>> {
        let shared = self.config.shared.is_some();
        let mut sights = Vec::with_capacity(self.roles.len());
        for role in &mut self.roles {
            sights.push(role.observe(now).await?);
        }
        if shared {
            for (role, sight) in self.roles.iter_mut().zip(&sights) {
                role.record_lag(sight, now);
            }
        }
        Some(sights)
    }

    /// ParsedSpec the step. Where a scale-down depends on a target's own object, the object is read and the plan made again.
    async fn plan(&mut self, mut sights: Vec<RoleSight>, now: Now) -> (Vec<RoleSight>, StepPlan) {
        let plan = self.plan_by(&sights, now);
        let unread: Vec<usize> = plan.needs_workload().collect();
        if unread.is_empty() {
            return (sights, plan);
        }
        for role in unread {
            self.roles[role].read_workload(&mut sights[role], now).await;
        }
        let plan = self.plan_by(&sights, now);
        (sights, plan)
    }

    fn plan_by(&self, sights: &[RoleSight], now: Now) -> StepPlan {
        let memory: Vec<&RoleMemory> =
            self.roles.iter().filter_map(|role| Some(&role.target.as_ref()?.memory)).collect();
        let observed: Vec<RoleObservation<'_>> = sights.iter().map(RoleSight::for_plan).collect();
        plan(&self.config, &memory, &observed, now)
    }

    /// Remembers what was decided and written, and reports it. After a conflict only what was written before it counts.
    fn record(&mut self, plan: &StepPlan, sights: &[RoleSight], done: &Done, now: Now) {
        let roles = self.roles.iter_mut().zip(&plan.roles).zip(sights).zip(&done.roles);
        for (((role, plan), sight), outcome) in roles {
            if outcome.is_write() || !done.conflict {
                role.record(plan, sight, outcome, now);
            }
        }
    }

    /// Reads the scales of those targets that have to be read. A plan needs all of them.
    async fn locate(&mut self, which: impl Fn(&Role) -> bool) -> Result<(), StepFailed> {
        let now = self.context.clock.now();
        let status = self.status.status().clone();
        let mut roles: Vec<&mut Role> = self.roles.iter_mut().filter(|role| which(role)).collect();
        let located = roles.iter_mut().map(|role| role.locate(&status.targets, now));
        let results = future::join_all(located).await;
        if results.iter().all(Result::is_ok) {
            return Ok(());
        }
        let found = roles.into_iter().zip(&results).filter(|(_, result)| result.is_ok());
        found.for_each(|(role, _)| role.status.clear_obstacle());
        self.roles.iter_mut().for_each(|role| role.release_overdue_drain(now));
        Err(StepFailed)
    }

    /// Why no role can be looked at.
    fn obstacle(&self) -> Option<Obstacle> {
        if let Some(error) = &self.problem {
            let reason = Reason::InvalidSpec;
            return Some(Obstacle { reason, message: error.to_string(), is_terminal: true });
        }
        let message = self.context.sampling.pods.problem()?;
        Some(Obstacle { reason: Reason::PodsUnknown, message, is_terminal: false })
    }

    /// Reports why no role can be looked at. A spec that cannot be carried out claims nothing, and is not tried again.
    async fn report_obstacle(&mut self, obstacle: Obstacle) -> Result<(), StepFailed> {
        let now = self.context.clock.now();
        let Obstacle { reason, message, is_terminal } = obstacle;
        if is_terminal {
            self.roles.iter_mut().for_each(|role| role.rest(now));
        }
        let update = ConditionUpdate::no(ConditionType::ScalingActive, reason, message);
        let before = self.status.status();
        let status = assemble::obstructed(before, &self.object, update, is_terminal, now.wall);
        self.warnings.publish_new(&self.object, Vec::new(), now.monotonic);
        self.status.write(&self.object, status, now).await;
        if is_terminal { Ok(()) } else { Err(StepFailed) }
    }

    /// Publishes the events and the status of the step.
    async fn publish(&mut self) {
        let now = self.context.clock.now();
        let warnings =
            self.roles.iter_mut().flat_map(|role| std::mem::take(&mut role.warnings)).collect();
        self.warnings.publish_new(&self.object, warnings, now.monotonic);
        let roles: Vec<_> =
            self.roles.iter().map(|role| (role.name.as_deref(), &role.status)).collect();
        let status = assemble::assemble(self.status.status(), &self.object, &roles, now.wall);
        self.status.write(&self.object, status, now).await;
    }
}

/// Why no role of an autoscaler can be looked at.
struct Obstacle {
    reason: Reason,
    message: String,
    /// Waiting does not help: the spec has to be changed.
    is_terminal: bool,
}
