//! The server of the metrics APIs.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    http::{HeaderMap, Method, Uri},
};
use kube::Client;
use llm_autoscaler_core::Profile;
use tokio::net::TcpListener;

use crate::{
    clock::Clock,
    http::listener::{self, ClientCertificate, ServerTls},
    kube_api::writes::Writes,
    lease::Leases,
    metrics_api::{
        access::Access,
        catalog::Catalog,
        config::MetricsApiConfig,
        endpoint::Endpoint,
        keeper::Keeper,
        pod_values::PodValues,
        recommendations::{LatestSteps, Recommendations},
    },
    sampling::sources::Sampling,
    scale::client::ScaleClient,
    supervise::Supervisor,
};

/// The tasks' name in the operator's metrics.
const TASK: &str = "metrics_api";

/// The handles that the server needs.
pub(crate) struct Handles {
    /// The client of the API server.
    pub client: Client,
    /// Sends writes.
    pub writes: Writes,
    /// Tells which copy of the operator decides.
    pub leases: Leases,
    /// The clock.
    pub clock: Clock,
    /// Catches panics.
    pub supervisor: Supervisor,
    /// Samples pods.
    pub sampling: Sampling,
    /// Reads the scales of targets.
    pub scales: Arc<ScaleClient>,
    /// The autoscalers.
    pub catalog: Catalog,
    /// Their latest steps.
    pub steps: LatestSteps,
    /// The profile of decisions.
    pub profile: Profile,
    /// The longest time between two steps.
    pub period: Duration,
}

/// Serves the metrics APIs on a listener, for the life of the process.
pub(crate) async fn serve(listener: TcpListener, config: MetricsApiConfig, handles: Handles) {
    let Handles { client, writes, leases, clock, supervisor, .. } = handles;
    let handles_of_keeper = (client.clone(), writes, leases.clone(), clock);
    let keeper = Arc::new(Keeper::new(handles_of_keeper, config));
    let Handles { sampling, scales, catalog, steps, profile, period, .. } = handles;
    let pod_values = Arc::new(PodValues::new(sampling, scales, catalog.clone(), profile));
    let recommendations = Recommendations { catalog, steps, leases, clock, period };
    let access = Access::new(client, clock);
    let endpoint = Endpoint::new(keeper.clone(), access, pod_values.clone(), recommendations);
    let endpoint = Arc::new(endpoint);
    let answer =
        async move |method: Method,
                    uri: Uri,
                    headers: HeaderMap,
                    Extension(certificate): Extension<ClientCertificate>| {
            endpoint.answer(&method, &uri, &headers, &certificate).await
        };
    let app = Router::new().fallback(answer);
    let tls: Arc<dyn ServerTls> = keeper.clone();
    tokio::join!(
        listener::serve(listener, Some(tls), app, supervisor.clone()),
        supervisor.repeat(TASK, || keeper.run(), |_| {}),
        supervisor.repeat(TASK, || pod_values.sweep(), |_| {}),
    );
}
