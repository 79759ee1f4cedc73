//! What all autoscalers share.

use std::time::Duration;

use kube::Client;
use llm_autoscaler_core::Profile;

use crate::{cluster::{other_autoscalers::Drivers, pods::PodStore}, drain::pod_gates::InService, http::wake::Calls, ownership::claims::Claims, pod_monitor::cluster_pod_monitors::Monitors, sampling::{prometheus::Servers, scrape_pool::Sampler}, scale::client::Targets, status::{events::Events, write_limiter::Lane}, telemetry::Telemetry};

/// What all autoscalers share.
pub struct Context {
    /// The way to the API server.
    pub client: Client,
    /// All pods.
    pub pods: PodStore,
    /// All samples of pages.
    pub sampler: Sampler,
    /// All Prometheus servers.
    pub servers: Servers,
    /// All PodMonitors.
    pub monitors: Monitors,
    /// Scale subresources.
    pub targets: Targets,
    /// Who has been called for.
    pub calls: Calls,
    /// Whose each of them is.
    pub claims: Claims,
    /// Other autoscalers of the cluster.
    pub drivers: Drivers,
    /// Pods that are put in service, and taken out of it.
    pub in_service: InService,
    /// Where events go.
    pub events: Events,
    /// Where writes wait that are not urgent.
    pub lane: Lane,
    /// The operator's own metrics.
    pub telemetry: Telemetry,
    /// How often a step happens at least.
    pub period: Duration,
    /// Whether decisions are the HPA's to the bit.
    pub profile: Profile,
}
