//! The servers of the metrics APIs and of the external scaler.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    http::{HeaderMap, Method, Uri},
};
use kube::Client;
use llm_autoscaler_core::Profile;
use tokio::net::TcpListener;
use tracing::info;

use crate::{
    clock::Clock,
    http::{
        certificate::Certificate,
        listener::{self, ClientCertificate, ServerTls},
    },
    kube_api::writes::Writes,
    lease::Leases,
    metrics_api::{
        access::Access,
        catalog::Catalog,
        config::{ExternalScalerConfig, MetricsApiConfig},
        endpoint::Endpoint,
        external_scaler::ExternalScaler,
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

/// The handles that the servers need.
#[derive(Clone)]
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

/// A listener, and its configuration.
type Bound<T> = Option<(TcpListener, T)>;

/// Serves the metrics APIs and the external scaler, for the life of the process.
pub(crate) async fn serve(
    api: Bound<MetricsApiConfig>,
    external_scaler: Bound<ExternalScalerConfig>,
    handles: Handles,
) {
    let Handles { sampling, scales, catalog, steps, profile, period, .. } = handles.clone();
    let Handles { leases, clock, supervisor, .. } = handles.clone();
    let pod_values = Arc::new(PodValues::new(sampling, scales, catalog.clone(), profile));
    let recommendations = Recommendations { catalog, steps, leases, clock, period };
    let scaler = ExternalScaler::new(pod_values.clone(), recommendations.clone());
    let sweep = || pod_values.sweep();
    tokio::join!(
        serve_api(api, pod_values.clone(), recommendations, handles),
        serve_external_scaler(external_scaler, scaler, supervisor.clone()),
        supervisor.repeat(TASK, sweep, |_| {}),
    );
}

async fn serve_api(
    api: Bound<MetricsApiConfig>,
    pod_values: Arc<PodValues>,
    recommendations: Recommendations,
    handles: Handles,
) {
    let Some((listener, config)) = api else { return };
    info!(address = %config.address, service = config.service, "the metrics APIs are served");
    let Handles { client, writes, leases, clock, supervisor, .. } = handles;
    let keeper = Arc::new(Keeper::new((client.clone(), writes, leases, clock), config));
    let access = Access::new(client, clock);
    let endpoint = Arc::new(Endpoint::new(keeper.clone(), access, pod_values, recommendations));
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
    );
}

async fn serve_external_scaler(
    bound: Bound<ExternalScalerConfig>,
    scaler: ExternalScaler,
    supervisor: Supervisor,
) {
    let Some((listener, config)) = bound else { return };
    let ExternalScalerConfig { address, certificate, client_authorities } = config;
    let (tls, verifies_clients) = (certificate.is_some(), client_authorities.is_some());
    info!(%address, tls, verifies_clients, "the external scaler is served");
    let certificate =
        certificate.map(|files| Arc::new(Certificate::for_keda(files, client_authorities)));
    let watched = certificate.clone();
    let watch = async {
        if let Some(certificate) = &watched {
            certificate.watch().await;
        }
    };
    let tls = certificate.map(|certificate| certificate as Arc<dyn ServerTls>);
    let app = Router::new().fallback(async move |request| scaler.answer(request).await);
    tokio::join!(listener::serve_http2(listener, tls, app, supervisor), watch);
}
