//! The right to write to a target, and the obstacles to it.
//!
//! A target belongs to one LLMAutoscaler (`claims`), to no other autoscaler, and to no owner that
//! sets its size (`owner_references`). A size that something else has set may be respected for a
//! while (`manual_changes`), writes that something else undoes again and again become seldom
//! (`contest`), and an annotation pauses all writes (`write_block`). A size that the next manifest
//! could remove is adopted (`adoption`).

pub(crate) mod adoption;
pub(crate) mod authors;
pub(crate) mod claims;
pub(crate) mod contest;
pub(crate) mod manual_changes;
pub(crate) mod owner_references;
pub(crate) mod refusal;
pub(crate) mod repeated_changes;
pub(crate) mod size_change;
pub(crate) mod write_block;
