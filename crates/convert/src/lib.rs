//! From the objects of other autoscalers to LLMAutoscalers.
//!
//! ```text
//! text ──read──> documents ──hpa, keda, aibrix, kthena, wva──> drafts ──draft──> LLMAutoscalers
//!                    └──adapter_rules, triggers' credentials, policies──┘ └──comment──> comments
//! ```
//!
//! A converter reads a document through `field`, which remembers what has been read. Each value
//! of the input is part of the result, named by a comment, or reported as not understood; none is
//! dropped silently. A result is printed only if the operator accepts its spec.
//!
//! [`migration`] plans the switch from such an object to the LLMAutoscaler that it has become.

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
pub mod migration;
mod object;
mod options;
mod promql;
mod read;
mod reading;
mod report;
mod signals;
mod wva;
mod yaml;

pub use comment::{Comment, CommentKind};
pub use kinds::convert;
pub use options::Options;
pub use read::{Document, Place, ReadError, read};
pub use report::{Algorithm, Conversion, Report};
