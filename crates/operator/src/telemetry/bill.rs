//! The time of replicas and of their GPUs, by the reason of their existence; and that of targets
//! that are only watched, beside the one that is recommended.

use std::{sync::atomic::AtomicU64, time::Duration};

use llm_autoscaler_api::bill::reason_label;
use llm_autoscaler_core::{ReplicaReason, ShadowBill};
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::telemetry::families::register;

type Seconds = Family<[(&'static str, &'static str); 1], Counter<f64, AtomicU64>>;

/// The counters of the bill, all targets together. Each reason has its series from the start.
#[derive(Debug)]
pub(super) struct BillMetrics {
    replicas: Seconds,
    gpus: Seconds,
    recommendations: Seconds,
}

impl BillMetrics {
    /// Registers the counters.
    pub(super) fn register(all: &mut Registry) -> Self {
        let replicas = "Time of the replicas of targets, by the reason of their existence";
        let gpus = "Time of the GPUs of these replicas, by the reason of their existence";
        let sizes = "Replicas of targets with mode Recommend times seconds, by size";
        let counters = Self {
            replicas: register(all, "replica_seconds", replicas, Family::default()),
            gpus: register(all, "gpu_seconds", gpus, Family::default()),
            recommendations: register(
                all,
                "recommendation_replica_seconds",
                sizes,
                Family::default(),
            ),
        };
        counters.add_recommended(&ShadowBill::default());
        for reason in ReplicaReason::ALL {
            counters.add(reason, 0.0, 0.0);
        }
        counters
    }

    /// Adds the time of replicas and of their GPUs, in seconds.
    pub(super) fn add(&self, reason: ReplicaReason, replicas: f64, gpus: f64) {
        let label = [("reason", reason_label(reason))];
        self.replicas.get_or_create(&label).inc_by(replicas);
        self.gpus.get_or_create(&label).inc_by(gpus);
    }

    /// Adds the time of a target's replicas, and that of those that it would have.
    pub(super) fn add_recommended(&self, bill: &ShadowBill) {
        for (size, milliseconds) in [("actual", bill.actual), ("recommended", bill.recommended)] {
            let seconds = Duration::from_millis(milliseconds.unsigned_abs()).as_secs_f64();
            self.recommendations.get_or_create(&[("size", size)]).inc_by(seconds);
        }
    }
}
