//! The switch from another autoscaler to an LLMAutoscaler, and back, as a plan.
//!
//! ```text
//! Sight: the LLMAutoscaler with its record, all other autoscalers, the size
//!   └──forward, back──> Plan: the steps that are left, each a write or a wait; or a Refusal
//! ```
//!
//! The caller carries out the first step of a plan, looks again, and plans again, until no step is
//! left. So a step is never taken by outdated knowledge, and a call that was killed is continued by
//! the next one: everything that a plan rests on is in the cluster. The [`Record`] is written
//! before the first step, and has what going back needs.

mod back;
mod forward;
mod living;
mod look;
mod plan;
mod record;
mod refusal;
mod source;
mod step;
mod write;

#[cfg(test)]
mod tests;

pub use back::back;
pub use forward::forward;
pub use look::{Sight, Size};
pub use plan::Plan;
pub use record::{MIGRATION, Record, SavedSource, Stage};
pub use refusal::Refusal;
pub use source::{SOURCE_KINDS, SourceKind};
pub use step::{SETTLED, Step};
pub use write::Write;
