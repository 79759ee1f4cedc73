//! Scale-downs that drain: replicas leave their Services first, answer their requests, and are
//! removed then.
//!
//! The plan has chosen the replicas, the size and the moment; this folder carries the plan out.

pub mod drainer;
pub mod gate_sweep;
pub mod pod_gates;
mod pod_write;
pub mod progress;
mod role_instances;
pub mod workload_reader;
