//! The replicas from sample to sample: the differences of counters, over each sample's own time.

use super::{
    SloRole,
    observation::{EngineSample, ServingState, SloReplica},
};

/// The time constant of the rate of arrivals of one replica, in seconds.
const RATE_TIME: f64 = 30.0;
/// The shortest time that a row of the fit covers, in seconds. vLLM counts all tokens of a prompt
/// at its first token, so that shorter rows see prompts at the wrong time.
const ROW_TIME: f64 = 15.0;
/// The age of a replica that serves when it is first seen, below which it has started since the
/// observation before, in seconds.
const YOUNG: f64 = 30.0;
/// The requests that are in the batch of a busy replica at both ends of a scrape interval.
const BUSY: f64 = 2.0;
/// The time for which a batch has the same size while requests wait, which makes that size the
/// limit of its sequences, in seconds.
const FULL_TIME: f64 = 20.0;
/// The share of the KV cache above which the cache is the limit and not the batch.
const FULL_CACHE: f64 = 0.85;
/// The least tokens of a sequence in a step, in the mean: with fewer, prompts fill the steps.
const DECODING: f64 = 0.8;

/// The differences between two samples of a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Interval {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) arrivals: f64,
    pub(super) prompt_tokens: f64,
    pub(super) computed_tokens: f64,
    pub(super) generated_tokens: f64,
    pub(super) first_tokens: f64,
    pub(super) finished: f64,
    pub(super) late: Option<f64>,
    pub(super) row: Option<Row>,
    /// The sequences of a batch that was full.
    pub(super) full: Option<f64>,
}

/// The work of a busy replica over some time: one row of the fit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Row {
    /// The time in seconds.
    pub(super) time: f64,
    pub(super) steps: f64,
    pub(super) computed_tokens: f64,
    pub(super) generated_tokens: f64,
    /// The sum over the steps of the tokens in the KV cache.
    pub(super) kv_tokens: f64,
}

impl Interval {
    /// Returns the differences as far as they are work of a role: a replica that decodes counts
    /// prompts that it has not computed.
    pub(super) fn of(self, role: SloRole) -> Self {
        if role != SloRole::Decode {
            return self;
        }
        let row = self.row.map(|row| Row { computed_tokens: 0.0, ..row });
        Self { computed_tokens: 0.0, row, ..self }
    }
}

/// The memory of one replica.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tracked {
    id: u64,
    pub(super) state: ServingState,
    pub(super) age: f64,
    /// The latest sample; of a replica that is seen to start, zeros at the time of the observation.
    pub(super) latest: Option<EngineSample>,
    /// True if there has been a sample of the engine itself.
    pub(super) has_reported: bool,
    /// The rate of arrivals of the last half minute.
    pub(super) rate: f64,
    row: Row,
    /// The seconds for which the batch has had the size of the latest sample while requests waited.
    full_for: f64,
    is_listed: bool,
}

/// The replicas of a target, by their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracker {
    replicas: Vec<Tracked>,
}

impl Tracker {
    /// Takes over an observation. Calls `each` with the differences of every new sample, and
    /// `started` with the age of each replica that has become ready since the last one. One that is
    /// new and young and serves has done both since then.
    pub(super) fn observe(
        &mut self,
        now: f64,
        replicas: &[SloReplica],
        role: SloRole,
        mut each: impl FnMut(Interval),
        mut started: impl FnMut(f64),
    ) {
        let were_any = !self.replicas.is_empty();
        self.replicas.iter_mut().for_each(|replica| replica.is_listed = false);
        for replica in replicas {
            let place = self.replicas.binary_search_by_key(&replica.id, |known| known.id);
            let is_new = place.is_err() && were_any && replica.age < YOUNG;
            let place = place.unwrap_or_else(|place| {
                self.replicas.insert(place, Tracked::new(replica));
                place
            });
            let tracked = &mut self.replicas[place];
            let was_starting = is_new || tracked.state == ServingState::Starting;
            if was_starting && replica.state == ServingState::Serving {
                started(replica.age);
            }
            (tracked.state, tracked.age, tracked.is_listed) = (replica.state, replica.age, true);
            if let Some(interval) = tracked.take(now, replica, role) {
                each(interval.of(role));
            }
        }
        self.replicas.retain(|replica| replica.is_listed);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Tracked> {
        self.replicas.iter()
    }
}

impl Tracked {
    fn new(replica: &SloReplica) -> Self {
        Self {
            id: replica.id,
            state: replica.state,
            age: replica.age,
            latest: None,
            has_reported: false,
            rate: 0.0,
            row: Row::default(),
            full_for: 0.0,
            is_listed: true,
        }
    }

