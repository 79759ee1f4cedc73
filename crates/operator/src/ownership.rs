//! Whether a target may be written to: claims, owners, sizes set by others, pauses.

pub mod claims;
pub mod manual_changes;
pub mod write_block;
