//! Knative's pod autoscaler (KPA): a stable window of 60 s, and a panic window of 6 s.
//!
//! Reference: knative/serving at 98e5ef9, `pkg/autoscaler/scaling/autoscaler.go`: decisions every
//! 2 s; panic from twice the capacity on, held for a stable window; no scale-down in panic; at most
//! half down at once. The target is 70 % of the concurrency.

use super::super::{Autoscaler, Limits, Step, Timing, window::Window};
use crate::sight::Sight;

const STABLE: f64 = 60.0;
const PANIC: f64 = 6.0;
const PANIC_THRESHOLD: f64 = 2.0;
const MAX_DOWN: f64 = 2.0;

/// The KPA, by the number of requests for each replica.
#[derive(Debug)]
pub(crate) struct Knative {
    target: f64,
    limits: Limits,
    requests: Window,
    panic_until: f64,
    panic_size: f64,
}

impl Knative {
    pub(crate) fn new(target: f64, limits: Limits) -> Self {
        let requests = Window::new(STABLE);
        Self { target, limits, requests, panic_until: f64::NEG_INFINITY, panic_size: 0.0 }
    }
}

impl Autoscaler for Knative {
    fn timing(&self) -> Timing {
        Timing { scrape_every: 1.0, decide_every: 2.0, decides_on_scrapes: false }
    }

    fn step(&mut self, sight: &Sight<'_>) -> Step {
        let serving = sight.serving();
        let in_flight = serving.map(|(_, page)| page.gauges.running + page.gauges.waiting);
        self.requests.push(sight.now, in_flight.sum::<u64>() as f64 + sight.queued as f64);
        let ready = sight.serving().count() as f64;
        if ready < 1.0 {
            return Step::default();
        }
        let lowest = (ready / MAX_DOWN).floor();
        let stable = (self.requests.mean() / self.target).ceil().max(lowest);
        let panic = (self.requests.mean_of(PANIC) / self.target).ceil().max(lowest);
        if panic / ready >= PANIC_THRESHOLD {
            if sight.now >= self.panic_until {
                self.panic_size = 0.0;
            }
            self.panic_until = sight.now + STABLE;
        }
        let wanted = if sight.now < self.panic_until {
            self.panic_size = self.panic_size.max(stable).max(panic).max(ready);
            self.panic_size
        } else {
            stable
        };
        Step { size: Some(self.limits.clamp(wanted)), ..Step::default() }
    }
}
