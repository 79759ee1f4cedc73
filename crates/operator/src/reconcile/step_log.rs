//! The steps of an autoscaler in the log, as `llm-autoscaler evaluate` answers them again.
//!
//! They have everything that was observed, so they are large, and only logged where someone asks
//! for them by their target and the level `TRACE`.

use kube::ResourceExt;
use llm_autoscaler_core::{self as core, Now, StepPlan};
use llm_autoscaler_observe::{
    case::{self, RoleState},
    observer::TargetSnapshot,
};
use serde_json::{Value, json};
use tracing::{Level, enabled, trace};

use crate::{
    ownership::write_block::WriteBlock,
    reconcile::{
        autoscaler::Autoscaler,
        execute::{Done, RoleDone},
        role::Role,
    },
};

/// The target of the entries, by which a filter selects them. It is public.
const TARGET: &str = "llm_autoscaler::steps";

/// Returns the entry of a role in a step; `None` while steps are not logged.
pub(super) fn case(
    name: Option<&str>,
    target: &TargetSnapshot<'_>,
    block: &WriteBlock,
) -> Option<Value> {
    if !enabled!(target: TARGET, Level::TRACE) {
        return None;
    }
    let core::WriteBlock { manual_change, contested_until, .. } = block.for_plan();
    Some(RoleState { name, target, manual_change, contested_until }.case())
}

/// The end of a step, as the log tells it.
pub(super) enum StepEnd<'a> {
    /// The first samples are on their way.
    Undecided,
    /// Fresh samples are remembered, while a failed step waits to be tried again.
    Remembered,
    /// It was decided and carried out.
    Done(&'a StepPlan, &'a Done),
}

impl StepEnd<'_> {
    /// Returns true if a role, by its place, has written no size although one was decided.
    fn fails(&self, role: usize) -> bool {
        match self {
            Self::Undecided => false,
            Self::Remembered => true,
            Self::Done(_, done) => matches!(done.roles[role], RoleDone::Failed { .. }),
        }
    }

    /// Returns the desired size of each role, and the size that was written.
    fn decisions(&self) -> Value {
        let Self::Done(plan, done) = self else { return json!([]) };
        let roles = plan.roles.iter().zip(&done.roles).map(|(plan, done)| {
            let written = done.written().map(|write| write.to);
            json!({"desired": plan.decision.desired(), "written": written})
        });
        roles.collect()
    }
}

impl Autoscaler {
    /// Logs the step.
    pub(super) fn log_step(&mut self, end: &StepEnd<'_>, now: Now) {
        let roles = self.roles.iter_mut().enumerate();
        let roles: Vec<Value> =
            roles.filter_map(|(at, role)| role.take_case(end.fails(at))).collect();
        if roles.is_empty() {
            return;
        }
        let step = json!({
            "t": now.monotonic.0.as_secs_f64(),
            "paused": self.object.is_paused(),
            "pacedForSeconds": self.paced.map(|wait| wait.as_secs_f64()),
            "roles": roles,
        });
        let (namespace, name) = (self.object.namespace(), self.object.name_any());
        trace!(target: TARGET, namespace, name, %step, decisions = %end.decisions(), "step");
    }
}

impl Role {
    /// Returns the entry of the latest observation, with the target's own object as it was read
    /// last.
    fn take_case(&mut self, write_fails: bool) -> Option<Value> {
        let mut case = *self.case.take()?;
        let read = self.target.as_ref().and_then(|target| target.drain.workload.as_ref());
        if let Some(workload) = read {
            case["workload"] = case::workload(workload);
        }
        case["writeFails"] = json!(write_fails);
        Some(case)
    }
}
