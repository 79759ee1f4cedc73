//! The step of an autoscaler, in one function.

use std::time::Duration;

use futures::future;
use kube::ResourceExt;
use llm_autoscaler_api::conditions::{ConditionType, ConditionUpdate, Reason};
use llm_autoscaler_core::{Now, Profile, RoleMemory, RoleObservation, StepPlan, plan};
use tokio::sync::OwnedSemaphorePermit;
use tracing::info;

use crate::{
    reconcile::{
        autoscaler::Autoscaler,
        execute::{Done, End, RoleDone, execute},
        reported_step::{ReportedStep, Topic, topic},
        role::Role,
        sight::RoleSight,
        step_log::StepEnd,
    },
    status::{assemble, report},
};

/// The number of times that a step is tried while something else keeps changing a target.
const MAX_ATTEMPTS: u32 = 5;
/// The time for which a step waits for the pods of its namespace.
const PODS_WITHIN: Duration = Duration::from_secs(1);

/// The cause of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The period has passed, or a wake call came: all scales are read.
    Tick,
    /// The spec, or the annotation that pauses, has changed: all scales are read.
    Spec,
    /// A fresh sample is there, or a write that was put off may be made: scales are taken as they
    /// were last read.
    Sample,
}

impl Cause {
    /// Returns the name in traces.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tick => "tick",
            Self::Spec => "spec",
            Self::Sample => "sample",
        }
    }
}

/// A step that did not come to its end. `task` tries again after a second, and after twice as long
/// for each further failure, up to the period.
#[derive(Debug)]
pub(super) struct StepFailed;

/// The turn of a step to compute; `None` while it is given to others.
type ComputeTurn = Option<OwnedSemaphorePermit>;

/// The scales that a step reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scales {
    /// Those of all targets.
    All,
    /// Those that are outdated: the last attempt to read or write them failed, or something else
    /// has the target by now.
    Outdated,
}

impl Autoscaler {
    /// Makes one step: locate, observe, plan, execute, report.
    ///
    /// All sizes, drains and orders of writes are decided by `core::plan`, which is pure; what
    /// comes before collects its input, and what comes after carries it out and reports it. A write
    /// is accepted only if nothing has changed the target since its scale was read; otherwise the
    /// target is located again, and everything decided anew. One `now` dates everything from
    /// observing to reporting.
    ///
    /// # Errors
    /// The step did not come to its end, and is to be tried again soon.
    pub(super) async fn step(&mut self, cause: Cause) -> Result<(), StepFailed> {
        self.put_off = None;
        let reported = self.reported.take().filter(|_| cause == Cause::Sample);
        if let Some(obstacle) = self.obstacle().await {
            return self.report_obstacle(obstacle);
        }
        let mut scales = if cause == Cause::Sample { Scales::Outdated } else { Scales::All };
        let mut result = Err(StepFailed);
        for attempt in 1..=MAX_ATTEMPTS {
            if self.locate(scales).await.is_err() {
                break;
            }
            // A target that was found just now may have pods that are to be listed first.
            if let Some(obstacle) = self.obstacle().await {
                return self.report_obstacle(obstacle);
            }
            self.read_workload_modes().await;
            let mut turn = self.turn_to_compute().await;
            let now = self.context.clock.now();
            let Some(mut sights) = self.observe(now) else {
                // The first samples are on their way.
                self.log_step(&StepEnd::Undecided, now);
                result = Ok(());
                break;
            };
            let plan = self.plan_step(&mut sights, &mut turn, now).await;
            let plan = self.keep_pace(plan, now);
            drop(turn);
            let last = attempt == MAX_ATTEMPTS;
            let done = execute(&self.context, &mut self.roles, &plan, &sights, last, now).await;
            let _turn = self.turn_to_compute().await;
            self.record(&plan, &sights, &done, now);
            let topic = self.topic(&plan, &sights, &done);
            if reported.is_some_and(|reported| reported.goes_on(topic, now.monotonic)) {
                self.log_step(&StepEnd::Done(&plan, &done), now);
                self.reported = reported;
                return Ok(());
            }
            self.report(&plan, &sights, &done, now);
            self.reported = topic.map(|topic| ReportedStep { topic, at: now.monotonic });
            if done.end != End::Conflict {
                self.log_step(&StepEnd::Done(&plan, &done), now);
                self.decided.get_or_insert_with(|| self.context.telemetry.count_decided());
                result = if done.end == End::Complete { Ok(()) } else { Err(StepFailed) };
                break;
            }
            scales = Scales::Outdated;
        }
        self.publish();
        result
    }

