//! Scale targets: reading and writing the number of replicas of any kind.

pub mod client;
pub mod metadata;
mod role_based_group;
mod scale_target;
pub mod workload;
