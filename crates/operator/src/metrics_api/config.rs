//! The configuration of the metrics APIs.

use std::net::SocketAddr;

/// The configuration of the metrics APIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsApiConfig {
    /// The address that serves them.
    pub address: SocketAddr,
    /// The namespace of the operator.
    pub namespace: String,
    /// The Service that leads to the address, by which APIServices name the operator.
    pub service: String,
    /// The Secret of the certificate authority.
    pub secret: String,
}
