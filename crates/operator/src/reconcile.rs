//! The loop of each autoscaler, and its step.

pub mod autoscaler;
pub mod context;
pub mod controller;
pub mod target_state;
