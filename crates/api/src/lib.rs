//! The `LLMAutoscaler` resource: its types, its checks and its words.
//!
//! ```text
//! spec ──plan()──> core::Policy, recipes          core::Decision ──words──> conditions, events, status
//! ```
//!
//! The types are what users write and read; [`plan()`](plan()) turns a spec into what the core decides by, [`words`]
//! turns a decision into the HPA's own sentences. [`pod_monitor`] is what is published about the target.
//!
//! Invariant: no network, no clock; everything is a function of its arguments.

mod behavior;
pub mod conditions;
pub mod dialect;
mod pause;
mod plan;
mod podmonitor;
pub mod quantity;
pub mod selector;
mod spec;
mod status;
pub mod time;
pub mod words;

pub use behavior::*;
pub use pause::PAUSED;
pub use plan::*;
pub use podmonitor::*;
pub use quantity::{Quantity, QuantityError};
pub use spec::*;
pub use status::*;

/// Field managers: who wrote what, in `metadata.managedFields`. They are public API: GitOps tools are told
/// to leave alone what these own.
pub mod managers {
    /// Owns `spec.replicas` of targets.
    pub const SCALE: &str = "llm-autoscaler-scale";
    /// Owns `status` of `LLMAutoscalers`.
    pub const STATUS: &str = "llm-autoscaler-status";
    /// Owns what the operator creates.
    pub const CHILDREN: &str = "llm-autoscaler-children";
    /// Owns the condition `llmautoscaler.io/in-service` of pods, and their deletion cost.
    pub const PODS: &str = "llm-autoscaler-pods";
}
