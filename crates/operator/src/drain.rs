//! Scale-downs that drain: replicas leave their Services first, answer their requests, and are removed then.
//!
//! What is done here the plan has decided: nothing in this folder chooses a replica, a size or a moment.

pub mod drainer;
mod gate_sweep;
pub mod pod_gates;
mod pod_write;
pub mod progress;
mod role_instances;
pub mod workload_reader;

pub use gate_sweep::sweep;
