//! The part of the `llm-autoscaler` binary that other programs use: `evaluate`, which answers
//! conformance cases. `tests/conformance` calls it directly, with profiles that have no name on the
//! command line.

pub mod evaluate;
