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

mod access;
mod advice;
mod announce;
mod autoscaler;
mod births;
mod calls;
mod connection;
mod context;
mod controller;
mod drain;
mod drivers;
mod events;
mod http;
mod in_service;
mod lane;
mod monitors;
mod observe;
mod owners;
mod pages;
mod pod_monitor;
mod pods;
mod probe;
mod prometheus;
mod replicas;
mod report;
mod restraint;
mod rhythm;
mod sampler;
mod scrape;
mod server;
mod sizes;
mod sources;
mod target;
mod telemetry;
mod tls;
mod tracked;
mod writer;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kube::{
    Api, Client,
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
    let pods = pods::PodStore::default();
    let readiness = server::Readiness::new(pods.clone());
    let calls = calls::Calls::default();
    let gate = access::Gate::new(client.clone()).map_err(RunError::Tls)?;
    let drivers = drivers::Drivers::new(client.clone(), config.namespace.clone());
    let in_service = in_service::InService::new(client.clone());
    let context = Arc::new(context::Context {
        client: client.clone(),
        pods: pods.clone(),
        sampler: sampler::Sampler::new(gate.clone(), telemetry.clone()),
        servers: prometheus::Servers::new(gate, telemetry.clone()),
        monitors: monitors::Monitors::new(client.clone(), config.namespace.clone()),
        targets: target::Targets::new(client.clone()),
        calls: calls.clone(),
        claims: owners::Claims::default(),
        drivers: drivers.clone(),
        in_service: in_service.clone(),
        events: events::Events::new(client.clone()),
        lane: lane::Lane::default(),
        telemetry: telemetry.clone(),
        period: config.period,
        profile: config.profile,
    });
    let autoscalers = api::<DeserializeGuard<LLMAutoscaler>>(&client, config.namespace.as_deref());
    let autoscalers = watcher(autoscalers, watcher::Config::default()).default_backoff();
    let all_pods = watcher(api(&client, config.namespace.as_deref()), watcher::Config::default())
        .default_backoff();
    info!(address = %config.address, namespace = config.namespace, profile = ?config.profile, "running");
    tokio::select! {
        () = pods::follow(pods.clone(), all_pods) => Ok(()),
        () = drivers.follow() => Ok(()),
        () = in_service::sweep(in_service, pods) => Ok(()),
        () = controller::follow(context, readiness.clone(), autoscalers) => Ok(()),
        result = server::serve(config.address, readiness, telemetry, (client.clone(), calls)) => {
            result.map_err(|source| RunError::Serve { address: config.address, source })
        }
    }
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
