//! The PodMonitor of each target, and the other PodMonitors of the cluster.
//!
//! Scaling does not depend on it. `plan` decides without I/O; `reconciler` has it carried out by
//! `object`, in a task of its own.

pub(crate) mod cluster_pod_monitors;
pub(crate) mod object;
pub(crate) mod plan;
pub(crate) mod reconciler;
