//! Carries out the plan of a step: readiness gates, marks, and the writes of scales in the plan's
//! order. No size is chosen here.

use llm_autoscaler_core::{Now, RolePlan, StepPlan, Write};
use tracing::info;

use crate::{
    drain::{
        drainer::{Drainer, MarkFailed, PreparedWrite},
        progress::{FinishedDrain, SizeStep},
    },
    reconcile::{context::Context, decision_label, role::Role, sight::RoleSight},
    scale::error::TargetError,
};

/// The result of carrying a plan out.
pub(super) struct Done {
    /// The results of the roles, in their order.
    pub roles: Vec<RoleDone>,
    /// How it ended.
    pub end: End,
}

impl Done {
    /// Returns the roles that were decided on, each with its part of the plan, its observation and
    /// its result. Those that are left alone are not among them, and after a conflict only those
    /// that were written to before it are.
    pub(super) fn decided<'a>(
        &'a self,
        roles: &'a mut [Role],
        plan: &'a StepPlan,
        sights: &'a [RoleSight],
    ) -> impl Iterator<Item = (&'a mut Role, &'a RolePlan, &'a RoleSight, &'a RoleDone)> {
        let roles = roles.iter_mut().zip(&plan.roles).zip(sights).zip(&self.roles);
        let roles = roles.map(|(((role, plan), sight), done)| (role, plan, sight, done));
        roles.filter(|(_, _, sight, done)| {
            !sight.is_left_alone && (done.was_tried() || self.end != End::Conflict)
        })
    }
}

/// How the execution of a plan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All writes that may be made now were made.
    Complete,
    /// A write failed.
    Failed,
    /// Something else has changed a target in between: what was decided is void, and nothing more
    /// was written.
    Conflict,
}

/// The result for one role.
pub(super) enum RoleDone {
    /// Nothing was written.
    Nothing,
    /// The size was written.
    Written {
        /// The write.
        write: Write,
        /// How its scale-down ended, where it drained.
        finished: Option<FinishedDrain>,
    },
    /// The write failed.
    Failed {
        /// The write.
        write: Write,
        /// Why it failed.
        error: TargetError,
    },
}

impl RoleDone {
    /// Returns the write that was accepted.
    pub(super) fn written(&self) -> Option<Write> {
        match self {
            Self::Written { write, .. } => Some(*write),
            Self::Nothing | Self::Failed { .. } => None,
        }
    }

    /// Returns whether the write was tried, and met no conflict.
    pub(super) fn was_tried(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

/// Carries out a plan. A conflict ends the attempt, so that everything is decided anew; in the
/// `last` attempt of a step it is a write that failed.
pub(super) async fn execute(
    context: &Context,
    roles: &mut [Role],
    plan: &StepPlan,
    sights: &[RoleSight],
    last: bool,
    now: Now,
) -> Done {
    let mut writes = plan.writes();
    let mut prepared: Vec<Option<PreparedWrite>> = Vec::with_capacity(roles.len());
    for (place, role) in roles.iter_mut().enumerate() {
        let write = role.prepare(&plan.roles[place], &sights[place], now).await;
        if write.is_err() {
            writes.skip(place);
        }
        prepared.push(write.unwrap_or_default());
    }
    let mut done =
        Done { roles: roles.iter().map(|_| RoleDone::Nothing).collect(), end: End::Complete };
    while let Some(write) = writes.next_write() {
        let role = &mut roles[write.role];
        match role.write(context, write, now).await {
            Ok(()) => {
                writes.record(write, true);
                let finished = role.finish_drain(prepared[write.role].take(), now);
                let reason = decision_label::reason(&plan.roles[write.role].decision);
                context.telemetry.record_rescale(write.from, write.to, reason);
                info!(
                    autoscaler = role.path(),
                    from = write.from,
                    to = write.to,
                    manager = llm_autoscaler_api::managers::SCALE,
                    "scaled"
                );
                done.roles[write.role] = RoleDone::Written { write, finished };
            }
            Err(TargetError::Conflict(_)) if !last => {
                done.end = End::Conflict;
                return done;
            }
            Err(error) => {
                writes.record(write, false);
                done.end = End::Failed;
                done.roles[write.role] = RoleDone::Failed { write, error };
            }
        }
    }
    for write in writes.waiting() {
        roles[write.role].wait_for_role(write);
    }
    if done.end == End::Complete {
        let sights = roles.iter_mut().zip(sights);
        let own = sights.filter(|(role, sight)| !sight.is_left_alone && !role.recommends());
        for (role, sight) in own {
            role.adopt_size(&sight.block).await;
        }
    }
    done
}

impl Role {
    /// Carries out the drain of the plan.
    async fn prepare(
        &mut self,
        plan: &RolePlan,
        sight: &RoleSight,
        now: Now,
    ) -> Result<Option<PreparedWrite>, MarkFailed> {
        let (context, namespace) = (self.context.clone(), self.namespace());
        let Some(target) = &mut self.target else { return Ok(None) };
        let drainer = Drainer {
            gates: &context.gates,
            telemetry: &context.telemetry,
            namespace: &namespace,
            target: &self.config.target,
            config: self.config.drain.as_ref(),
            replicas: &target.replicas,
            scene: &sight.drain,
            now,
        };
        drainer.prepare(plan, &mut target.drain, &mut target.progress).await
    }

    /// Writes the size, on the condition that nothing has changed the target since it was read.
    async fn write(
        &mut self,
        context: &Context,
        write: Write,
        now: Now,
    ) -> Result<(), TargetError> {
        let namespace = self.namespace();
        let Some(target) = &mut self.target else {
            return Err(TargetError::Conflict("the target is gone".to_owned()));
        };
        let (reference, view) = (&self.config.target, &target.view);
        let permit = context.leases.permit(&namespace);
        let result =
            context.scales.patch_scale(&namespace, reference, view, write.to, &permit).await;
        context.telemetry.record_scale_write(match &result {
            Ok(_) => "ok",
            Err(TargetError::Conflict(_)) => "conflict",
            Err(_) => "error",
        });
        match result {
            Ok(view) => {
                // Admission may have made another size of it.
                self.sizes.record_write(view.scale.current, now.wall);
                // Whoever writes a size is its owner.
                self.owners.take_endangering();
                target.view = view;
                Ok(())
            }
            Err(error) => {
                if error.is_ambiguous() {
                    self.sizes.record_attempt(write.to);
                }
                target.record_failed_write(&error, write.from, write.to);
                Err(error)
            }
        }
    }

    /// Records that the size has been written for which victims were drained.
    fn finish_drain(&mut self, prepared: Option<PreparedWrite>, now: Now) -> Option<FinishedDrain> {
        let target = self.target.as_mut()?;
        let telemetry = &self.context.telemetry;
        Some(prepared?.finish(&mut target.drain, &mut target.progress, telemetry, now))
    }

    /// Records that a size is not written yet, because the ratio to another role would suffer.
    fn wait_for_role(&mut self, Write { from, to, .. }: Write) {
        if let Some(target) = self.target.as_mut().filter(|_| to < from) {
            target.progress.for_role = Some(SizeStep { from, to });
        }
    }
}
