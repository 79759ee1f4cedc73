//! Scale-downs that drain: replicas leave their Services first, finish their requests, and are removed then.

pub mod drainer;
pub mod pod_gates;
pub mod progress;
mod role_instances;
pub mod rollout;
mod victim;
