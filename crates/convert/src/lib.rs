//! From the objects of other autoscalers to LLMAutoscalers.
//!
//! ```text
//! text ──read──> documents ──hpa, keda, aibrix, kthena, wva──> drafts ──draft──> LLMAutoscalers
//!                    └──adapter_rules, triggers' credentials, policies──┘ └──comment──> comments
//! ```
//!
//! A converter reads a document through [`field`], which remembers what has been read. Each value
//! of the input is part of the result, named by a comment, or reported as not understood; none is
//! dropped silently. A result is printed only if the operator accepts its spec.

mod adapter_rules;
mod aibrix;
mod behavior;
mod comment;
mod context;
mod draft;
mod field;
mod hpa;
mod keda;
mod kinds;
mod kthena;
mod object;
mod promql;
mod read;
mod reading;
mod report;
mod signals;
mod wva;
mod yaml;

use llm_autoscaler_engines::Engine;

pub use comment::{Comment, CommentKind};
pub use kinds::convert;
pub use read::{Document, Place, ReadError, read};
pub use report::{Conversion, Report};

/// Facts that are not in the input.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The address of the Prometheus server that the metrics adapter queries.
    pub prometheus_url: Option<String>,
    /// The engine of the targets, where their metrics do not tell it.
    pub engine: Option<Engine>,
}
