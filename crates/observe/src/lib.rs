//! Pods and samples → what a decision rests on.
//!
//! ```text
//! pods ─────> replicas ──┐
//!                        ├─> observe ─> core::Observation (and findings for people)
//! samples ──> lookups  ──┘
//! ```
//!
//! Age, doubt, quorum of a replica's pods, failover between sources, and which pods are one replica are decided here, so
//! that the operator, `evaluate` and a simulator make the same observation of the same samples.
//!
//! Invariant: no clock, no I/O, no state that is shared. Time is an argument, and a source is the list of its answers.

pub mod advice;
pub mod draining;
pub mod observer;
pub mod pod;
mod reading;
pub mod replicas;
pub mod requests;
pub mod samples;
pub mod startup_tracker;
pub mod workload;
