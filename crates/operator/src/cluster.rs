//! The cluster as the operator observes it: its pods, and other autoscalers that scale a target.

pub(crate) mod other_autoscalers;
pub(crate) mod pod_listings;
pub(crate) mod pods;
pub(crate) mod resource_claims;
pub(crate) mod watch;
pub(crate) mod watch_health;
mod watched_pod;
pub(crate) mod watched_versions;
