//! Everything that touches the world: watches, samples, scale subresources, readiness gates,
//! status and events.
//!
//! ```text
//!                  reconcile   one task per LLMAutoscaler; a step: locate, observe, plan, execute
//!       ┌─────────┬────┴────┬────────────┐
//!    status     drain   ownership   pod_monitor    metrics_api, http
//!       └─────────┴────┬────┴────────────┴──────────┘
//!                  sampling    the other loop: scrapes pods, queries Prometheus
//!                      │
//!                cluster  scale    pods and other autoscalers; scales of targets
//!                      │
//!                    lease          which copy of the operator serves which namespaces
//!                      │
//!    supervise  kube_api  telemetry  spans  user_agent  backoff  lanes  pace  clock  latest  lock
//! ```
//!
//! Each folder is a phase of the step or a port to the world, and imports only from below:
//! `ownership` finds out whether a target may be written to, `observe` (a crate of its own) turns
//! pods and samples into an observation, `core` plans, `drain` and `scale` carry the plan out, and
//! `status` reports it. Sampling and deciding are two loops: a page is scraped once per interval,
//! however many autoscalers read it, and a step follows each tick and fresh samples.
//!
//! Invariant: no arithmetic on replicas. `core` decides every number, and the step is one value of
//! it, the plan; this crate only carries it out. `docs/architecture.md` has a table of where an
//! addition belongs.

mod backoff;
mod clock;
mod cluster;
mod drain;
mod http;
mod kube_api;
mod lanes;
mod latest;
mod lease;
mod lock;
mod metrics_api;
mod ownership;
mod pace;
mod pod_monitor;
mod reconcile;
#[expect(clippy::disallowed_methods, reason = "the loops of sampling have schedules of their own")]
mod sampling;
mod scale;
mod schema;
mod spans;
mod status;
mod supervise;
mod telemetry;
mod user_agent;

pub use sampling::tls_hint::{other_scheme, refuses_certificate};

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kube::{Client, core::DeserializeGuard};
use llm_autoscaler_api::{GpuResources, LLMAutoscaler};
use llm_autoscaler_core::Profile;
use tokio::{net::TcpListener, runtime::Handle, sync::oneshot};
use tracing::info;

pub use crate::http::{certificate::CertificateFiles, server::WakeConfig};
pub use crate::metrics_api::config::{ExternalScalerConfig, MetricsApiConfig, MetricsConfig};
pub use crate::sampling::egress::{EgressRules, HostPattern, HostPatternError};
pub use crate::sampling::providers::rules::{CheckedRule, CredentialRule, RuleError};
use crate::{
    clock::Clock,
    cluster::{
        other_autoscalers::OtherAutoscalers,
        pod_listings,
        pods::PodStore,
        resource_claims::ResourceClaims,
        watch::{self, Watch},
        watch_health::WatchHealth,
        watched_versions::WatchedVersions,
    },
    drain::{gate_sweep, pod_gates::PodGates},
    http::{
        heartbeat::Heartbeat,
        listener,
        server::{self, Health, Readiness},
        wake::WakeCalls,
        wake_record::WakeRecord,
    },
    kube_api::{reads::Reads, writes::Writes},
    lanes::Lanes,
    lease::Leases,
    metrics_api::{catalog::Catalog, recommendations::LatestSteps},
    ownership::{claims::Claims, owner_references},
    pace::NamespacePace,
    pod_monitor::{cluster_pod_monitors::ClusterPodMonitors, object::PodMonitorWriter},
    reconcile::{context::Context, controller},
    sampling::{
        credentials::CredentialStore, egress::Egress, memory::MemoryBudget,
        prometheus::pool::PrometheusPool, providers::Providers, scrape_pool::ScrapePool,
        sources::Sampling,
    },
    scale::client::ScaleClient,
    schema::InstalledSchema,
    status::{events::Events, write_limiter::WriteLimiter, writer::StatusClient},
    supervise::Supervisor,
    telemetry::{Detail, Telemetry},
    user_agent::VERSION,
};
pub use crate::{lease::LeaseConfig, spans::TARGET as SPAN_TARGET, user_agent::Component};

/// The longest time for which the listing of pods waits for that of the autoscalers.
const HEAD_START: Duration = Duration::from_secs(5);
/// The time for the answers to writes that are under way at the end.
const LAST_WRITES: Duration = Duration::from_secs(1);
/// The time for giving the Leases away at the end.
const RELEASE: Duration = Duration::from_secs(2);

