//! The steps of a simulated autoscaler, as `llm-autoscaler evaluate` answers them again.

use std::fmt;

use llm_autoscaler_core::Now;
use llm_autoscaler_observe::{
    case::{self, RoleState},
    observer::TargetSnapshot,
    workload::Workload,
};
use serde_json::{Value, json};

/// The receiver of the steps, if there is one.
#[derive(Default)]
pub(super) struct Record(Option<Box<dyn FnMut(Value)>>);

impl Record {
    pub(super) fn to(receiver: Box<dyn FnMut(Value)>) -> Self {
        Self(Some(receiver))
    }

    /// Returns true if there is a receiver.
    pub(super) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Sends a step with the states of its roles.
    pub(super) fn add(&mut self, now: Now, roles: impl Iterator<Item = Value>) {
        if let Some(receiver) = &mut self.0 {
            let roles: Vec<Value> = roles.collect();
            receiver(json!({"t": now.monotonic.0.as_secs_f64(), "roles": roles}));
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Record").field(&self.is_there()).finish()
    }
}

/// Returns the state of a role in a step.
pub(super) fn role(
    name: Option<&str>,
    target: &TargetSnapshot<'_>,
    workload: Option<&Workload>,
) -> Value {
    let state = RoleState { name, target, manual_change: false, contested_until: None };
    let mut role = state.case();
    if let Some(workload) = workload {
        role["workload"] = case::workload(workload);
    }
    role
}