    /// Remembers what fresh samples ask for while a failed step waits to be tried again, so that
    /// the window of scale-downs lacks nothing that the pages have shown. No request is sent:
    /// scales are taken as they were last read, and nothing is written or reported.
    pub(super) async fn remember(&mut self) {
        let namespace = self.object.namespace().unwrap_or_default();
        let is_unknown = |role: &Role| role.refused.is_none() && role.target.is_none();
        if self.problem.is_some()
            || self.context.sampling.pods.problem(&namespace).is_some()
            || self.roles.iter().any(is_unknown)
        {
            return;
        }
        let _turn = self.turn_to_compute().await;
        let now = self.context.clock.now();
        let Some(sights) = self.observe(now) else { return };
        let plan = self.plan_by(&sights, now);
        self.log_step(&StepEnd::Remembered, now);
        for ((role, plan), sight) in self.roles.iter_mut().zip(&plan.roles).zip(&sights) {
            if !sight.is_left_alone {
                role.record(plan, sight, &RoleDone::Nothing, now);
            }
        }
    }

    /// Waits for the turn to compute, among the autoscalers of the namespace.
    async fn turn_to_compute(&self) -> ComputeTurn {
        let namespace = self.object.namespace().unwrap_or_default();
        self.context.turns.enter(&namespace).await
    }

    /// Reads what has to be known of the targets' own objects before they are observed. No turn is
    /// held for it, since an API server that is slow about one object would delay the others.
    async fn read_workload_modes(&mut self) {
        let now = self.context.clock.now();
        let roles = self.roles.iter_mut().filter(|role| role.refused.is_none());
        future::join_all(roles.map(|role| role.read_workload_modes(now))).await;
    }

    /// Observes all roles; `None` while the first samples of one of them are on their way.
    fn observe(&mut self, now: Now) -> Option<Vec<RoleSight>> {
        let shared = self.config.shared.is_some();
        let paced = report::paced(self.turn.waits_for(now.monotonic));
        let mut sights = Vec::with_capacity(self.roles.len());
        for role in &mut self.roles {
            sights.push(match &role.refused {
                Some(view) => RoleSight::left_alone(view.scale, role.config.metrics.len()),
                None => role.observe(now)?,
            });
        }
        for sight in &mut sights {
            sight.advice.extend(paced.clone());
        }
        if shared {
            for (role, sight) in self.roles.iter_mut().zip(&sights) {
                role.record_lag(sight, now);
            }
        }
        Some(sights)
    }

    /// Plans the step. Where a scale-down depends on a target's own object, the object is read and
    /// the plan made again. The turn is for others meanwhile.
    async fn plan_step(
        &mut self,
        sights: &mut [RoleSight],
        turn: &mut ComputeTurn,
        now: Now,
    ) -> StepPlan {
        let plan = self.plan_by(sights, now);
        let unread: Vec<usize> = plan.needs_workload().collect();
        if unread.is_empty() {
            return plan;
        }
        *turn = None;
        for role in unread {
            self.roles[role].read_workload(&mut sights[role], now).await;
        }
        *turn = self.turn_to_compute().await;
        self.plan_by(sights, now)
    }

