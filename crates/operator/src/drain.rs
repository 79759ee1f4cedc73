//! Scale-downs that drain: replicas leave their Services first, answer their requests, and are
//! removed then.
//!
//! The plan has chosen the replicas, the size and the moment; this folder carries the plan out.

pub(crate) mod drainer;
pub(crate) mod gate_sweep;
pub(crate) mod pod_gates;
mod pod_write;
pub(crate) mod progress;
mod role_instances;
pub(crate) mod workload_reader;
