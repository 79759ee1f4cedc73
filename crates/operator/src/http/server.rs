//! Serves liveness, readiness, the operator's own metrics, and wake calls.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use kube::Client;
use tokio::net::TcpListener;

use crate::{
    cluster::watch_health::WatchHealth,
    http::{
        wake::{AutoscalerKey, WakeCalls},
        wake_endpoint::WakeEndpoint,
    },
    telemetry::Telemetry,
};

/// The content type of the operator's own metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The watches that readiness depends on.
#[derive(Clone)]
pub(crate) struct Readiness(Vec<(&'static str, WatchHealth)>);

impl Readiness {
    /// Depends on the watches of the LLMAutoscalers and of the pods.
    pub(crate) fn new(autoscalers: WatchHealth, pods: WatchHealth) -> Self {
        Self(vec![("llmautoscalers", autoscalers), ("pods", pods)])
    }

    fn check(&self) -> (StatusCode, String) {
        match self.0.iter().find_map(|(_, watch)| watch.problem()) {
            Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
            None => (StatusCode::OK, "ok\n".to_owned()),
        }
    }

    /// Sets the ages of the watches in the operator's metrics.
    fn record_ages(&self, telemetry: &Telemetry) {
        for (kind, watch) in &self.0 {
            telemetry.set_watch_age(kind, watch.age());
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
    let ready = readiness.clone();
    let metrics = async move || {
        readiness.record_ages(&telemetry);
        ([("content-type", OPEN_METRICS)], telemetry.page())
    };
    let app = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(move || std::future::ready(ready.check())))
        .route("/metrics", get(metrics))
        .route("/wake/{namespace}/{name}", post(call));
    axum::serve(listener, app).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn an_operator_is_ready_while_its_watches_work() {
        let clock = Clock::start();
        let (autoscalers, pods) =
            (WatchHealth::new("LLMAutoscalers", clock), WatchHealth::new("pods", clock));
        let readiness = Readiness::new(autoscalers.clone(), pods.clone());
        let unavailable = |text: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n"));
        let not_there = "the list of LLMAutoscalers is not there yet";
        assert_eq!(readiness.check(), unavailable(not_there));
        autoscalers.record_listing();
        assert_eq!(readiness.check(), unavailable("the list of pods is not there yet"));
        pods.record_failure("pods is forbidden".to_owned());
        let forbidden = "the pods of the cluster cannot be watched: pods is forbidden";
        assert_eq!(readiness.check(), unavailable(forbidden));
        pods.record_listing();
        assert_eq!(readiness.check(), (StatusCode::OK, "ok\n".to_owned()));

        let telemetry = Telemetry::default();
        readiness.record_ages(&telemetry);
        let page = telemetry.page();
        for kind in ["llmautoscalers", "pods"] {
            let series = format!("llm_autoscaler_watch_age_seconds{{kind=\"{kind}\"}} 0.");
            assert!(page.contains(&series), "{page}");
        }
    }
}
