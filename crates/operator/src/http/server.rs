//! Serves liveness, readiness, the operator's own metrics, and wake calls.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use kube::Client;
use tokio::net::TcpListener;

use crate::{
    cluster::pods::PodStore,
    http::{
        wake::{AutoscalerKey, WakeCalls},
        wake_endpoint::WakeEndpoint,
    },
    telemetry::Telemetry,
};

/// The content type of the operator's own metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The facts that readiness depends on: the autoscalers are listed, and the pods are watched.
#[derive(Clone)]
pub(crate) struct Readiness {
    autoscalers: Arc<AtomicBool>,
    pods: PodStore,
}

impl Readiness {
    /// Waits for the autoscalers and for this store.
    pub(crate) fn new(pods: PodStore) -> Self {
        Self { autoscalers: Arc::default(), pods }
    }

    /// Records that the autoscalers are listed.
    pub(crate) fn record_autoscaler_listing(&self) {
        self.autoscalers.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> (StatusCode, String) {
        let problem = if self.autoscalers.load(Ordering::Relaxed) {
            self.pods.problem()
        } else {
            Some("waiting for the list of LLMAutoscalers".to_owned())
        };
        match problem {
            Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
            None => (StatusCode::OK, "ok\n".to_owned()),
        }
    }
}

/// The sources of the server's answers.
pub(crate) struct Endpoints {
    /// Answers `/readyz`.
    pub readiness: Readiness,
    /// Answers `/metrics`.
    pub telemetry: Telemetry,
    /// Receives the calls of `/wake`.
    pub wake: WakeCalls,
    /// Authenticates the callers of `/wake`.
    pub client: Client,
}

/// Serves `/livez`, `/readyz`, `/metrics` and `/wake/NAMESPACE/NAME`, for the life of the process.
///
/// # Errors
/// The address cannot be listened on.
pub(crate) async fn serve(address: SocketAddr, endpoints: Endpoints) -> std::io::Result<()> {
    let Endpoints { readiness, telemetry, wake, client } = endpoints;
    let listener = TcpListener::bind(address).await?;
    let wake = WakeEndpoint::new(client, wake);
    let call = async move |Path((namespace, name)): Path<(String, String)>, headers: HeaderMap| {
        wake.answer(&AutoscalerKey { namespace, name }, &headers).await
    };
    let content_type = [("content-type", OPEN_METRICS)];
    let app = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(move || std::future::ready(readiness.check())))
        .route("/metrics", get(move || std::future::ready((content_type, telemetry.page()))))
        .route("/wake/{namespace}/{name}", post(call));
    axum::serve(listener, app).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn an_operator_is_not_ready_before_its_listings() {
        let readiness = Readiness::new(PodStore::new(Clock::start()));
        let unavailable = |text: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n"));
        assert_eq!(readiness.check(), unavailable("waiting for the list of LLMAutoscalers"));
        readiness.record_autoscaler_listing();
        assert_eq!(readiness.check(), unavailable("the list of pods is not there yet"));
    }
}
