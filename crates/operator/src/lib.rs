//! Everything that touches the world: watches, sampling, scale subresources, status, events.
//!
//! ```text
//! controller ── one task per LLMAutoscaler ──> autoscaler: observe ─> core::decide ─> target ─> report
//! pods       ── one watch, many views ──────────────────────┘             sampler ── one task per page
//! ```
//!
//! Sampling and deciding are two loops. A page is read once per interval, whoever looks at it (`sampler`); a
//! decision is made on a tick, and at once when a fresh sample is there (`autoscaler`).
//!
//! Invariant: no arithmetic on replicas; whatever a number becomes, `core` has decided.

mod clock;
mod cluster;
mod drain;
mod http;
mod kube_api;
mod ownership;
mod pod_monitor;
mod reconcile;
mod sampling;
mod scale;
mod status;
mod telemetry;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kube::{
    Client,
    core::DeserializeGuard,
    runtime::{WatchStreamExt, watcher},
};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_core::Profile;
use tracing::info;

/// How the operator runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The only namespace that is looked at; all if absent.
    pub namespace: Option<String>,
    /// Where `/livez`, `/readyz` and `/metrics` are served.
    pub address: SocketAddr,
    /// How often an autoscaler decides at least.
    pub period: Duration,
    /// Whether decisions are the HPA's to the bit.
    pub profile: Profile,
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address of the health endpoints is taken, or not ours.
    #[error("cannot serve health and metrics on {address}: {source}")]
    Serve {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The TLS library could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// Runs until the future is dropped, or its health endpoints cannot be served.
///
/// # Errors
/// See [`RunError`].
pub async fn run(config: Config, client: Client) -> Result<(), RunError> {
    let telemetry = telemetry::Telemetry::default();
    let pods = cluster::pods::PodStore::default();
    let readiness = http::server::Readiness::new(pods.clone());
    let calls = http::wake::Calls::default();
    let gate = sampling::credentials::Gate::new(client.clone()).map_err(RunError::Tls)?;
    let drivers =
        cluster::other_autoscalers::Drivers::new(client.clone(), config.namespace.clone());
    let in_service = drain::pod_gates::InService::new(client.clone());
    let context = Arc::new(reconcile::context::Context {
        client: client.clone(),
        pods: pods.clone(),
        sampler: sampling::scrape_pool::Sampler::new(gate.clone(), telemetry.clone()),
        servers: sampling::prometheus::Servers::new(gate, telemetry.clone()),
        monitors: pod_monitor::cluster_pod_monitors::Monitors::new(
            client.clone(),
            config.namespace.clone(),
        ),
        targets: scale::client::Targets::new(client.clone()),
        calls: calls.clone(),
        claims: ownership::claims::Claims::default(),
        drivers: drivers.clone(),
        in_service: in_service.clone(),
        events: status::events::Events::new(client.clone()),
        lane: status::write_limiter::Lane::default(),
        telemetry: telemetry.clone(),
        period: config.period,
        profile: config.profile,
    });
    let autoscalers =
        kube_api::scoped::<DeserializeGuard<LLMAutoscaler>>(&client, config.namespace.as_deref());
    let autoscalers = watcher(autoscalers, watcher::Config::default()).default_backoff();
    let all_pods =
        watcher(kube_api::scoped(&client, config.namespace.as_deref()), watcher::Config::default())
            .default_backoff();
    info!(address = %config.address, namespace = config.namespace, profile = ?config.profile, "running");
    tokio::select! {
        () = cluster::pods::follow(pods.clone(), all_pods) => Ok(()),
        () = drivers.follow() => Ok(()),
        () = drain::pod_gates::sweep(in_service, pods) => Ok(()),
        () = reconcile::controller::follow(context, readiness.clone(), autoscalers) => Ok(()),
        result = http::server::serve(config.address, readiness, telemetry, (client.clone(), calls)) => {
            result.map_err(|source| RunError::Serve { address: config.address, source })
        }
    }
}
