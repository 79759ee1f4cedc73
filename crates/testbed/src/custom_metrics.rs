//! The custom metrics API, as an adapter serves it: it gives the real HPA the pages that autoscalers of this project
//! read by themselves.

mod api;
mod exposition;
mod tls;

use anyhow::Result;

use crate::ControlPlane;
use crate::aggregation::{Aggregated, host};
use crate::task::Task;

const GROUP: &str = "custom.metrics.k8s.io";
const VERSION: &str = "v1beta2";
/// The Service that stands for the adapter, whose name its certificate carries.
const SERVICE: &str = "custom-metrics";

/// An adapter in this process, registered with a control plane as `custom.metrics.k8s.io/v1beta2`.
///
/// It serves metrics of pods. Whatever series is asked for is read at that moment from `/metrics` on the port `http` of
/// every running pod, and summed over its labels; a pod that does not answer within a second, or has no such series, has
/// no sample. Nothing is remembered, and it is served to whoever asks. Selectors of series are refused.
///
/// Dropping it stops the server; the registration stays.
#[derive(Debug)]
pub struct CustomMetrics {
    _server: Task,
}

impl CustomMetrics {
    /// Starts the adapter on loopback, and returns when clients that ask the API server which APIs there are find it.
    ///
    /// # Errors
    /// Where it cannot listen, or the API server does not find it.
    pub async fn start(control_plane: &ControlPlane) -> Result<Self> {
        let certificate = tls::Certificate::new(&host(SERVICE))?;
        let listener = tls::Listener::bind(&certificate).await?;
        let port = listener.port()?;
        let client = control_plane.client();
        let app = api::router(client.clone());
        let server = Task::spawn(async move {
            let _ = axum::serve(listener, app).await; // never returns
        });
        let certificate = Some(&*certificate.pem);
        let api =
            Aggregated { group: GROUP, version: VERSION, service: SERVICE, port, certificate };
        api.register(&client).await?;
        Ok(Self { _server: server })
    }
}
