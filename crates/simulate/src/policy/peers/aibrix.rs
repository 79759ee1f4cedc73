//! AIBrix's own autoscaler (APA): the mean of the ready pods over 180 s, against a target.
//!
//! Reference: vllm-project/aibrix at e3e10f9, `pkg/controller/podautoscaler/algorithm/apa.go`:
//! every 10 s; tolerance of 10 % both ways; at most double, at most half. The size that is
//! multiplied is the requested one, although the mean is that of ready pods only. Scale-downs have
//! the window of 300 s that is documented; in the code it takes the lowest recommendation of it, so
//! that it delays nothing.

use super::super::{Autoscaler, Limits, Step, Timing, window::Window};
use crate::sight::{Reading, Sight};

const STABLE: f64 = 180.0;
const DOWN_WINDOW: f64 = 300.0;
const TOLERANCE: f64 = 0.1;

/// A number of a pod's page.
type Number = fn(&Reading) -> f64;

/// The APA, by one number of each pod.
#[derive(Debug)]
pub(crate) struct Aibrix {
    target: f64,
    number: Number,
    limits: Limits,
    means: Window,
    wanted: Window,
}

impl Aibrix {
    /// Returns the APA by the usage of the KV cache, as its documentation has it.
    pub(crate) fn by_kv_usage(target: f64, limits: Limits) -> Self {
        Self::new(target, |page| page.gauges.kv_usage, limits)
    }

    /// Returns the APA by running and waiting requests.
    pub(crate) fn by_requests(target: f64, limits: Limits) -> Self {
        Self::new(target, |page| (page.gauges.running + page.gauges.waiting) as f64, limits)
    }

    fn new(target: f64, number: Number, limits: Limits) -> Self {
        Self {
            target,
            number,
            limits,
            means: Window::new(STABLE),
            wanted: Window::new(DOWN_WINDOW),
        }
    }
}

impl Autoscaler for Aibrix {
    fn timing(&self) -> Timing {
        Timing { scrape_every: 10.0, decide_every: 10.0, decides_on_scrapes: false }
    }

    fn step(&mut self, sight: &Sight<'_>) -> Step {
        let numbers: Vec<f64> = sight.serving().map(|(_, page)| (self.number)(page)).collect();
        if numbers.is_empty() {
            return Step::default();
        }
        self.means.push(sight.now, numbers.iter().sum::<f64>() / numbers.len() as f64);
        let (size, ratio) = (f64::from(sight.requested), self.means.mean() / self.target);
        let wanted = if ratio > 1.0 + TOLERANCE {
            (size * ratio).ceil().min((size * 2.0).ceil())
        } else if ratio < 1.0 - TOLERANCE {
            (size * ratio).ceil().max((size / 2.0).floor())
        } else {
            size
        };
        self.wanted.push(sight.now, wanted);
        let wanted = wanted.max(self.wanted.max().min(size));
        Step { size: Some(self.limits.clamp(wanted)), ..Step::default() }
    }
}
