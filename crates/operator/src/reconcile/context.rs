//! The handles that all autoscalers share.

use std::{sync::Arc, time::Duration};

use kube::Client;
use llm_autoscaler_api::GpuResources;
use llm_autoscaler_core::Profile;

use crate::{
    clock::Clock,
    cluster::{
        other_autoscalers::OtherAutoscalers, resource_claims::ResourceClaims,
        watch_health::WatchHealth,
    },
    drain::pod_gates::PodGates,
    http::wake::WakeCalls,
    kube_api::writes::Writes,
    lanes::Lanes,
    lease::Leases,
    metrics_api::{self, catalog::Catalog, recommendations::LatestSteps},
    ownership::claims::Claims,
    pace::NamespacePace,
    pod_monitor::{cluster_pod_monitors::ClusterPodMonitors, object::PodMonitorWriter},
    sampling::sources::Sampling,
    scale::client::ScaleClient,
    schema::InstalledSchema,
    status::{events::Events, writer::StatusClient},
    supervise::Supervisor,
    telemetry::Telemetry,
};

/// The handles that all autoscalers share.
pub(crate) struct Context {
    /// The client of the API server.
    pub client: Client,
    /// The clock.
    pub clock: Clock,
    /// The pages that are scraped, the Prometheus servers that are queried, and the pods of the
    /// cluster.
    pub sampling: Sampling,
    /// The health of the watch of the LLMAutoscalers.
    pub autoscalers: WatchHealth,
    /// The PodMonitors of the cluster.
    pub monitors: Arc<ClusterPodMonitors>,
    /// Writes the autoscalers' own PodMonitors.
    pub pod_monitors: Arc<PodMonitorWriter>,
    /// The scale subresources of the cluster.
    pub scales: Arc<ScaleClient>,
    /// The autoscalers that exist, for the metrics API.
    pub catalog: Catalog,
    /// The latest steps of the autoscalers, for the metrics API.
    pub latest_steps: LatestSteps,
    /// The pace of size changes, by namespace.
    pub size_pace: NamespacePace,
    /// Pending wake calls.
    pub wake: WakeCalls,
    /// The claims of all autoscalers to their targets.
    pub claims: Claims,
    /// The other autoscalers of the cluster: HPAs and ScaledObjects.
    pub other_autoscalers: OtherAutoscalers,
    /// The ResourceClaims of pods.
    pub resource_claims: ResourceClaims,
    /// The readiness gates of pods.
    pub gates: PodGates,
    /// The recorder of events.
    pub events: Arc<Events>,
    /// The handles that the writers of statuses share.
    pub status: Arc<StatusClient>,
    /// The CRD that is installed.
    pub schema: InstalledSchema,
    /// The operator's own metrics.
    pub telemetry: Telemetry,
    /// Catches the panics of tasks.
    pub supervisor: Supervisor,
    /// Sends writes.
    pub writes: Writes,
    /// Tells which namespaces this copy of the operator serves, and permits its writes there.
    pub leases: Leases,
    /// The steps of a namespace that compute at the same time, so that those of others need not
    /// wait for all of them.
    pub turns: Lanes,
    /// The resources of pods that count as GPUs.
    pub gpu_resources: GpuResources,
    /// The number of autoscalers that are served in one namespace.
    pub most_autoscalers: usize,
    /// The longest time between two steps.
    pub period: Duration,
    /// The rules of decisions: the HPA's to the bit, or with deviations.
    pub profile: Profile,
}

impl Context {
    /// Returns the handles of the metrics APIs.
    pub(crate) fn metrics_api(&self) -> metrics_api::server::Handles {
        metrics_api::server::Handles {
            client: self.client.clone(),
            writes: self.writes.clone(),
            leases: self.leases.clone(),
            clock: self.clock,
            supervisor: self.supervisor.clone(),
            sampling: self.sampling.clone(),
            scales: self.scales.clone(),
            catalog: self.catalog.clone(),
            steps: self.latest_steps.clone(),
            profile: self.profile,
            period: self.period,
        }
    }
}
