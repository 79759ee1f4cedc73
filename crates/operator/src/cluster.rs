//! The cluster as the operator sees it: pods, and the other autoscalers that might drive a target.

pub mod other_autoscalers;
pub mod pods;
