//! The HPA's sentences: what a decision is called in conditions, events and errors.
//!
//! People, dashboards and alerts know these texts, so they are the HPA's to the letter. Every function is
//! pure; names of metrics and errors of fetches are the caller's and are passed through as they are.
//!
//! The order of a step: [`got_scale`] (or [`failed_get_scale`]), then [`Step::conditions`] and
//! [`Step::events`], and after a write [`Step::after_write`]. Conditions are to be set one after the other in
//! that order, as [`conditions::set`](crate::conditions::set) does: one that goes False and back within a step is
//! a transition.

mod metric;
mod selector;
mod step;
mod write;

pub use metric::{MetricDescription, MetricFailure, ObjectDescription};
pub use selector::{SelectorProblem, selector_text};
pub use step::{Step, limit_reason, stabilization_reason};
pub use write::{Written, failed_get_scale, failed_get_scale_error, got_scale};

use crate::conditions::Reason;

/// One event as it is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventMessage {
    /// Whether its type is `Warning`; else it is `Normal`.
    pub warning: bool,
    /// The reason, which scripts and alerts may match on.
    pub reason: Reason,
    /// A sentence for people.
    pub message: String,
}

impl EventMessage {
    fn warning(reason: Reason, message: impl Into<String>) -> Self {
        Self { warning: true, reason, message: message.into() }
    }

    fn normal(reason: Reason, message: impl Into<String>) -> Self {
        Self { warning: false, reason, message: message.into() }
    }
}