    /// Takes a sample over, and returns its differences from the one before, if it is newer.
    fn take(&mut self, now: f64, replica: &SloReplica, role: SloRole) -> Option<Interval> {
        let Some(sample) = replica.sample else {
            if replica.state == ServingState::Starting {
                self.latest = Some(EngineSample { at: now, late: Some(0.0), ..Default::default() });
            }
            return None;
        };
        let Some(before) = self.latest.filter(|before| before.at < sample.at) else {
            // The first sample of an engine that was there before: a beginning for the next one.
            if self.latest.is_none() {
                (self.latest, self.has_reported) = (Some(sample), true);
            }
            return None;
        };
        (self.latest, self.has_reported) = (Some(sample), true);
        let restarted = sample.has_restarted_since(&before);
        let zero = EngineSample { at: before.at, late: Some(0.0), ..Default::default() };
        let before = if restarted { zero } else { before };
        Some(self.interval(&before, &sample, role))
    }

    fn interval(
        &mut self,
        before: &EngineSample,
        sample: &EngineSample,
        role: SloRole,
    ) -> Interval {
        let time = sample.at - before.at;
        let growth = |of: fn(&EngineSample) -> f64| (of(sample) - of(before)).max(0.0);
        let prompt_tokens = growth(|it| it.prompt_tokens);
        let computed_tokens = growth(|it| it.prompt_tokens - it.cached_tokens);
        let generated_tokens = growth(|it| it.generated_tokens);
        let arrivals = growth(EngineSample::accepted);
        let share = 1.0 - (-time / RATE_TIME).exp();
        self.rate += (arrivals / time - self.rate) * share;
        let kv = |it: &EngineSample| it.kv_tokens;
        let steps = growth(|it| it.steps);
        let is_busy = before.running.min(sample.running) >= BUSY && steps > 0.0;
        self.row = match (kv(before), kv(sample)) {
            (Some(first), Some(last)) if is_busy => Row {
                time: self.row.time + time,
                steps: self.row.steps + steps,
                computed_tokens: self.row.computed_tokens + computed_tokens,
                generated_tokens: self.row.generated_tokens + generated_tokens,
                kv_tokens: self.row.kv_tokens + steps * f64::midpoint(first, last),
            },
            // A replica that prefills is idle every now and then: its busy times make up a row.
            _ if role == SloRole::Prefill => self.row,
            _ => Row::default(),
        };
        let row = (self.row.time >= ROW_TIME).then(|| std::mem::take(&mut self.row));
        let is_full = before.running.to_bits() == sample.running.to_bits()
            && before.waiting.min(sample.waiting) >= 1.0
            && sample
                .kv_tokens
                .zip(sample.kv_capacity)
                .is_some_and(|(tokens, capacity)| tokens < FULL_CACHE * capacity)
            && is_busy
            && generated_tokens >= DECODING * steps * sample.running;
        self.full_for = if is_full { self.full_for + time } else { 0.0 };
        Interval {
            from: before.at,
            to: sample.at,
            arrivals,
            prompt_tokens,
            computed_tokens,
            generated_tokens,
            first_tokens: growth(|it| it.first_tokens),
            finished: growth(|it| it.finished),
            late: before.late.zip(sample.late).map(|(first, last)| (last - first).max(0.0)),
            row,
            full: (self.full_for >= FULL_TIME).then_some(sample.running),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: f64, finished: f64, running: f64) -> EngineSample {
        EngineSample { at, finished, running, late: Some(0.0), ..Default::default() }
    }

    fn replica(state: ServingState, sample: Option<EngineSample>) -> SloReplica {
        SloReplica { id: 7, age: 90.0, state, sample }
    }

    /// Returns the arrivals and the time of each interval, and the start-up times.
    fn intervals(samples: &[(f64, SloReplica)]) -> (Vec<(f64, f64)>, Vec<f64>) {
        let (mut tracker, mut found, mut starts) = (Tracker::default(), Vec::new(), Vec::new());
        for (now, replica) in samples {
            let each = |it: Interval| found.push((it.arrivals, it.to - it.from));
            tracker.observe(*now, &[*replica], SloRole::Both, each, |age| starts.push(age));
        }
        (found, starts)
    }

    #[test]
    fn arrivals_are_counted_over_each_samples_own_time() {
        use ServingState::{Serving, Starting};
        let serving = |sample| replica(Serving, Some(sample));
        // The first sample of a running engine counts nothing; a lost scrape makes a longer
        // interval; an old sample makes none; a restart begins at zero.
        let (found, starts) = intervals(&[
            (5.0, serving(sample(5.0, 100.0, 4.0))),
            (10.0, serving(sample(10.0, 103.0, 6.0))),
            (15.0, serving(sample(10.0, 103.0, 6.0))),
            (20.0, serving(sample(20.0, 110.0, 6.0))),
            (25.0, serving(sample(25.0, 1.0, 2.0))),
        ]);
        assert_eq!((found, starts.len()), (vec![(5.0, 5.0), (7.0, 10.0), (3.0, 5.0)], 0));
        // An engine that was seen to start has had no request before.
        let (found, starts) = intervals(&[
            (5.0, replica(Starting, None)),
            (10.0, replica(Starting, None)),
            (15.0, serving(sample(15.0, 0.0, 30.0))),
        ]);
        assert_eq!((found, starts), (vec![(30.0, 5.0)], vec![90.0]));
    }

    #[test]
    fn a_batch_that_stays_full_while_requests_wait_has_a_limit() {
        let limit = |sizes: &[(f64, f64)], tokens: f64, cached: f64| {
            let (mut tracker, mut limits) = (Tracker::default(), Vec::new());
            for (index, (running, waiting)) in sizes.iter().enumerate() {
                let at = 5.0 * index as f64;
                let sample = EngineSample {
                    waiting: *waiting,
                    steps: 20.0 * at,
                    generated_tokens: 20.0 * at * running * tokens,
                    kv_tokens: Some(cached),
                    kv_capacity: Some(1_000.0),
                    ..sample(at, 0.0, *running)
                };
                let replica = replica(ServingState::Serving, Some(sample));
                let each = |it: Interval| limits.extend(it.full);
                tracker.observe(at, &[replica], SloRole::Both, each, |_| ());
            }
            limits
        };
        let full = [(16.0, 3.0); 5];
        assert_eq!(limit(&full, 1.0, 500.0), [16.0]);
        assert_eq!(limit(&full[..4], 1.0, 500.0), [], "too short");
        assert_eq!(limit(&full, 0.3, 500.0), [], "prompts fill the steps");
        assert_eq!(limit(&full, 1.0, 900.0), [], "the cache is full");
        let mut gone = full;
        gone[2].1 = 0.0;
        assert_eq!(limit(&gone, 1.0, 500.0), [], "nobody waited for a while");
        let mut other = full;
        other[2].0 = 15.0;
        assert_eq!(limit(&other, 1.0, 500.0), [], "the batch changed");
    }

    #[test]
    fn a_young_replica_that_serves_at_first_sight_has_started() {
        let of = |id: u64, age: f64| {
            let state = ServingState::Serving;
            SloReplica { id, age, state, sample: Some(sample(age, 0.0, 0.0)) }
        };
        let (mut tracker, mut starts) = (Tracker::default(), Vec::new());
        let mut observe = |now: f64, replicas: &[SloReplica]| {
            tracker.observe(now, replicas, SloRole::Both, |_| (), |age| starts.push(age));
        };
        // Of the replicas of the first observation nothing is known but their age.
        observe(100.0, &[of(1, 4.0)]);
        observe(102.0, &[of(1, 6.0), of(2, 1.5), of(3, 90.0)]);
        observe(104.0, &[of(1, 8.0), of(2, 3.5), of(3, 92.0)]);
        assert_eq!(starts, [1.5]);
    }

    #[test]
    fn a_row_is_at_least_fifteen_seconds_of_a_busy_replica() {
        let row = Row { time: 15.0, steps: 300.0, kv_tokens: 300_000.0, ..Default::default() };
        let (steady, broken) = ([4.0; 4], [4.0, 4.0, 4.0, 1.0, 4.0, 4.0]);
        let table = [
            (SloRole::Both, &steady[..], vec![row]),
            (SloRole::Both, &broken[..], vec![]),
            (SloRole::Prefill, &broken[..], vec![row]),
        ];
        for (role, sizes, expected) in table {
            assert_eq!(rows_of(role, sizes), expected, "{role:?} {sizes:?}");
        }
    }

    fn rows_of(role: SloRole, sizes: &[f64]) -> Vec<Row> {
        let mut tracker = Tracker::default();
        let mut rows = Vec::new();
        for (index, running) in sizes.iter().enumerate() {
            let (at, steps) = (5.0 * index as f64, 100.0 * index as f64);
            let kv_tokens = Some(1_000.0);
            let sample = EngineSample { kv_tokens, steps, ..sample(at, 0.0, *running) };
            let replica = replica(ServingState::Serving, Some(sample));
            tracker.observe(at, &[replica], role, |it| rows.extend(it.row), |_| ());
        }
        rows
    }
}