/// The configuration of an operator.
#[derive(Clone, Debug)]
pub struct Config {
    /// The commit that the binary was built from, for the metric `llm_autoscaler_build_info`.
    pub revision: &'static str,
    /// The only namespace that the operator serves; all if absent.
    pub namespace: Option<String>,
    /// The address that serves `/livez`, `/readyz` and `/metrics`.
    pub health_address: SocketAddr,
    /// The configuration of wake calls; `None` if none are served.
    pub wake: Option<WakeConfig>,
    /// The servers for other autoscalers.
    pub metrics: MetricsConfig,
    /// The election among the copies of the operator; `None` if this one is alone.
    pub lease: Option<LeaseConfig>,
    /// The longest time between two steps of an autoscaler.
    pub period: Duration,
    /// The profile of decisions: the operator's own, or the HPA's to the bit.
    pub profile: Profile,
    /// The addresses that samples may be fetched from.
    pub egress: EgressRules,
    /// The credentials that the operator's owner has for sources.
    pub source_credentials: Vec<CheckedRule>,
    /// The number of autoscalers that are served in one namespace, the oldest ones first.
    pub most_autoscalers: usize,
    /// The memory for pages, answers and what is kept of them, in bytes. A namespace has a share.
    pub memory_budget: usize,
    /// The namespaces that may have PodMonitors for pods of others.
    pub monitoring_namespaces: Vec<String>,
    /// The resources of pods that count as GPUs in the bill.
    pub gpu_resources: GpuResources,
    /// True if each autoscaler has series of its own among the operator's metrics.
    pub autoscaler_metrics: bool,
}

#[cfg(test)]
impl Config {
    /// Returns the configuration of an operator without election and wake calls, which may call
    /// loopback addresses.
    fn of_tests() -> Self {
        Self {
            revision: "unknown",
            namespace: None,
            health_address: ([127, 0, 0, 1], 0).into(),
            wake: None,
            metrics: MetricsConfig::default(),
            lease: None,
            period: Duration::from_secs(15),
            profile: Profile::Default,
            egress: EgressRules { loopback: true, ..EgressRules::default() },
            source_credentials: Vec::new(),
            most_autoscalers: 1,
            memory_budget: 1 << 24,
            monitoring_namespaces: Vec::new(),
            gpu_resources: GpuResources::default(),
            autoscaler_metrics: false,
        }
    }
}

