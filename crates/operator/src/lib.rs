//! Everything that touches the world: watches, sampling, scale subresources, status, events.
//!
//! ```text
//! controller ── one task per LLMAutoscaler ──> autoscaler: observe ─> core::decide ─> target ─> report
//! pods       ── one watch, many views ──────────────────────┘             sampler ── one task per page
//! ```
//!
//! Sampling and deciding are two loops. A page is read once per interval, whoever looks at it
//! (`sampler`); a decision is made on a tick, and at once when a fresh sample is there
//! (`autoscaler`).
//!
//! Invariant: no arithmetic on replicas; whatever a number becomes, `core` has decided.

mod clock;
mod cluster;
mod drain;
mod http;
mod kube_api;
mod lock;
mod ownership;
mod pod_monitor;
mod reconcile;
#[expect(clippy::disallowed_methods, reason = "the loops of sampling have schedules of their own")]
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

use crate::{
    clock::Clock,
    cluster::{other_autoscalers::OtherAutoscalers, pods::PodStore},
    drain::pod_gates::PodGates,
    http::{
        server::{self, Readiness},
        wake::WakeCalls,
    },
    kube_api::WritePermit,
    ownership::claims::Claims,
    pod_monitor::cluster_pod_monitors::Monitors,
    reconcile::{context::Context, controller},
    sampling::{
        credentials::CredentialStore, prometheus::pool::PrometheusPool, scrape_pool::ScrapePool,
        sources::Sampling,
    },
    scale::client::Targets,
    status::{events::Events, write_limiter::WriteLimiter},
    telemetry::Telemetry,
};

/// How the operator runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The only namespace that is looked at; all if absent.
    pub namespace: Option<String>,
    /// Where `/livez`, `/readyz` and `/metrics` are served.
    pub address: SocketAddr,
    /// How often an autoscaler decides at least.
    pub period: Duration,
    /// The rules of decisions: the HPA's to the bit, or with deviations.
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
        /// The error of the operating system.
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
    let clock = Clock::start();
    let telemetry = Telemetry::default();
    let pods = PodStore::new(clock);
    let readiness = Readiness::new(pods.clone());
    let wake = WakeCalls::default();
    let credentials = CredentialStore::new(client.clone()).map_err(RunError::Tls)?;
    let others = OtherAutoscalers::new(client.clone(), config.namespace.clone());
    let gates = PodGates::new(client.clone(), clock);
    let sampling = Sampling {
        scrape_pool: ScrapePool::new(credentials.clone(), telemetry.clone(), clock),
        prometheus_pool: PrometheusPool::new(credentials, telemetry.clone(), clock),
        pods: pods.clone(),
        clock,
    };
    let context = Arc::new(Context {
        client: client.clone(),
        clock,
        sampling,
        monitors: Monitors::new(client.clone(), clock, config.namespace.clone()),
        targets: Targets::new(client.clone(), clock),
        wake: wake.clone(),
        claims: Claims::default(),
        other_autoscalers: others.clone(),
        gates: gates.clone(),
        events: Events::new(client.clone()),
        limiter: WriteLimiter::default(),
        telemetry: telemetry.clone(),
        permit: WritePermit::unlimited(),
        period: config.period,
        profile: config.profile,
    });
    let autoscalers =
        kube_api::scoped::<DeserializeGuard<LLMAutoscaler>>(&client, config.namespace.as_deref());
    let autoscalers = watcher(autoscalers, watcher::Config::default()).default_backoff();
    let all_pods = kube_api::scoped(&client, config.namespace.as_deref());
    let all_pods = watcher(all_pods, watcher::Config::default()).default_backoff();
    info!(address = %config.address, namespace = config.namespace, profile = ?config.profile, "running");
    tokio::select! {
        () = cluster::pods::watch(pods.clone(), all_pods) => Ok(()),
        () = others.watch() => Ok(()),
        () = drain::sweep(gates, pods, clock) => Ok(()),
        () = controller::watch(context, readiness.clone(), autoscalers) => Ok(()),
        result = server::serve(config.address, readiness, telemetry, (client.clone(), wake)) => {
            result.map_err(|source| RunError::Serve { address: config.address, source })
        }
    }
}
