//! The PodMonitor of each autoscaler.

pub mod cluster_pod_monitors;
pub mod keeper;