/// The reason why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address to serve on is in use, or not of this machine.
    #[error("cannot serve {what} on {address}: {source}")]
    Serve {
        /// The requests that come there.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The configuration of the cluster cannot be used.
    #[error("cannot make a client of the API server: {0}")]
    Client(#[from] kube::Error),
    /// The TLS library could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// Returns what all autoscalers of an operator share.
///
/// `client` tries again by itself where the API server is busy, and `watching` does not.
fn context(config: &Config, client: &Client, watching: &Client) -> Result<Context, RunError> {
    let clock = Clock::start();
    let detail = if config.autoscaler_metrics { Detail::EachAutoscaler } else { Detail::Totals };
    let telemetry = Telemetry::new(detail);
    let writes = Writes::new(clock, telemetry.clone());
    telemetry.record_build(VERSION, config.revision);
    let leases = match config.lease.clone() {
        Some(lease) => Leases::elect(watching.clone(), lease, clock, telemetry.clone()),
        None => Leases::solo(),
    };
    let supervisor = Supervisor::new(telemetry.clone(), clock);
    let memory = MemoryBudget::new(config.memory_budget, telemetry.clone());
    let rules = config.source_credentials.clone();
    let providers = Providers::new(rules, &config.egress, &supervisor).map_err(RunError::Tls)?;
    let credentials = CredentialStore::new(client.clone(), Egress::new(config.egress.clone()));
    let credentials = credentials.map_err(RunError::Tls)?.with_providers(providers);
    supervisor.spawn("credentials", credentials.clone().sweep());
    let (namespace, memory) = (|| config.namespace.clone(), || memory.clone());
    let handles = || (client.clone(), writes.clone(), leases.clone(), supervisor.clone());
    let (pods, reads) = (PodStore::new(clock), Reads::default());
    let (calls, reports) = ((reads.clone(), writes.clone()), WriteLimiter::new(reads.clone()));
    let watched = (watching.clone(), owner_references::is_plain as fn(&_) -> bool);
    let versions = WatchedVersions::new(watched, namespace(), clock, supervisor.clone());
    let schema = InstalledSchema::new(watching.clone(), telemetry.clone());
    Ok(Context {
        sampling: Sampling {
            scrape_pool: ScrapePool::new(credentials.clone(), telemetry.clone(), clock, memory()),
            prometheus_pool: PrometheusPool::new(credentials, telemetry.clone(), clock, memory()),
            pods: pods.clone(),
            clock,
        },
        autoscalers: WatchHealth::new("LLMAutoscalers", clock),
        monitors: Arc::new(ClusterPodMonitors::new(
            client.clone(),
            clock,
            namespace(),
            config.monitoring_namespaces.clone(),
        )),
        pod_monitors: Arc::new(pod_monitor_writer(handles(), (versions.clone(), reads))),
        scales: Arc::new(ScaleClient::new(client.clone(), versions, clock, calls)),
        catalog: Catalog::default(),
        latest_steps: LatestSteps::default(),
        size_pace: NamespacePace::new(pace::SIZES),
        wake: WakeCalls::default(),
        claims: Claims::default(),
        other_autoscalers: OtherAutoscalers::new(client.clone(), namespace()),
        resource_claims: ResourceClaims::new(client.clone(), clock, config.gpu_resources.clone()),
        gates: PodGates::new(pods, handles()),
        events: Arc::new(Events::new(handles())),
        status: Arc::new(status_client(handles(), (reports, schema.clone()), &telemetry, clock)),
        schema,
        client: client.clone(),
        clock,
        telemetry,
        supervisor,
        writes,
        leases,
        turns: Lanes::of_half_the_threads(),
        most_autoscalers: config.most_autoscalers,
        gpu_resources: config.gpu_resources.clone(),
        period: config.period,
        profile: config.profile,
    })
}

/// The handles of those that write.
type Handles = (Client, Writes, Leases, Supervisor);

fn pod_monitor_writer(
    (client, writes, leases, supervisor): Handles,
    (versions, reads): (WatchedVersions, Reads),
) -> PodMonitorWriter {
    PodMonitorWriter { client, writes, leases, supervisor, versions, reads }
}

fn status_client(
    (client, writes, leases, supervisor): Handles,
    (limiter, schema): (WriteLimiter, InstalledSchema),
    telemetry: &Telemetry,
    clock: Clock,
) -> StatusClient {
    let telemetry = telemetry.clone();
    StatusClient { client, clock, telemetry, limiter, writes, leases, schema, supervisor }
}

/// Runs the operator until `terminated` returns. Then no further write begins, the Leases are given
/// away, and another copy takes over at once.
///
/// # Errors
/// See [`RunError`].
pub async fn run(
    mut config: Config,
    mut cluster: kube::Config,
    terminated: impl Future<Output = ()>,
) -> Result<(), RunError> {
    supervise::log_places();
    config.lease = config.lease.map(LeaseConfig::of_this_start);
    let identity = config.lease.as_ref().map(|lease| &*lease.identity);
    user_agent::introduce_operator(&mut cluster, identity);
    let client = Client::try_from(cluster.clone())?;
    // The watches have a back-off of their own.
    cluster.default_retry = false;
    let watching = Client::try_from(cluster)?;
    let context = Arc::new(context(&config, &client, &watching)?);
    let Config { revision, namespace, health_address, wake, metrics, .. } = config;
    let (profile, lease) = (config.profile, config.lease);
    // The thread of health ends with this future.
    let _health = serve_health(health_address, &context).await?;
    let identity = lease.map(|lease| lease.identity);
    let version = VERSION;
    info!(version, revision, address = %health_address, namespace, ?profile, identity, "running");
    let quiet = async {
        terminated.await;
        context.writes.close();
        context.writes.idle(LAST_WRITES).await
    };
    tokio::select! {
        () = watch_all(&context, &watching, namespace.as_deref()) => Ok(()),
        result = serve_wake(wake, &context) => result,
        result = Box::pin(serve_metrics(metrics, &context)) => result,
        is_quiet = quiet => {
            // The API server may still carry out a write without an answer, so its Lease runs out
            // by itself then.
            if is_quiet {
                let _ = tokio::time::timeout(RELEASE, context.leases.release()).await;
            } else {
                context.leases.end();
            }
            Ok(())
        }
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    let listener = listener::bind(address).await;
    listener.map_err(|source| RunError::Serve { what, address, source })
}

async fn serve_health(
    address: SocketAddr,
    context: &Context,
) -> Result<oneshot::Sender<()>, RunError> {
    let (what, supervisor) = ("health and metrics", context.supervisor.clone());
    let pods = context.sampling.pods.health().clone();
    let health = Health {
        heartbeat: Heartbeat::start(context.clock, &supervisor),
        readiness: Readiness::new(context.autoscalers.clone(), pods),
        telemetry: context.telemetry.clone(),
        scrape_pool: context.sampling.scrape_pool.clone(),
        runtime: Handle::current(),
        supervisor,
    };
    let (sender, end) = oneshot::channel();
    let listener = listen(what, address).await?;
    let served =
        listener.into_std().and_then(|listener| server::serve_health(listener, health, end));
    served.map(|()| sender).map_err(|source| RunError::Serve { what, address, source })
}

/// Serves wake calls, for the life of the process.
async fn serve_wake(wake: Option<WakeConfig>, context: &Context) -> Result<(), RunError> {
    let Some(wake) = wake else {
        info!("wake calls are not served: see --wake-tls-cert-file and --wake-plain-http");
        return std::future::pending().await;
    };
    let listener = listen("wake calls", wake.address).await?;
    info!(address = %wake.address, is_plain = wake.certificate.is_none(), "wake calls are served");
    let record = WakeRecord { client: context.client.clone(), writes: context.writes.clone() };
    let calls = (record, context.wake.clone());
    server::serve_wake(listener, wake, calls, context.clock, context.supervisor.clone()).await;
    Ok(())
}

/// Serves other autoscalers, for the life of the process.
async fn serve_metrics(config: MetricsConfig, context: &Context) -> Result<(), RunError> {
    let (mut api, mut scaler) = (None, None);
    if let Some(config) = config.api {
        api = Some((listen("the metrics APIs", config.address).await?, config));
    }
    if let Some(config) = config.external_scaler {
        scaler = Some((listen("the external scaler", config.address).await?, config));
    }
    metrics_api::server::serve(api, scaler, context.metrics_api()).await;
    std::future::pending().await
}

/// Runs the watches, for the life of the process. One that panics begins again with a listing.
async fn watch_all(context: &Arc<Context>, client: &Client, namespace: Option<&str>) {
    let Context { supervisor, clock, autoscalers, gates, leases, .. } = &**context;
    let store = &context.sampling.pods;
    let pods = || async {
        // The namespaces of all autoscalers are followed by then, and one listing has them all.
        let _ = tokio::time::timeout(HEAD_START, autoscalers.listed()).await;
        let api = kube_api::scoped(client, namespace);
        let health = store.health().clone();
        let watch = Watch::new(api, health, *clock, supervisor.clone());
        cluster::pods::watch(store.clone(), watch).await;
    };
    let listings = || pod_listings::run(store.clone(), client.clone(), supervisor.clone());
    let objects = || {
        let api = kube_api::scoped::<DeserializeGuard<LLMAutoscaler>>(client, namespace);
        let watch = Watch::new(api, autoscalers.clone(), *clock, supervisor.clone());
        controller::watch(context.clone(), watch, (client, namespace))
    };
    let others = || context.other_autoscalers.clone().watch();
    let claims = || context.resource_claims.clone().watch();
    let sweep = || gate_sweep::run(gates.clone(), store.clone(), leases.clone(), *clock);
    let election = || leases.clone().run();
    let schema = || context.schema.clone().watch();
    tokio::join!(
        supervisor.repeat("lease", election, |_| {}),
        supervisor
            .repeat(watch::NAME, pods, |panic| store.health().record_failure(panic.to_string())),
        supervisor
            .repeat(watch::NAME, objects, |panic| autoscalers.record_failure(panic.to_string())),
        supervisor.repeat(watch::NAME, listings, |_| {}),
        supervisor.repeat(watch::NAME, others, |_| {}),
        supervisor.repeat(watch::NAME, claims, |_| {}),
        supervisor.repeat(watch::NAME, schema, |_| {}),
        supervisor.repeat(watch::NAME, sweep, |_| {}),
    );
}