    /// Puts the writes of a plan off while the pace of the namespace has no room for them, and
    /// remembers when the next write may be made.
    fn keep_pace(&mut self, plan: StepPlan, now: Now) -> StepPlan {
        let is_paced = self.context.profile != Profile::HpaExact;
        let (pace, namespace) = (&self.context.size_pace, self.object.namespace());
        let namespace = namespace.unwrap_or_default();
        let mut next = |writes| self.turn.next(pace, &namespace, writes, now.monotonic);
        let at = is_paced.then(|| next(plan.count_writes())).flatten();
        self.paced = at.map(|at| at.since(now.monotonic));
        let plan = match at {
            Some(at) => plan.put_off(now.wall_at(at)),
            None => plan,
        };
        let wait = plan.next_paced_write().map(|at| (at - now.wall).to_std().unwrap_or_default());
        self.put_off = wait.map(|wait| now.monotonic.after(wait));
        plan
    }

    fn plan_by(&self, sights: &[RoleSight], now: Now) -> StepPlan {
        let none = RoleMemory::default();
        let targets = self.roles.iter().map(|role| role.target.as_deref());
        let memory: Vec<&RoleMemory> =
            targets.map(|target| target.map_or(&none, |target| &target.memory)).collect();
        let observed: Vec<RoleObservation<'_>> = sights.iter().map(RoleSight::for_plan).collect();
        plan(&self.config, &memory, &observed, now)
    }

    /// Remembers what was decided and written. After a conflict only roles with an earlier write
    /// are remembered and reported: everything else is decided anew.
    fn record(&mut self, plan: &StepPlan, sights: &[RoleSight], done: &Done, now: Now) {
        for (role, plan, sight, outcome) in done.decided(&mut self.roles, plan, sights) {
            role.adapt_sampling(plan, sight, now);
            role.record_step(plan, sight, outcome, now);
        }
    }

    /// Returns what the step reports but for values; `None` if it is to be reported anyway.
    fn topic(&self, plan: &StepPlan, sights: &[RoleSight], done: &Done) -> Option<Topic> {
        let has_problem = self.context.autoscalers.problem().is_some();
        topic(&self.roles, plan, sights, done).filter(|_| !has_problem)
    }

    /// Reports what was decided and written.
    fn report(&mut self, plan: &StepPlan, sights: &[RoleSight], done: &Done, now: Now) {
        for (role, plan, sight, outcome) in done.decided(&mut self.roles, plan, sights) {
            role.report(plan, sight, outcome, now);
        }
        if done.end == End::Conflict {
            self.roles.iter_mut().for_each(|role| role.warnings.clear());
            let (namespace, name) = (self.object.namespace(), self.object.name_any());
            info!(namespace, name, "a target was changed by something else since it was read");
        }
    }

    /// Reads scales, and finds and claims their targets. A plan needs all of them, but for those
    /// that another owner has and no other role depends on.
    async fn locate(&mut self, scales: Scales) -> Result<(), StepFailed> {
        let now = self.context.clock.now();
        if scales == Scales::All {
            self.read_at = Some(now.monotonic);
        }
        let remembered = &self.status.status().targets;
        let located = self.roles.iter_mut().map(|role| async move {
            let is_read = scales == Scales::All || role.is_outdated();
            if is_read { Some(role.locate(remembered, now).await) } else { None }
        });
        // One for each role; `None` where the scale was known.
        let results = future::join_all(located).await;
        let is_known = |(role, result): (&Role, &Option<Result<(), StepFailed>>)| {
            !matches!(result, Some(Err(_))) || role.refused.is_some()
        };
        let all_known = self.roles.iter().zip(&results).all(is_known);
        if all_known && self.decides_without_refused() {
            return Ok(());
        }
        let roles = self.roles.iter_mut().zip(&results);
        let found = roles.filter(|(_, result)| matches!(result, Some(Ok(()))));
        found.for_each(|(role, _)| role.status.clear_obstacle());
        self.roles.iter_mut().for_each(|role| role.release_overdue_drain(now));
        Err(StepFailed)
    }

