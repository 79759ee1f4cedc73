//! What users read: status, conditions and events.

pub mod events;
pub mod report;
pub mod warnings;
pub mod write_limiter;
pub mod writer;
