//! Windows over time: the mean, the rate or the histogram of the recent samples of one recipe.
//!
//! All three are differences of running totals. A gauge's samples add up to an integral, a
//! counter's steps to an increase, a histogram's to an increase per bucket. The result of a window
//! is the total at its end minus the total at its start, so a track needs only a few snapshots of
//! the totals, however often it is fed.

use std::{collections::VecDeque, time::Duration};

use crate::{buckets::Buckets, exposition::Value, kind::Kind, recipe::Recipe};

/// The number of snapshots per window. A window is therefore up to a sixteenth longer than its
/// nominal length.
const SNAPSHOTS: u32 = 16;

/// The memory of a snapshot without its totals, in bytes, with that of the allocation.
const PER_SNAPSHOT: usize = size_of::<(Duration, Totals)>() + 16;

/// A quantity, and the window that its number is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Measure {
    /// The quantity.
    pub recipe: Recipe,
    /// The window; zero for the latest value of a gauge.
    pub window: Duration,
}

/// A *track* is the recent past of one quantity of one page.
///
/// ```
/// use std::time::Duration;
///
/// use llm_autoscaler_engines::{Kind, Track, exposition::Value};
///
/// let seconds = Duration::from_secs;
/// let mut requests = Track::new(Kind::Counter, seconds(60), seconds(15));
/// requests.push(seconds(0), &Value::Number(1_000.0));
/// assert_eq!(requests.value(), Value::Absent); // no rate of a single sample
/// requests.push(seconds(10), &Value::Number(1_050.0));
/// requests.push(seconds(20), &Value::Number(10.0)); // the process has restarted
/// assert_eq!(requests.value(), Value::Number(3.0)); // 50 and 10 requests in 20 s
/// assert!(requests.is_young()); // less than half of the window is known
/// ```
#[derive(Clone, Debug)]
pub struct Track {
    kind: Kind,
    window: Duration,
    gap: Duration,
    /// The time of the latest page.
    at: Option<Duration>,
    /// True if the latest page had the quantity.
    present: bool,
    /// The latest sample of the quantity, and its time.
    latest: Option<(Duration, Value)>,
    totals: Totals,
    /// Snapshots of the totals, from the start of the window on.
    past: VecDeque<(Duration, Totals)>,
}

/// The running totals of a quantity.
#[derive(Clone, Debug, Default)]
struct Totals {
    /// A single total for a gauge or a counter, and one per bucket for a histogram.
    sums: Vec<f64>,
    /// The time that the totals cover.
    time: Duration,
}

impl Track {
    /// Returns an empty track for a quantity of this kind, over this window. A window of zero
    /// stands for the latest sample, which only a gauge has.
    ///
    /// A gauge's sample covers the time since the previous one, but no more than `gap`.
    pub fn new(kind: Kind, window: Duration, gap: Duration) -> Self {
        let (totals, past) = (Totals::default(), VecDeque::new());
        Self { kind, window, gap, at: None, present: false, latest: None, totals, past }
    }

    /// Adds the value of a page. `at` is the time of the page since some fixed moment; a page that
    /// is not newer than the latest is ignored. A page without the quantity leaves the past as it
    /// is.
    pub fn push(&mut self, at: Duration, value: &Value) {
        let Some(before) = self.at.replace(at) else { return self.begin(at, value) };
        if at <= before {
            self.at = Some(before);
            return;
        }
        self.present = *value != Value::Absent;
        if !self.present {
            return;
        }
        if self.window > Duration::ZERO {
            self.accumulate(before, at, value);
            self.take_snapshot(at);
        }
        self.set_latest(at, value);
    }

    fn begin(&mut self, at: Duration, value: &Value) {
        self.present = *value != Value::Absent;
        if self.present {
            self.take_snapshot(at);
            self.set_latest(at, value);
        }
    }

    fn set_latest(&mut self, at: Duration, value: &Value) {
        match &mut self.latest {
            Some(latest) => {
                latest.0 = at;
                latest.1.clone_from(value);
            }
            None => self.latest = Some((at, value.clone())),
        }
    }

