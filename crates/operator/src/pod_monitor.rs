//! The PodMonitor of each target, and the other PodMonitors of the cluster.
//!
//! Scaling does not depend on it. `plan` decides without I/O, and `reconciler` carries the plan out
//! in a task of its own.

pub mod cluster_pod_monitors;
pub mod plan;
pub mod reconciler;
