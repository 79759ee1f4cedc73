//! The configuration of the metrics APIs and of the external scaler.

use std::{net::SocketAddr, path::PathBuf};

use crate::http::certificate::CertificateFiles;

/// The servers for other autoscalers; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsConfig {
    /// The metrics APIs, for HPAs.
    pub api: Option<MetricsApiConfig>,
    /// The external scaler, for KEDA.
    pub external_scaler: Option<ExternalScalerConfig>,
}

/// The configuration of the external scaler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalScalerConfig {
    /// The address that serves it.
    pub address: SocketAddr,
    /// The certificate; `None` serves plain HTTP/2.
    pub certificate: Option<CertificateFiles>,
    /// The authorities of which clients need a certificate; `None` if they need none.
    pub client_authorities: Option<PathBuf>,
}

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