    /// Returns true if roles can be decided on although others belong to another owner. Those keep
    /// the size that they have, which the shared ceilings reckon with. A ratio to such a role is no
    /// basis: its size follows something else, and would shrink this one.
    fn decides_without_refused(&self) -> bool {
        let is_refused = |place: &usize| self.roles[*place].refused.is_some();
        let ratio = self.config.shared.as_ref().and_then(|shared| shared.ratio.as_ref());
        let is_open = self.roles.iter().any(|role| role.refused.is_none());
        is_open && !ratio.is_some_and(|ratio| ratio.between.iter().any(is_refused))
    }

    /// Returns the reason why no role can be decided on, if there is one. The pods of a namespace
    /// are waited for a little: they are listed when it has its first autoscaler.
    async fn obstacle(&self) -> Option<Obstacle> {
        if let Some(error) = &self.problem {
            let reason = Reason::InvalidSpec;
            return Some(Obstacle { reason, message: error.to_string(), is_terminal: true });
        }
        let (pods, namespace) = (&self.context.sampling.pods, self.object.namespace());
        let namespace = namespace.unwrap_or_default();
        pods.until_complete(&namespace, PODS_WITHIN).await;
        let message = pods.problem(&namespace)?;
        Some(Obstacle { reason: Reason::PodsUnknown, message, is_terminal: false })
    }

    /// Reports the reason why no role can be decided on. A spec that cannot be carried out claims
    /// nothing, and is not tried again.
    fn report_obstacle(&mut self, obstacle: Obstacle) -> Result<(), StepFailed> {
        let now = self.context.clock.now();
        let Obstacle { reason, message, is_terminal } = obstacle;
        for role in &mut self.roles {
            if is_terminal {
                role.rest(now);
            } else {
                role.release_overdue_drain(now);
            }
        }
        let update = ConditionUpdate::no(ConditionType::ScalingActive, reason, message);
        // Until the next decision the roles report it too.
        self.roles.iter_mut().for_each(|role| role.fail(update.clone(), is_terminal));
        let before = self.status.status();
        let mut status = assemble::obstructed(before, &self.object, update, is_terminal, now.wall);
        assemble::add_schema_mismatch(
            before,
            &mut status,
            self.context.schema.condition(),
            now.wall,
        );
        self.warnings.publish_new(&self.object, Vec::new(), now.monotonic);
        self.expose(&status, now);
        self.status.write(&self.object, status);
        if is_terminal { Ok(()) } else { Err(StepFailed) }
    }

    /// Publishes the events and the status of the step.
    fn publish(&mut self) {
        let now = self.context.clock.now();
        let warnings =
            self.roles.iter_mut().flat_map(|role| std::mem::take(&mut role.warnings)).collect();
        self.warnings.publish_new(&self.object, warnings, now.monotonic);
        let roles: Vec<_> =
            self.roles.iter().map(|role| (role.name.as_deref(), &role.status)).collect();
        let before = self.status.status();
        let mut status = assemble::assemble(before, &self.object, &roles, now.wall);
        if let Some(problem) = self.context.autoscalers.problem() {
            let message = format!("{problem}; changes of the spec may not be seen");
            let reason = Reason::AutoscalersUnknown;
            status = assemble::unready(before, status, reason, message, now.wall);
        }
        assemble::add_schema_mismatch(
            before,
            &mut status,
            self.context.schema.condition(),
            now.wall,
        );
        self.expose(&status, now);
        self.status.write(&self.object, status);
    }
}

/// The reason why no role of an autoscaler can be decided on.
struct Obstacle {
    reason: Reason,
    message: String,
    /// Waiting does not help: the spec has to be changed.
    is_terminal: bool,
}

#[cfg(test)]
mod tests;