    /// Adds the step from the latest sample to this one to the totals.
    fn accumulate(&mut self, page_before: Duration, at: Duration, value: &Value) {
        let (since, latest) = match &self.latest {
            Some((since, latest)) => (*since, latest),
            // A counter that the previous page did not have has started at zero since then.
            None => (page_before, &Value::Absent),
        };
        if self.past.is_empty() {
            self.past.push_back((since, Totals::default()));
        }
        let elapsed = at.saturating_sub(since);
        match (value, latest) {
            (Value::Number(now), Value::Number(_)) if self.kind == Kind::Gauge => {
                let stands_for = elapsed.min(self.gap);
                self.totals.add(0, now * stands_for.as_secs_f64());
                self.totals.time = self.totals.time.saturating_add(stands_for);
            }
            (Value::Number(_), _) if self.kind == Kind::Gauge => {}
            (Value::Number(now), latest) => {
                let before = if let Value::Number(before) = latest { *before } else { 0.0 };
                self.totals.add(0, if *now < before { *now } else { now - before });
                self.totals.time = self.totals.time.saturating_add(elapsed);
            }
            (Value::Buckets(now), latest) => {
                let before = match latest {
                    Value::Buckets(before) if has_grown(before, now) => Some(before),
                    _ => None,
                };
                let known = self.totals.sums.len();
                if known > 0 && known != now.bounds().len() {
                    // Other bounds mean another version of the engine, which has started at zero.
                    // Before its first event a histogram may have no bounds at all.
                    self.totals = Totals::default();
                    self.past.clear();
                    self.past.push_back((since, Totals::default()));
                }
                for (index, count) in now.counts().iter().enumerate() {
                    self.totals
                        .add(index, count - before.map_or(0.0, |before| before.counts()[index]));
                }
                self.totals.time = self.totals.time.saturating_add(elapsed);
            }
            (Value::Absent, _) => {}
        }
    }

    /// Takes a snapshot of the totals if one is due, and drops those from before the window.
    fn take_snapshot(&mut self, at: Duration) {
        if self.window == Duration::ZERO {
            return;
        }
        let spacing = self.window / SNAPSHOTS;
        // Moments are what a server claims them to be, so sums of them may not fit.
        if self.past.back().is_none_or(|(last, _)| at.saturating_sub(*last) >= spacing) {
            self.past.push_back((at, self.totals.clone()));
        }
        while self.past.get(1).is_some_and(|(next, _)| at.saturating_sub(*next) >= self.window) {
            self.past.pop_front();
        }
    }

    /// Returns true if a counter or histogram has one sample, and nothing to compare it with yet.
    pub fn is_pending(&self) -> bool {
        self.present && self.kind != Kind::Gauge && self.elapsed() == Duration::ZERO
    }

    /// Returns true if less than half of the window is known. Such a value is good enough for a
    /// scale-up, not for a scale-down.
    pub fn is_young(&self) -> bool {
        // The window is halved, because a server may report any time, and doubling it may overflow.
        self.elapsed() < self.window / 2
    }

    /// Returns the mean of a gauge, the rate of a counter per second, or the events of a histogram.
    /// The value is absent if the latest page did not have the quantity, and while it is pending.
    pub fn value(&self) -> Value {
        let mut value = Value::Absent;
        self.value_into(&mut value);
        value
    }

    /// Writes the value of [`value`](Self::value) to `out`, and reuses its memory.
    pub fn value_into(&self, out: &mut Value) {
        let elapsed = self.elapsed().as_secs_f64();
        match (&self.latest, self.past.front()) {
            (Some((_, latest)), _)
                if self.present && self.kind == Kind::Gauge && elapsed == 0.0 =>
            {
                out.clone_from(latest);
            }
            (Some((_, Value::Number(_))), Some((_, start))) if self.present && elapsed > 0.0 => {
                let increase = self.totals.sums.first().copied().unwrap_or_default();
                *out = Value::Number((increase - start.sum(0)) / elapsed);
            }
            (Some((_, Value::Buckets(latest))), Some((_, start)))
                if self.present && elapsed > 0.0 =>
            {
                let sums = self.totals.sums.iter().enumerate();
                let counts = sums.map(|(index, sum)| sum - start.sum(index)).collect();
                *out = Value::Buckets(Buckets::from_parts(latest.bounds().to_vec(), counts));
            }
            _ => *out = Value::Absent,
        }
    }

    /// Returns the memory of the window, in bytes, without that of the track itself; 0 without a
    /// window. It grows with the number of buckets of a histogram.
    pub fn memory(&self) -> usize {
        let numbers = match &self.latest {
            Some((_, Value::Buckets(latest))) => 2 * latest.bounds().len(),
            _ => 0,
        };
        let totals = self.totals.sums.len();
        let past = self.past.len() * (PER_SNAPSHOT + totals * size_of::<f64>());
        past + (numbers + totals) * size_of::<f64>()
    }

    /// Returns the track of the same quantity without a past.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self::new(self.kind, self.window, self.gap)
    }

    /// Returns the time of the window that is known.
    fn elapsed(&self) -> Duration {
        self.past
            .front()
            .map_or(Duration::ZERO, |(_, start)| self.totals.time.saturating_sub(start.time))
    }
}

impl Totals {
    fn add(&mut self, index: usize, increase: f64) {
        if index >= self.sums.len() {
            self.sums.resize(index + 1, 0.0);
        }
        self.sums[index] += increase.max(0.0);
    }

    fn sum(&self, index: usize) -> f64 {
        self.sums.get(index).copied().unwrap_or_default()
    }
}

/// Returns true if a histogram has only grown. Otherwise its process has restarted at zero.
fn has_grown(before: &Buckets, now: &Buckets) -> bool {
    before.bounds() == now.bounds()
        && before.counts().iter().zip(now.counts()).all(|(before, now)| now >= before)
}

#[cfg(test)]
mod tests;
