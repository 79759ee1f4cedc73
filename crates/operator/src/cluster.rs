//! The cluster as the operator observes it: its pods, and other autoscalers that scale a target.

pub mod other_autoscalers;
pub mod pods;
mod watch_health;
