//! The part of the `llm-autoscaler` binary that other programs use: `evaluate`, which answers
//! conformance cases. `tests/conformance` calls it directly, because it asks for profiles that have
//! no name on the command line.

pub mod evaluate;
