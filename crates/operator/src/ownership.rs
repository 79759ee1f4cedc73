//! Whether a target may be written to: claims among LLMAutoscalers, owner references, sizes that others set, pauses.

pub mod claims;
pub mod manual_changes;
pub mod owner_references;
pub mod refusal;
pub mod write_block;
