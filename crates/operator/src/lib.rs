//! Everything that touches the world: watches, samples, scale subresources, readiness gates,
//! status and events.
//!
//! ```text
//!                  reconcile   one task per LLMAutoscaler; a step: locate, observe, plan, execute
//!       ┌─────────┬────┴────┬────────────┐
//!    status     drain   ownership   pod_monitor    http
//!       └─────────┴────┬────┴────────────┴──────────┘
//!                  sampling    the other loop: scrapes pods, queries Prometheus
//!                      │
//!                cluster  scale    pods and other autoscalers; scales of targets
//!                      │
//!          telemetry  kube_api  clock  lock
//! ```
//!
//! Each folder is a phase of the step or a port to the world, and imports only from below:
//! `ownership` finds out whether a target may be written to, `observe` (a crate of its own) turns
//! pods and samples into an observation, `core` plans, `drain` and `scale` carry the plan out, and
//! `status` reports it. Sampling and deciding are two loops: a page is scraped once per interval,
//! however many autoscalers read it, and a step follows each tick and each fresh sample.
//!
//! Invariant: no arithmetic on replicas. `core` decides every number, and the step is one value of
//! it, the plan; this crate only carries it out.
//!
//! `docs/architecture.md` has a table of where an addition belongs.

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

pub use sampling::tls_hint::other_scheme;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kube::{
    Client,
    core::DeserializeGuard,
    runtime::{WatchStreamExt, watcher},
};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_core::Profile;
use tracing::info;

pub use crate::sampling::egress::{EgressRules, HostPattern, HostPatternError};

use crate::{
    clock::Clock,
    cluster::{other_autoscalers::OtherAutoscalers, pods::PodStore},
    drain::{gate_sweep, pod_gates::PodGates},
    http::{
        server::{self, Endpoints, Readiness},
        wake::WakeCalls,
    },
    kube_api::WritePermit,
    ownership::claims::Claims,
    pod_monitor::cluster_pod_monitors::ClusterPodMonitors,
    reconcile::{context::Context, controller},
    sampling::{
        credentials::CredentialStore, egress::Egress, prometheus::pool::PrometheusPool,
        scrape_pool::ScrapePool, sources::Sampling,
    },
    scale::client::ScaleClient,
    status::{events::Events, write_limiter::WriteLimiter},
    telemetry::Telemetry,
};

/// The configuration of an operator.
#[derive(Clone, Debug)]
pub struct Config {
    /// The only namespace that the operator serves; all if absent.
    pub namespace: Option<String>,
    /// The address that serves `/livez`, `/readyz`, `/metrics` and `/wake`.
    pub address: SocketAddr,
    /// The longest time between two steps of an autoscaler.
    pub period: Duration,
    /// The profile of decisions: the operator's own, or the HPA's to the bit.
    pub profile: Profile,
    /// The addresses that samples may be fetched from.
    pub egress: EgressRules,
    /// The namespaces that may have PodMonitors for pods of others.
    pub monitoring_namespaces: Vec<String>,
}

/// The reason why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address of the HTTP server is in use, or not of this machine.
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

/// Runs the operator until the future is dropped, or its HTTP server ends.
///
/// # Errors
/// See [`RunError`].
pub async fn run(config: Config, client: Client) -> Result<(), RunError> {
    let (clock, permit) = (Clock::start(), WritePermit::unlimited());
    let telemetry = Telemetry::default();
    let pods = PodStore::new(clock);
    let readiness = Readiness::new(pods.clone());
    let wake = WakeCalls::default();
    let egress = Egress::new(config.egress);
    let credentials = CredentialStore::new(client.clone(), egress).map_err(RunError::Tls)?;
    let others = OtherAutoscalers::new(client.clone(), config.namespace.clone());
    let gates = PodGates::new(client.clone(), clock, permit);
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
        monitors: ClusterPodMonitors::new(
            client.clone(),
            clock,
            config.namespace.clone(),
            config.monitoring_namespaces,
        ),
        scales: ScaleClient::new(client.clone(), clock),
        wake: wake.clone(),
        claims: Claims::default(),
        other_autoscalers: others.clone(),
        gates: gates.clone(),
        events: Events::new(client.clone()),
        limiter: WriteLimiter::default(),
        telemetry: telemetry.clone(),
        permit,
        period: config.period,
        profile: config.profile,
    });
    let Config { namespace, address, profile, .. } = config;
    let scope = namespace.as_deref();
    let autoscalers = kube_api::scoped::<DeserializeGuard<LLMAutoscaler>>(&client, scope);
    let autoscalers = watcher(autoscalers, watcher::Config::default()).default_backoff();
    let all_pods = kube_api::scoped(&client, scope);
    let all_pods = watcher(all_pods, watcher::Config::default()).default_backoff();
    let endpoints = Endpoints { readiness: readiness.clone(), telemetry, wake, client };
    info!(%address, namespace, ?profile, "running");
    tokio::select! {
        () = cluster::pods::watch(pods.clone(), all_pods) => Ok(()),
        () = others.watch() => Ok(()),
        () = gate_sweep::run(gates, pods, clock) => Ok(()),
        () = controller::watch(context, readiness, autoscalers) => Ok(()),
        result = server::serve(address, endpoints) => {
            result.map_err(|source| RunError::Serve { address, source })
        }
    }
}
