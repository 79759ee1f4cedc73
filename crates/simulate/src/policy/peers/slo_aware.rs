//! llm-d's SLO-aware recipe: the pool's 90th percentiles against the promise, by KEDA.
//!
//! Reference: llm-d/llm-d at d38c9f0c, `guides/workload-autoscaling/README.slo-aware.md`: the worse
//! of P90 TTFT and P90 TPOT of a minute by their promises, at most 2, as a mean of 45 s; up above
//! 0.55, with the share of ready replicas as a credit, and down below 0.40; an HPA with up
//! max(100 %, 4)/60 s after 30 s, and down 1/120 s after 180 s. The latencies are the measured ones
//! (its fallback), not those of a trained predictor.

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

const CLAMP: f64 = 2.0;
const UP: f64 = 0.55;
const DOWN: f64 = 0.40;
const UP_RATE: Rate = Rate { pods: 4.0, percent: 100.0, period: 60.0 };
const DOWN_RATE: Rate = Rate { pods: 1.0, percent: 0.0, period: 120.0 };

/// The recipe.
#[derive(Debug)]
pub(crate) struct SloAware {
    promise: Promise,
    behavior: Behavior,
    /// The cumulative counts of the pool in the last minute: first tokens, and times between.
    pool: VecDeque<(f64, Vec<f64>, Vec<f64>)>,
    saturation: Window,
}

impl SloAware {
    pub(crate) fn new(promise: Promise, limits: Limits) -> Self {
        let behavior = Behavior::new(limits, (30.0, UP_RATE), (180.0, DOWN_RATE));
        Self { promise, behavior, pool: VecDeque::new(), saturation: Window::new(45.0) }
    }

    /// Returns the latency by the promise of the last minute, the worse of both.
    fn raw_saturation(&self) -> f64 {
        let (Some(first), Some(last)) = (self.pool.front(), self.pool.back()) else { return 0.0 };
        let empty = llm_autoscaler_sim::Metrics::default();
        let ratio = |now: &[f64], before: &[f64], bounds: &Histogram, promise: f64| {
            let counts: Vec<f64> =
                now.iter().zip(before).map(|(now, before)| (now - before).max(0.0)).collect();
            quantile(&counts, bounds, 0.9).map_or(0.0, |latency| latency / promise)
        };
        let Promise { time_to_first_token, inter_token_latency, .. } = self.promise;
        let ttft = ratio(&last.1, &first.1, &empty.time_to_first_token, time_to_first_token);
        let itl = ratio(&last.2, &first.2, &empty.inter_token_latency, inter_token_latency);
        ttft.max(itl)
    }
}

/// Returns the quantile of cumulative counts, as PromQL's `histogram_quantile` does.
fn quantile(cumulative: &[f64], bounds: &Histogram, share: f64) -> Option<f64> {
    let total = *cumulative.last().filter(|total| **total > 0.0)?;
    let bounds: Vec<f64> = bounds.cumulative().map(|(bound, _)| bound).collect();
    let rank = share * total;
    let bucket = cumulative.iter().position(|count| *count >= rank)?;
    let below = bucket.checked_sub(1);
    let (start, before) = below.map_or((0.0, 0.0), |it| (bounds[it], cumulative[it]));
    if bounds[bucket].is_infinite() {
        return Some(start);
    }
    let share = (rank - before) / (cumulative[bucket] - before).max(1e-9);
    Some(start + (bounds[bucket] - start) * share)
}

fn pooled(sight: &Sight<'_>, of: fn(&Reading) -> &Histogram) -> Vec<f64> {
    let mut pool: Vec<f64> = Vec::new();
    for (_, page) in sight.serving() {
        for (index, (_, count)) in of(page).cumulative().enumerate() {
            if index == pool.len() {
                pool.push(0.0);
            }
            pool[index] += count as f64;
        }
    }
    pool
}

/// Returns the wanted size by the formula of the recipe.
fn wanted(saturation: f64, size: f64, ready: f64) -> f64 {
    let credit = if ready > 0.0 && ready < size { ready / size } else { 1.0 };
    if saturation > UP {
        size + (size * (saturation * credit / UP - 1.0)).ceil()
    } else if saturation < DOWN {
        size - (size * (1.0 - saturation / DOWN)).floor()
    } else {
        size
    }
}

impl Autoscaler for SloAware {
    fn timing(&self) -> Timing {
        Timing { scrape_every: 5.0, decide_every: 15.0, decides_on_scrapes: false }
    }

    fn step(&mut self, sight: &Sight<'_>) -> Step {
        let ttft = pooled(sight, |page| &page.metrics.time_to_first_token);
        let itl = pooled(sight, |page| &page.metrics.inter_token_latency);
        self.pool.push_back((sight.now, ttft, itl));
        while self.pool.pop_front_if(|(at, ..)| sight.now - *at > 60.0).is_some() {}
        self.saturation.push(sight.now, self.raw_saturation().min(CLAMP));
        let ready = sight.serving().count() as f64;
        let wanted = wanted(self.saturation.mean(), f64::from(sight.requested), ready);
        let size = self.behavior.size(sight.now, sight.requested, wanted);
        Step { size: Some(size), ..Step::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_has_a_band_and_a_credit() {
        for (saturation, size, ready, expected) in [
            (0.5, 4.0, 4.0, 4.0),
            (1.1, 4.0, 4.0, 8.0),
            (1.1, 8.0, 4.0, 8.0),
            (0.2, 4.0, 4.0, 2.0),
            (0.39, 4.0, 4.0, 4.0),
        ] {
            assert_eq!(wanted(saturation, size, ready), expected, "{saturation} {size} {ready}");
        }
    }

    #[test]
    fn a_quantile_is_that_of_promql() {
        let bounds = Histogram::new(&[1.0, 2.0]);
        assert_eq!(quantile(&[5.0, 10.0, 10.0], &bounds, 0.9), Some(1.8));
        assert_eq!(quantile(&[0.0, 0.0, 10.0], &bounds, 0.9), Some(2.0));
        assert_eq!(quantile(&[0.0, 0.0, 0.0], &bounds, 0.9), None);
    }
}
