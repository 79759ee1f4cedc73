//! The operator's HTTP server: health, metrics and wake calls.

pub(crate) mod access_review;
pub(crate) mod certificate;
pub(crate) mod heartbeat;
pub(crate) mod listener;
pub(crate) mod server;
pub(crate) mod wake;
mod wake_endpoint;
pub(crate) mod wake_record;
mod wake_reviews;
