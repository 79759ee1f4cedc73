//! The HTTP server of the operator: health, its own metrics, and wake calls for targets at zero.

pub(crate) mod server;
pub(crate) mod wake;
mod wake_endpoint;
