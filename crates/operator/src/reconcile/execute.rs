//! Carries out the plan of a step: readiness gates, marks, and the writes of scales in the plan's order. No choice is made here.

use llm_autoscaler_core::{Now, StepPlan};
use tracing::info;

use crate::{
    drain::drainer::PreparedWrite,
    reconcile::{
        context::Context,
        role::{Role, RoleDone},
        sight::RoleSight,
    },
    scale::client::TargetError,
};

/// What was done of a plan.
pub struct Done {
    /// What was done for each role.
    pub roles: Vec<RoleDone>,
    /// Something else has changed a target in between: nothing more was written.
    pub conflict: bool,
    /// A write failed.
    pub failed: bool,
}

/// Carries out a plan.
pub async fn execute(
    context: &Context,
    roles: &mut [Role],
    plan: &StepPlan,
    sights: &[RoleSight],
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
    let mut done = Done {
        roles: roles.iter().map(|_| RoleDone::Nothing).collect(),
        conflict: false,
        failed: false,
    };
    while let Some(write) = writes.next_write() {
        let role = &mut roles[write.role];
        match role.write(context, write).await {
            Ok(()) => {
                writes.record(write, true);
                let finished = role.finish_drain(prepared[write.role].take(), now);
                info!(
                    autoscaler = role.path(),
                    from = write.from,
                    to = write.to,
                    manager = llm_autoscaler_api::managers::SCALE,
                    "scaled"
                );
                done.roles[write.role] = RoleDone::Written { write, finished };
            }
            Err(TargetError::Conflict) => {
                done.conflict = true;
                return done;
            }
            Err(error) => {
                writes.record(write, false);
                done.failed = true;
                done.roles[write.role] = RoleDone::Failed { write, error };
            }
        }
    }
    for write in writes.waiting() {
        roles[write.role].wait_for_role(write);
    }
    done
}
