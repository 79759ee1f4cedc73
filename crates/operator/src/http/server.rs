//! The operator's servers: liveness, readiness and its own metrics on one address, and wake calls
//! on another, because other clients are to reach them.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Extension, Router,
    extract::Path,
    http::{HeaderMap, StatusCode, header::ACCEPT},
    routing::{get, post},
};
use tokio::{net::TcpListener, runtime::Handle, sync::oneshot};

use crate::{
    clock::Clock,
    cluster::watch_health::WatchHealth,
    http::{
        certificate::{Certificate, CertificateFiles},
        heartbeat::Heartbeat,
        listener::{self, Peer, ServerTls},
        wake::{AutoscalerKey, WakeCalls},
        wake_endpoint::WakeEndpoint,
        wake_record::WakeRecord,
    },
    sampling::scrape_pool::ScrapePool,
    supervise::Supervisor,
    telemetry::{PageFormat, Telemetry},
};

/// The media type that a client asks for OpenMetrics by.
const OPEN_METRICS: &str = "application/openmetrics-text";

/// Returns the format of the metrics page that a client accepts, and its content type.
fn negotiate(headers: &HeaderMap) -> (PageFormat, &'static str) {
    let accepted = headers.get_all(ACCEPT).iter();
    if accepted.filter_map(|accept| accept.to_str().ok()).any(|it| it.contains(OPEN_METRICS)) {
        let type_ = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        (PageFormat::OpenMetrics, type_)
    } else {
        (PageFormat::Text, "text/plain; version=0.0.4; charset=utf-8")
    }
}

/// The watches that readiness depends on.
#[derive(Clone)]
pub(crate) struct Readiness(Vec<(&'static str, WatchHealth)>);

impl Readiness {
    /// Depends on the watches of the LLMAutoscalers and of the pods.
    pub(crate) fn new(autoscalers: WatchHealth, pods: WatchHealth) -> Self {
        Self(vec![("llmautoscalers", autoscalers), ("pods", pods)])
    }

    fn check(&self) -> (StatusCode, String) {
        answer(self.0.iter().find_map(|(_, watch)| watch.problem()))
    }

    /// Sets the ages of the watches in the operator's metrics.
    fn record_ages(&self, telemetry: &Telemetry) {
        for (kind, watch) in &self.0 {
            telemetry.set_watch_age(kind, watch.age());
        }
    }
}

/// The sources of the answers about health.
#[derive(Clone)]
pub(crate) struct Health {
    /// Answers `/livez`.
    pub heartbeat: Heartbeat,
    /// Answers `/readyz`.
    pub readiness: Readiness,
    /// Answers `/metrics`.
    pub telemetry: Telemetry,
    /// Counts the pages for `/metrics`.
    pub scrape_pool: ScrapePool,
    /// The runtime of the operator's tasks, which counts them for `/metrics`.
    pub runtime: Handle,
    /// Catches the panics of connections.
    pub supervisor: Supervisor,
}

impl Health {
    fn alive(&self) -> (StatusCode, String) {
        answer(self.heartbeat.problem())
    }

    fn page(&self, headers: &HeaderMap) -> ([(&'static str, &'static str); 1], String) {
        self.readiness.record_ages(&self.telemetry);
        self.telemetry.set_pages(self.scrape_pool.page_count());
        self.telemetry.set_tasks(self.runtime.metrics().num_alive_tasks());
        let (format, type_) = negotiate(headers);
        ([("content-type", type_)], self.telemetry.page(format))
    }
}

fn answer(problem: Option<String>) -> (StatusCode, String) {
    match problem {
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
        None => (StatusCode::OK, "ok\n".to_owned()),
    }
}

/// Serves `/livez`, `/readyz` and `/metrics` on a listener, until the sender of `end` is dropped.
/// The thread and its runtime are the server's own, so that it answers whatever the others do.
///
/// # Errors
/// There is no further thread to be had.
pub(crate) fn serve_health(
    listener: std::net::TcpListener,
    health: Health,
    end: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _entered = runtime.enter();
        TcpListener::from_std(listener)?
    };
    let supervisor = health.supervisor.clone();
    let (alive, ready, page) = (health.clone(), health.readiness.clone(), health);
    let app = Router::new()
        .route("/livez", get(async move || alive.alive()))
        .route("/readyz", get(async move || ready.check()))
        .route("/metrics", get(async move |headers: HeaderMap| page.page(&headers)));
    let serve = async move {
        tokio::select! {
            () = listener::serve(listener, None, app, supervisor) => {}
            _ = end => {}
        }
    };
    std::thread::Builder::new()
        .name("health".to_owned())
        .spawn(move || runtime.block_on(serve))
        .map(drop)
}

/// The configuration of wake calls.
#[derive(Clone, Debug)]
pub struct WakeConfig {
    /// The address that serves `/wake`.
    pub address: SocketAddr,
    /// The certificate; `None` serves plain HTTP, over which tokens can be read.
    pub certificate: Option<CertificateFiles>,
    /// The audience that tokens must be for; `None` means the API server's own.
    pub audience: Option<String>,
}

/// Serves `/wake/NAMESPACE/NAME` on a listener, for the life of the process.
pub(crate) async fn serve_wake(
    listener: TcpListener,
    config: WakeConfig,
    (record, calls): (WakeRecord, WakeCalls),
    clock: Clock,
    supervisor: Supervisor,
) {
    let wake = WakeEndpoint::new(record, calls, config.audience, clock);
    let call = async move |Path((namespace, name)): Path<(String, String)>,
                           Extension(peer): Extension<Peer>,
                           headers: HeaderMap| {
        wake.answer(&AutoscalerKey { namespace, name }, &headers, peer).await
    };
    let app = Router::new().route("/wake/{namespace}/{name}", post(call));
    let certificate = config.certificate.map(|files| Arc::new(Certificate::new(files)));
    let watched = certificate.clone();
    let watch = async {
        match &watched {
            Some(certificate) => certificate.watch().await,
            None => std::future::pending().await,
        }
    };
    let tls = certificate.map(|certificate| certificate as Arc<dyn ServerTls>);
    tokio::join!(listener::serve(listener, tls, app, supervisor), watch);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_format_that_the_client_accepts() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.3";
        // the header, the format
        let table = [
            (None, PageFormat::Text),
            (Some("*/*"), PageFormat::Text),
            (Some("text/plain;version=0.0.4"), PageFormat::Text),
            (Some(prometheus), PageFormat::OpenMetrics),
        ];
        for (accept, expected) in table {
            let accept = accept.map(|accept| (ACCEPT, accept.parse().unwrap()));
            let (format, type_) = negotiate(&accept.into_iter().collect());
            assert_eq!(format, expected);
            assert_eq!(type_.starts_with(OPEN_METRICS), format == PageFormat::OpenMetrics);
        }
    }

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
        let page = telemetry.open_metrics();
        for kind in ["llmautoscalers", "pods"] {
            let series = format!("llm_autoscaler_watch_age_seconds{{kind=\"{kind}\"}} 0.");
            assert!(page.contains(&series), "{page}");
        }
    }
}
