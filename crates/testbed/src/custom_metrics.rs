//! Serves the custom metrics API as an adapter does, so that the real HPA reads the same pages as
//! the autoscalers of this project.

mod api;
mod exposition;

use anyhow::Result;

use crate::ControlPlane;
use crate::aggregation::{Aggregated, host};
use crate::task::Task;
use crate::tls::{Certificate, Listener};

const GROUP: &str = "custom.metrics.k8s.io";
const VERSION: &str = "v1beta2";
/// The name of the Service that represents the adapter; the adapter's certificate carries it.
const SERVICE: &str = "custom-metrics";

/// An adapter in this process, registered with a control plane as `custom.metrics.k8s.io/v1beta2`.
///
/// It serves metrics of pods. Each request scrapes `/metrics` on the port `http` of every running
/// pod and sums the requested series over its labels. A pod that does not answer within a second,
/// or a page without the series, has no sample. Nothing is cached, and clients are not
/// authenticated. Selectors of series are refused.
///
/// Dropping it stops the server; the registration stays.
#[derive(Debug)]
pub struct CustomMetrics {
    _server: Task,
}

impl CustomMetrics {
    /// Starts the adapter on loopback, and returns when discovery lists its API, so that clients
    /// find it.
    ///
    /// # Errors
    /// Fails if it cannot listen, or if the API server does not discover it.
    pub async fn start(control_plane: &ControlPlane) -> Result<Self> {
        let certificate = Certificate::new(&host(SERVICE))?;
        let listener = Listener::bind(&certificate).await?;
        let port = listener.port()?;
        let client = control_plane.client();
        let app = api::router(client.clone());
        let server = Task::spawn(async move {
            let _ = axum::serve(listener, app).await; // `serve` never returns
        });
        let certificate = Some(&*certificate.pem);
        let api =
            Aggregated { group: GROUP, version: VERSION, service: SERVICE, port, certificate };
        api.register(&client).await?;
        Ok(Self { _server: server })
    }
}
