//! The time of replicas and of their GPUs, by the reason of their existence.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

type Seconds = Family<ReplicaReasonLabel, Counter<f64, AtomicU64>>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReplicaReasonLabel {
    reason: &'static str,
}

/// The counters of the bill, all targets together. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct BillCounters {
    replicas: Seconds,
    gpus: Seconds,
}

impl BillCounters {
    /// Registers the counters.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let counters = Self::default();
        let help = "Time of the replicas of targets, by the reason of their existence";
        registry.register("replica_seconds", help, counters.replicas.clone());
        let help = "Time of the GPUs of these replicas, by the reason of their existence";
        registry.register("gpu_seconds", help, counters.gpus.clone());
        counters
    }

    /// Adds the time of replicas and of their GPUs, in seconds.
    pub(super) fn add(&self, reason: &'static str, replicas: f64, gpus: f64) {
        let label = ReplicaReasonLabel { reason };
        self.replicas.get_or_create(&label).inc_by(replicas);
        self.gpus.get_or_create(&label).inc_by(gpus);
    }
}
