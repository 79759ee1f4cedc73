//! The promise of a service, and how far it was kept.

use llm_autoscaler_sim::Finished;
use serde::Serialize;

use crate::{
    fleet::StateSeconds,
    sketch::Sketch,
    timeline::{Moment, SizeChange, Timeline},
};

/// The slots in which arrivals are counted, in seconds.
pub(crate) const SLOT: f64 = 15.0;
/// The slots of the windows of which the worst is reported: five minutes.
const WINDOW_SLOTS: usize = 20;
/// The arrivals that a window needs to count.
const WINDOW_ARRIVALS: u64 = 20;
/// A change of direction within this time of the one before is a reversal, in seconds.
const REVERSAL: f64 = 600.0;
/// The pools that a service has at most.
const POOLS: usize = 2;
/// Long prompts may take so many times their own prefill.
const PREFILL_FACTOR: f64 = 4.0;

/// The promise of a service to its users.
///
/// It is kept for a request if its first token comes within the time to first token, or within
/// four times its own prefill if that is longer, and if the mean time between its tokens is at most
/// the inter-token latency. It is kept for the service if that share of all requests, in percent,
/// has it. Requests that are refused, cut off or unfinished have it not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Promise {
    /// The time to first token, in seconds.
    pub time_to_first_token: f64,
    /// The inter-token latency, in seconds.
    pub inter_token_latency: f64,
    /// The share of the requests in percent.
    pub percentile: f64,
}

impl Default for Promise {
    fn default() -> Self {
        Self { time_to_first_token: 2.0, inter_token_latency: 0.1, percentile: 99.0 }
    }
}

impl Promise {
    /// Returns true if it is kept for a request with this prefill time.
    pub fn is_kept(&self, finished: &Finished, own_prefill: f64) -> bool {
        let first = self.time_to_first_token.max(PREFILL_FACTOR * own_prefill);
        finished.time_to_first_token() <= first
            && finished.inter_token_latency().is_none_or(|itl| itl <= self.inter_token_latency)
    }
}

/// The result of one run.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The requests that arrived after the warm-up.
    pub requests: u64,
    /// The share of them for which the promise was kept, from 0 to 1.
    pub attainment: f64,
    /// True if the promise was kept for the service.
    pub promise_kept: bool,
    /// The lowest attainment of five minutes.
    pub worst_five_minutes: f64,
    /// The mean number of replicas, starting and terminating ones included.
    pub mean_replicas: f64,
    /// The highest number of requested replicas.
    pub peak_replicas: u32,
    /// The hours of all GPUs, from the creation of a pod to its deletion.
    pub gpu_hours: f64,
    /// The same hours by the state of the pods.
    pub gpu_hours_by_state: GpuHours,
    /// The median time to first token in seconds; absent without any first token.
    pub ttft_p50: Option<f64>,
    /// The 99th percentile of it.
    pub ttft_p99: Option<f64>,
    /// The share of the requests that ended whose first token came within the promised time, from 0
    /// to 1, as an engine's histogram tells it; absent without any.
    pub first_tokens_in_time: Option<f64>,
    /// The median over requests of their mean time between tokens, in seconds.
    pub itl_p50: Option<f64>,
    /// The 99th percentile of it.
    pub itl_p99: Option<f64>,
    /// The changes of size.
    pub changes: u32,
    /// The changes of size in the other direction than the one within ten minutes before.
    pub reversals: u32,
    /// The requests that were cut off by a termination or a crash.
    pub cut_off: u64,
    /// The requests that no replica could take.
    pub refused: u64,
    /// The requests that had no end when the run ended.
    pub unfinished: u64,
    /// The state of the fleet every 15 s, or every minute in runs of more than six hours.
    pub timeline: Vec<Moment>,
    /// The changes of size, with their reasons.
    pub size_changes: Vec<SizeChange>,
    /// For each 15 s after the warm-up, the arrivals, and those for which the promise was kept.
    #[serde(skip)]
    pub slots: Vec<(u64, u64)>,
}

