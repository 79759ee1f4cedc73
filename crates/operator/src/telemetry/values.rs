//! The values of labels. They are public: `docs/monitoring.md` lists them, and a test compares.

/// The results of a query.
pub(super) const QUERY_RESULTS: &[&str] = &[
    "ok",
    "access",
    "refused",
    "unreachable",
    "timeout",
    "status",
    "too_large",
    "no_memory",
    "invalid",
    "internal",
    "rejected",
];
/// The results of a scrape: those of a query, but for the last one, since no page rejects a scrape.
pub(super) const SCRAPE_RESULTS: &[&str] = match QUERY_RESULTS.split_last() {
    Some((_, results)) => results,
    None => &[],
};
/// The kinds of sources of samples.
pub(super) const SOURCES: &[&str] = &["scrape", "others", "prometheus"];
/// The results of a decision.
pub(super) const DECISION_RESULTS: &[&str] = &[
    "computed",
    "held",
    "no_events",
    "no_metrics",
    "no_selector",
    "fallback",
    "out_of_bounds",
    "disabled",
];
/// The directions of a change of size.
pub(super) const DIRECTIONS: &[&str] = &["up", "down"];
/// The reasons for a change of size.
pub(super) const RESCALE_REASONS: &[&str] = &[
    "above_target",
    "below_target",
    "below_min",
    "above_max",
    "wake",
    "fallback",
    "replacement",
    "limit",
    "ratio",
    "lagging",
    "shared_limit",
    "waiting_for_room",
];
/// The reasons for which a decision is not written.
pub(super) const WITHHELD_REASONS: &[&str] = &["paused", "manual_change", "contested", "paced"];
/// The results of a write to a scale subresource.
pub(super) const SCALE_RESULTS: &[&str] = &["ok", "conflict", "error"];
/// The results of a write to the API server.
pub(super) const WRITE_RESULTS: &[&str] = &["ok", "conflict", "refused", "error", "no_permit"];
/// The ends of a drain.
pub(super) const DRAIN_RESULTS: &[&str] = &["drained", "deadline", "cancelled"];
/// The changes of a Lease.
pub(super) const LEASE_RESULTS: &[&str] = &["acquired", "lost", "released"];
/// The tasks that may panic.
pub(super) const TASKS: &[&str] = &[
    "autoscaler",
    "page",
    "prometheus",
    "watch",
    "event",
    "status",
    "pod_monitor",
    "pod",
    "connection",
    "heartbeat",
    "credentials",
    "lease",
    "metrics_api",
];

/// The kind of object, or the part of one, that a write changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteKind {
    /// The size of a target.
    Scale,
    /// The status of an LLMAutoscaler.
    Status,
    /// An event.
    Event,
    /// The readiness gate or the deletion cost of a pod.
    Pod,
    /// The deletion cost of a RoleInstance.
    RoleInstance,
    /// A PodMonitor.
    PodMonitor,
    /// The time of a wake call.
    Wake,
    /// A Lease.
    Lease,
    /// The Secret with the authority of the metrics API.
    Secret,
    /// The caBundle of an APIService.
    ApiService,
}

impl WriteKind {
    /// All kinds.
    pub(super) const NAMES: &[&str] = &[
        Self::Scale.name(),
        Self::Status.name(),
        Self::Event.name(),
        Self::Pod.name(),
        Self::RoleInstance.name(),
        Self::PodMonitor.name(),
        Self::Wake.name(),
        Self::Lease.name(),
        Self::Secret.name(),
        Self::ApiService.name(),
    ];

    /// Returns the value of the label `kind`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Scale => "scale",
            Self::Status => "status",
            Self::Event => "event",
            Self::Pod => "pod",
            Self::RoleInstance => "role_instance",
            Self::PodMonitor => "pod_monitor",
            Self::Wake => "wake",
            Self::Lease => "lease",
            Self::Secret => "secret",
            Self::ApiService => "api_service",
        }
    }
}
