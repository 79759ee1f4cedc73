//! Liveness, readiness and the operator's own metrics over HTTP.

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

use crate::{cluster::pods::PodStore, http::wake::WakeCalls, telemetry::Telemetry};

/// What readiness depends on.
#[derive(Clone)]
pub struct Readiness {
    autoscalers: Arc<AtomicBool>,
    pods: PodStore,
}

impl Readiness {
    /// Ready once this store and the autoscalers are listed.
    pub fn new(pods: PodStore) -> Self {
        Self { autoscalers: Arc::default(), pods }
    }

    /// The autoscalers are listed.
    pub fn autoscalers_listed(&self) {
        self.autoscalers.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> (StatusCode, String) {
        if !self.autoscalers.load(Ordering::Relaxed) {
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                "waiting for the list of LLMAutoscalers\n".to_owned(),
            );
        }
        match self.pods.problem() {
            Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
            None => (StatusCode::OK, "ok\n".to_owned()),
        }
    }
}

/// Serves `/livez`, `/readyz`, `/metrics` and `/wake/NAMESPACE/NAME`, for ever.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    readiness: Readiness,
    telemetry: Telemetry,
    (client, calls): (Client, WakeCalls),
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let wake = async move |Path((namespace, name)): Path<(String, String)>, headers: HeaderMap| {
        calls.answer(&client, (&namespace, &name), &headers).await
    };
    let content_type =
        [("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    let app = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(move || std::future::ready(readiness.check())))
        .route("/metrics", get(move || std::future::ready((content_type, telemetry.page()))))
        .route("/wake/{namespace}/{name}", post(wake));
    axum::serve(listener, app).await
}
