//! The texts of conditions, events and errors: a decision rendered in the HPA's own sentences.
//!
//! People, dashboards and alerts know these texts, so they are the HPA's to the letter. Every
//! function is pure; the names of metrics and the errors of fetches are the caller's and are passed
//! through as they are.
//!
//! The order of a step is [`got_scale`] (or [`failed_get_scale`]), then [`Step::conditions`] and
//! [`Step::events`], and after a write [`Step::after_write`]. Set the conditions one after the
//! other in this order, as [`conditions::set`](crate::conditions::set) does: a condition that
//! becomes False and True again within one step has a transition.

mod metric;
mod selector;
mod slo;
mod step;
mod write;

pub use metric::{MetricDescription, MetricFailure, ObjectDescription};
pub use selector::{SelectorProblem, selector_text};
pub use slo::{promised_size, short};
pub use step::{Step, limit_reason, stabilization_reason};
pub use write::{Written, failed_get_scale, failed_get_scale_error, got_scale, scaled_to_zero};

use crate::conditions::Reason;

/// An event as it should be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventMessage {
    /// The type of the event is `Warning` if true, else `Normal`.
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
