//! The HTTP server of the operator: health, its own metrics, and wake calls for targets at zero.

pub mod server;
pub mod wake;
mod wake_endpoint;