/// The hours of all GPUs by the state of their pods. Their sum is that of the run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuHours {
    /// Of pods that served.
    pub serving: f64,
    /// Of pods that were not ready yet, or started again after a crash.
    pub starting: f64,
    /// Of pods on their way out: out of service, or terminating.
    pub draining: f64,
}

/// The score of a run, while it goes on.
#[derive(Debug)]
pub(crate) struct Score {
    promise: Promise,
    counted_from: f64,
    ends_at: f64,
    arrived: u64,
    kept: u64,
    finished: u64,
    in_time: u64,
    pub(crate) refused: u64,
    slots: Vec<(u64, u64)>,
    ttft: Sketch,
    itl: Sketch,
    peak: u32,
    changes: u32,
    reversals: u32,
    /// The latest change of each pool: its time, and whether it grew.
    latest_changes: [Option<(f64, bool)>; POOLS],
    pub(crate) timeline: Timeline,
}

impl Score {
    pub(crate) fn new(promise: Promise, counted_from: f64, ends_at: f64) -> Self {
        let slots = ((ends_at - counted_from) / SLOT).ceil().max(1.0) as usize;
        Self {
            promise,
            counted_from,
            ends_at,
            arrived: 0,
            kept: 0,
            finished: 0,
            in_time: 0,
            refused: 0,
            slots: vec![(0, 0); slots],
            ttft: Sketch::default(),
            itl: Sketch::default(),
            peak: 0,
            changes: 0,
            reversals: 0,
            latest_changes: [None; POOLS],
            timeline: Timeline::new(counted_from, ends_at),
        }
    }

    fn slot(&mut self, arrived_at: f64) -> Option<&mut (u64, u64)> {
        let since = arrived_at - self.counted_from;
        let last = self.slots.len() - 1;
        let index = (since / SLOT) as usize;
        (since >= 0.0).then(|| &mut self.slots[index.min(last)])
    }

    pub(crate) fn record_arrival(&mut self, at: f64) {
        if let Some(slot) = self.slot(at) {
            slot.0 += 1;
            self.arrived += 1;
        }
    }

    pub(crate) fn record_finish(&mut self, finished: &Finished, own_prefill: f64) {
        let is_kept = self.promise.is_kept(finished, own_prefill);
        self.timeline.record_finish(finished);
        let Some(slot) = self.slot(finished.job.arrived_at) else { return };
        slot.1 += u64::from(is_kept);
        self.kept += u64::from(is_kept);
        self.finished += 1;
        let ttft = finished.time_to_first_token();
        self.in_time += u64::from(ttft <= self.promise.time_to_first_token);
        self.ttft.observe(ttft);
        if let Some(itl) = finished.inter_token_latency() {
            self.itl.observe(itl);
        }
    }

    /// Records the size of a pool before and after a step, beside so many replicas of others.
    pub(crate) fn record_size(&mut self, now: f64, pool: usize, others: u32, sizes: (u32, u32)) {
        let (from, to) = sizes;
        if now < self.counted_from || now > self.ends_at {
            return;
        }
        self.peak = self.peak.max(others + from.max(to));
        if from == to {
            return;
        }
        let grows = to > from;
        self.changes += 1;
        let is_reversal = |(at, grew): (f64, bool)| grew != grows && now - at <= REVERSAL;
        let Some(latest) = self.latest_changes.get_mut(pool) else { return };
        self.reversals += u32::from(latest.is_some_and(is_reversal));
        *latest = Some((now, grows));
    }

