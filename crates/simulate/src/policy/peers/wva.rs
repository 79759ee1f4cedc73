//! The saturation analyzer of llm-d's Workload Variant Autoscaler (V1), with the HPA behind it.
//!
//! Reference: llm-d-workload-variant-autoscaler at b08b1c7, `internal/saturation`: every 60 s by
//! the highest numbers of a minute; a replica is not saturated below 80 % of its KV cache and five
//! waiting requests; one more replica if the mean spare KV of those is below 10 % or their spare
//! queue below 3, unless one is starting; one less if that holds for the rest with its load too.
//! The HPA takes the number over with windows of 240 s both ways, as its documentation recommends.
//! Its tolerance of 10 % takes a step of one for none from ten replicas on. The knob is the first
//! of the thresholds (`kvCacheThreshold`); the others are the defaults.

use std::collections::BTreeMap;

use super::super::{
    Autoscaler, Limits, Step, Timing,
    behavior::{Behavior, Rate},
    window::Window,
};
use crate::sight::Sight;

const INTERVAL: f64 = 60.0;
const QUEUE_LIMIT: f64 = 5.0;
const SPARE_KV: f64 = 0.1;
const SPARE_QUEUE: f64 = 3.0;
const FREE: Rate = Rate { pods: 1e6, percent: 0.0, period: 15.0 };

/// The autoscaler, by the KV cache and the queue of each replica.
#[derive(Debug)]
pub(crate) struct Wva {
    /// The KV usage at which a replica is saturated.
    kv_limit: f64,
    behavior: Behavior,
    limits: Limits,
    /// The KV usage and the queue of each pod in the last minute.
    pods: BTreeMap<u64, (Window, Window)>,
    next_analysis: f64,
    wanted: f64,
}

impl Wva {
    pub(crate) fn new(kv_limit: f64, limits: Limits) -> Self {
        let behavior = Behavior::new(limits, (240.0, FREE), (240.0, FREE));
        let pods = BTreeMap::new();
        Self { kv_limit, behavior, limits, pods, next_analysis: 0.0, wanted: 0.0 }
    }

    fn analyze(&self, size: f64, pending: bool) -> f64 {
        let pods = self.pods.values().map(|(kv, queue)| (kv.max(), queue.max()));
        let free: Vec<_> =
            pods.filter(|(kv, queue)| *kv < self.kv_limit && *queue < QUEUE_LIMIT).collect();
        let count = free.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| free.iter().map(of).sum::<f64>() / count.max(1.0);
        let (kv, queue) = (mean(|it| it.0), mean(|it| it.1));
        let lacks = |kv: f64, queue: f64| {
            self.kv_limit - kv < SPARE_KV || QUEUE_LIMIT - queue < SPARE_QUEUE
        };
        if free.is_empty() || lacks(kv, queue) {
            return if pending { size } else { size + 1.0 };
        }
        let fewer = count / (count - 1.0).max(0.5);
        if count >= 2.0 && !pending && !lacks(kv * fewer, queue * fewer) {
            size - 1.0
        } else {
            size
        }
    }
}

impl Autoscaler for Wva {
    fn timing(&self) -> Timing {
        Timing { scrape_every: 15.0, decide_every: 15.0, decides_on_scrapes: false }
    }

    fn step(&mut self, sight: &Sight<'_>) -> Step {
        self.pods.retain(|id, _| sight.serving().any(|(pod, _)| pod.id == *id));
        for (pod, page) in sight.serving() {
            let (kv, queue) =
                self.pods.entry(pod.id).or_insert((Window::new(60.0), Window::new(60.0)));
            kv.push(sight.now, page.gauges.kv_usage);
            queue.push(sight.now, page.gauges.waiting as f64);
        }
        if self.pods.is_empty() {
            return Step::default();
        }
        if sight.now >= self.next_analysis {
            self.next_analysis = sight.now + INTERVAL;
            let size = f64::from(sight.requested);
            let wanted = self.analyze(size, sight.starting() > 0);
            self.wanted = f64::from(self.limits.clamp(wanted));
        }
        let size = self.behavior.size(sight.now, sight.requested, self.wanted);
        Step { size: Some(size), ..Step::default() }
    }
}
