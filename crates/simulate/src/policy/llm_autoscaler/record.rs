//! The steps of a simulated autoscaler, as `llm-autoscaler evaluate` answers them again.

use std::fmt;

use llm_autoscaler_core::Scale;
use llm_autoscaler_observe::{
    case::{self, RoleState},
    replicas::Replicas,
    samples::Samples,
};
use serde_json::{Value, json};

use super::{Spec, wall};
use crate::sight::Sight;

/// The receiver of the steps, if there is one.
#[derive(Default)]
pub(super) struct Record(Option<Box<dyn FnMut(Value)>>);

impl Record {
    pub(super) fn to(receiver: Box<dyn FnMut(Value)>) -> Self {
        Self(Some(receiver))
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Record").field(&self.0.is_some()).finish()
    }
}

impl Spec {
    /// Records what a step decides by, before it does.
    pub(super) fn record_step(
        &mut self,
        sight: &Sight<'_>,
        replicas: &Replicas,
        samples: &Samples,
        scale: Scale,
    ) {
        let Some(record) = &mut self.record.0 else { return };
        let state = RoleState {
            name: None,
            config: &self.target,
            replicas,
            samples,
            scale,
            selector: llm_autoscaler_core::Selector::Valid,
            woken: false,
            manual_change: false,
            contested_until: None,
            now: wall(sight.now + sight.clock_ahead),
        };
        let mut role = state.case();
        if let Some(workload) = self.drain.workload() {
            role["workload"] = case::workload(workload);
        }
        record(json!({"t": sight.now, "roles": [role]}));
    }
}
