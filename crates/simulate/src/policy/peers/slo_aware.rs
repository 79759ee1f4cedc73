//! llm-d's SLO-aware recipe: the pool's 90th percentiles against the promise, by KEDA.
//!
//! Reference: llm-d/llm-d at d38c9f0c, `guides/workload-autoscaling/README.slo-aware.md`: the worse
//! of P90 TTFT and P90 TPOT of a minute by their promises, at most 2, as a mean of 45 s; up above
//! 0.55, with the share of ready replicas as a credit, and down below 0.40; an HPA with up
//! max(100 %, 4)/60 s after 30 s, and down 1/120 s after 180 s. The latencies are the measured ones
//! (its fallback), not those of a trained predictor. The knob is the share 0.55; that for fewer
//! replicas keeps its proportion to it.

use std::collections::VecDeque;

use llm_autoscaler_sim::Histogram;

use super::super::{
    Autoscaler, Limits, Step, Timing,
    behavior::{Behavior, Rate},
    window::Window,
};
use crate::{
    score::Promise,
    sight::{Reading, Sight},
};

const QUANTILE: f64 = 0.9;
const CLAMP: f64 = 2.0;
/// The default of the knob, and the share below which there are fewer replicas then.
const UP: f64 = 0.55;
const DOWN: f64 = 0.40;
const UP_RATE: Rate = Rate { pods: 4.0, percent: 100.0, period: 60.0 };
const DOWN_RATE: Rate = Rate { pods: 1.0, percent: 0.0, period: 120.0 };

/// The recipe.
#[derive(Debug)]
pub(crate) struct SloAware {
    /// The share of the promise above which there are more replicas.
    up: f64,
    promise: Promise,
    behavior: Behavior,
    /// The pools of the last minute: first tokens, and times between tokens.
    pool: VecDeque<(f64, Pool, Pool)>,
    saturation: Window,
}

impl SloAware {
    pub(crate) fn new(up: f64, promise: Promise, limits: Limits) -> Self {
        let behavior = Behavior::new(limits, (30.0, UP_RATE), (180.0, DOWN_RATE));
        Self { up, promise, behavior, pool: VecDeque::new(), saturation: Window::new(45.0) }
    }

    /// Returns the latency by the promise of the last minute, the worse of both.
    fn raw_saturation(&self) -> f64 {
        let (Some(first), Some(last)) = (self.pool.front(), self.pool.back()) else { return 0.0 };
        let Promise { time_to_first_token, inter_token_latency, .. } = self.promise;
        let ratio = |now: &Pool, before: &Pool, promise: f64| {
            now.since(before).quantile(QUANTILE).map_or(0.0, |latency| latency / promise)
        };
        let ttft = ratio(&last.1, &first.1, time_to_first_token);
        ttft.max(ratio(&last.2, &first.2, inter_token_latency))
    }
}

/// The cumulative counts of several histograms with the same bounds.
#[derive(Debug, Clone, Default)]
struct Pool {
    bounds: Vec<f64>,
    counts: Vec<f64>,
}

impl Pool {
    fn of(sight: &Sight<'_>, histogram: fn(&Reading) -> &Histogram) -> Self {
        let mut pool = Self::default();
        for (_, page) in sight.serving() {
            for (index, (bound, count)) in histogram(page).cumulative().enumerate() {
                if index == pool.counts.len() {
                    pool.bounds.push(bound);
                    pool.counts.push(0.0);
                }
                pool.counts[index] += count as f64;
            }
        }
        pool
    }

    /// Returns the counts since an earlier pool. Pods that are gone make none negative.
    fn since(&self, before: &Self) -> Self {
        let before = before.counts.iter().chain(std::iter::repeat(&0.0));
        let counts = self.counts.iter().zip(before).map(|(now, before)| (now - before).max(0.0));
        Self { bounds: self.bounds.clone(), counts: counts.collect() }
    }

    /// Returns a quantile as PromQL's `histogram_quantile` does; `None` without any event.
    fn quantile(&self, share: f64) -> Option<f64> {
        let total = *self.counts.last().filter(|total| **total > 0.0)?;
        let rank = share * total;
        let bucket = self.counts.iter().position(|count| *count >= rank)?;
        let below = bucket.checked_sub(1).map(|below| (self.bounds[below], self.counts[below]));
        let (start, before) = below.unwrap_or_default();
        if self.bounds[bucket].is_infinite() {
            return Some(start);
        }
        let share = (rank - before) / (self.counts[bucket] - before).max(1e-9);
        Some(start + (self.bounds[bucket] - start) * share)
    }
}

/// Returns the wanted size by the formula of the recipe.
fn wanted(up: f64, saturation: f64, size: f64, ready: f64) -> f64 {
    let down = DOWN * (up / UP);
    let credit = if ready > 0.0 && ready < size { ready / size } else { 1.0 };
    if saturation > up {
        size + (size * (saturation * credit / up - 1.0)).ceil()
    } else if saturation < down {
        size - (size * (1.0 - saturation / down)).floor()
    } else {
        size
    }
}

impl Autoscaler for SloAware {
    fn timing(&self) -> Timing {
        Timing { scrape_every: 5.0, decide_every: 15.0, decides_on_scrapes: false }
    }

    fn step(&mut self, sight: &Sight<'_>) -> Step {
        let ttft = Pool::of(sight, |page| &page.metrics.time_to_first_token);
        let itl = Pool::of(sight, |page| &page.time_per_output_token);
        self.pool.push_back((sight.now, ttft, itl));
        while self.pool.pop_front_if(|(at, ..)| sight.now - *at > 60.0).is_some() {}
        self.saturation.push(sight.now, self.raw_saturation().min(CLAMP));
        let ready = sight.serving().count() as f64;
        let wanted = wanted(self.up, self.saturation.mean(), f64::from(sight.requested), ready);
        let size = self.behavior.size(sight.now, sight.requested, wanted);
        Step { size: Some(size), ..Step::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_has_a_band_and_a_credit() {
        for (up, saturation, size, ready, expected) in [
            (UP, 0.5, 4.0, 4.0, 4.0),
            (UP, 1.1, 4.0, 4.0, 8.0),
            (UP, 1.1, 8.0, 4.0, 8.0),
            (UP, 0.2, 4.0, 4.0, 2.0),
            (UP, 0.39, 4.0, 4.0, 4.0),
            (0.4, 0.5, 4.0, 4.0, 5.0),
            (0.4, 0.39, 4.0, 4.0, 4.0),
            (1.1, 0.39, 4.0, 4.0, 2.0),
        ] {
            let found = wanted(up, saturation, size, ready);
            assert!((found - expected).abs() < 1e-9, "{up} {saturation} {size} {ready}: {found}");
        }
    }

    #[test]
    fn a_quantile_is_that_of_promql() {
        for (counts, expected) in
            [([5.0, 10.0, 10.0], Some(1.8)), ([0.0, 0.0, 10.0], Some(2.0)), ([0.0, 0.0, 0.0], None)]
        {
            let bounds = vec![1.0, 2.0, f64::INFINITY];
            let pool = Pool { bounds, counts: counts.to_vec() };
            assert_eq!(pool.quantile(0.9), expected, "{counts:?}");
        }
    }
}