    /// Returns the outcome, by the replica-seconds of the run.
    pub(crate) fn conclude(self, seconds: StateSeconds, gpus: u32, cut_off: u64) -> Outcome {
        let hours = |seconds: f64| seconds * f64::from(gpus) / 3_600.0;
        let time = (self.ends_at - self.counted_from).max(1.0);
        let share = |kept: u64, arrived: u64| {
            if arrived == 0 { 1.0 } else { kept as f64 / arrived as f64 }
        };
        let attainment = share(self.kept, self.arrived);
        let windows = self
            .slots
            .chunks(WINDOW_SLOTS)
            .map(|window| window.iter().fold((0, 0), |sum, slot| (sum.0 + slot.0, sum.1 + slot.1)));
        let windows = windows.filter(|(arrived, _)| *arrived >= WINDOW_ARRIVALS);
        let worst = windows.map(|(arrived, kept)| share(kept, arrived));
        Outcome {
            requests: self.arrived,
            attainment,
            promise_kept: attainment * 100.0 >= self.promise.percentile,
            worst_five_minutes: worst.fold(1.0, f64::min),
            mean_replicas: seconds.sum() / time,
            peak_replicas: self.peak,
            gpu_hours: hours(seconds.sum()),
            gpu_hours_by_state: GpuHours {
                serving: hours(seconds.serving),
                starting: hours(seconds.starting),
                draining: hours(seconds.draining),
            },
            ttft_p50: self.ttft.quantile(0.5),
            ttft_p99: self.ttft.quantile(0.99),
            first_tokens_in_time: (self.finished > 0)
                .then(|| self.in_time as f64 / self.finished as f64),
            itl_p50: self.itl.quantile(0.5),
            itl_p99: self.itl.quantile(0.99),
            changes: self.changes,
            reversals: self.reversals,
            cut_off,
            refused: self.refused,
            unfinished: self.arrived.saturating_sub(self.finished + self.refused + cut_off),
            timeline: self.timeline.moments,
            size_changes: self.timeline.changes,
            slots: self.slots,
        }
    }
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_sim::Job;

    use super::*;

    fn finished(ttft: f64, itl: f64, output_tokens: u32) -> Finished {
        let job = Job {
            arrived_at: 10.0,
            first_token_at: None,
            prompt_tokens: 1_000,
            prefill_tokens: 1_000,
            output_tokens,
            ends_with_prefill: false,
        };
        let first_token_at = 10.0 + ttft;
        let finished_at = first_token_at + itl * f64::from(output_tokens - 1);
        Finished { job, first_token_at, finished_at }
    }

    #[test]
    fn a_promise_is_of_both_latencies_and_spares_long_prompts() {
        let promise = Promise::default();
        for (ttft, itl, tokens, own_prefill, kept) in [
            (1.9, 0.09, 50, 0.1, true),
            (2.1, 0.09, 50, 0.1, false),
            (2.1, 0.09, 50, 0.6, true),
            (2.5, 0.09, 50, 0.6, false),
            (1.0, 0.11, 50, 0.1, false),
            (1.0, 0.11, 1, 0.1, true),
        ] {
            let found = promise.is_kept(&finished(ttft, itl, tokens), own_prefill);
            assert_eq!(found, kept, "{ttft} {itl} {tokens} {own_prefill}");
        }
    }

    #[test]
    fn requests_without_an_end_have_missed() {
        let mut score = Score::new(Promise::default(), 5.0, 65.0);
        (0..4).for_each(|_| score.record_arrival(10.0));
        score.record_arrival(4.0);
        score.record_finish(&finished(1.0, 0.05, 20), 0.1);
        score.record_finish(&finished(1.0, 0.5, 20), 0.1);
        score.refused = 1;
        let outcome = score.conclude(StateSeconds { serving: 120.0, ..Default::default() }, 2, 0);
        assert_eq!((outcome.requests, outcome.unfinished, outcome.refused), (4, 1, 1));
        assert!((outcome.attainment - 0.25).abs() < 1e-12);
        assert!((outcome.mean_replicas - 2.0).abs() < 1e-12);
        assert!((outcome.gpu_hours - 240.0 / 3_600.0).abs() < 1e-12);
    }

    #[test]
    fn a_reversal_is_a_change_of_direction_within_ten_minutes() {
        let mut score = Score::new(Promise::default(), 0.0, 10_000.0);
        for (at, from, to) in
            [(10.0, 1, 2), (20.0, 2, 4), (30.0, 4, 3), (700.0, 3, 5), (800.0, 5, 2), (801.0, 2, 2)]
        {
            score.record_size(at, 0, 0, (from, to));
        }
        let outcome = score.conclude(StateSeconds::default(), 1, 0);
        assert_eq!((outcome.changes, outcome.reversals, outcome.peak_replicas), (5, 2, 5));
    }
}
