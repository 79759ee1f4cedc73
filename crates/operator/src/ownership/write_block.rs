//! The obstacles to writing to a target that the autoscaler owns.

use llm_autoscaler_core as core;

use crate::ownership::{contest::Contest, manual_changes::RespectedChange};

/// The reasons why nothing is written to a target that the autoscaler owns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct WriteBlock {
    /// The autoscaler has the annotation that pauses it.
    pub paused: bool,
    /// A change of size by another writer that is respected for now.
    pub manual_change: Option<RespectedChange>,
    /// Another writer that undoes the operator's writes. Between two writes there is a wait.
    pub contest: Option<Contest>,
}

impl WriteBlock {
    /// Returns the block as the plan takes it.
    pub(crate) fn for_plan(&self) -> core::WriteBlock {
        core::WriteBlock {
            paused: self.paused,
            manual_change: self.manual_change.is_some(),
            contested_until: self.contest.as_ref().and_then(Contest::waits_until),
        }
    }

    /// Returns the first reason, as the operator's metrics name it; `None` if nothing is blocked.
    pub(crate) fn metric_label(&self) -> Option<&'static str> {
        let core::WriteBlock { paused, manual_change, contested_until } = self.for_plan();
        if paused {
            Some("paused")
        } else if manual_change {
            Some("manual_change")
        } else {
            contested_until.map(|_| "contested")
        }
    }
}
