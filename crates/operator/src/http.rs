//! HTTP that the operator serves: health, its own metrics, and calls that wake a target at zero.

pub mod server;
pub mod wake;
