//! NVIDIA Dynamo's load planner, for workers that prefill and decode.
//!
//! Reference: ai-dynamo/dynamo, `components/planner`, load-based mode with its earlier defaults:
//! metrics every 10 s, an adjustment every 180 s by their means; one worker more if the KV cache is
//! used above 90 % or more than 5 requests wait for each worker, one less below 50 % and 0.2; no
//! adjustment while a worker is being added. The knob is the first of these thresholds
//! (`decode-kv-scale-up-threshold`); that for one worker less keeps its proportion to it.

use super::super::{Autoscaler, Limits, Step, Timing, window::Window};
use crate::sight::Sight;

const ADJUSTMENT: f64 = 180.0;
/// The default of the knob, and the usage below which there is one worker less then.
const KV_UP: f64 = 0.9;
const KV_DOWN: f64 = 0.5;
const QUEUE_UP: f64 = 5.0;
const QUEUE_DOWN: f64 = 0.2;

/// The load planner.
#[derive(Debug)]
pub(crate) struct Dynamo {
    /// The KV usage above which there is one worker more.
    kv_up: f64,
    limits: Limits,
    kv: Window,
    queue: Window,
    next: f64,
}

impl Dynamo {
    pub(crate) fn new(kv_up: f64, limits: Limits) -> Self {
        let window = || Window::new(ADJUSTMENT);
        Self { kv_up, limits, kv: window(), queue: window(), next: ADJUSTMENT }
    }
}

impl Autoscaler for Dynamo {
    fn timing(&self) -> Timing {
        Timing { scrape_every: 10.0, decide_every: 10.0, decides_on_scrapes: false }
    }

    fn step(&mut self, sight: &Sight<'_>) -> Step {
        let ready = sight.serving().count() as f64;
        if ready < 1.0 {
            return Step::default();
        }
        let kv: f64 = sight.serving().map(|(_, page)| page.gauges.kv_usage).sum();
        let queue: u64 = sight.serving().map(|(_, page)| page.gauges.waiting).sum();
        self.kv.push(sight.now, kv / ready);
        self.queue.push(sight.now, (queue as f64 + sight.queued as f64) / ready);
        if sight.now < self.next || sight.starting() > 0 {
            return Step::default();
        }
        self.next = sight.now + ADJUSTMENT;
        let (kv, queue, size) = (self.kv.mean(), self.queue.mean(), f64::from(sight.requested));
        let wanted = if kv > self.kv_up || queue > QUEUE_UP {
            size + 1.0
        } else if kv < KV_DOWN * (self.kv_up / KV_UP) && queue < QUEUE_DOWN {
            size - 1.0
        } else {
            size
        };
        Step { size: Some(self.limits.clamp(wanted)), ..Step::default() }
    }
}
