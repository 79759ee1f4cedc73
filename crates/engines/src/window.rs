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
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(3);

    /// The samples, as tenths of a second and the number on the page, and the expected value.
    type Case = (&'static [(u64, Option<f64>)], Option<f64>);

    fn at(tenths: u64) -> Duration {
        Duration::from_millis(100 * tenths)
    }

    /// Returns a track that has been fed these numbers; `None` is a page without the quantity.
    fn track_of(kind: Kind, window: u64, readings: &[(u64, Option<f64>)]) -> Track {
        let mut track = Track::new(kind, Duration::from_secs(window), GAP);
        for (tenths, number) in readings {
            track.push(at(*tenths), &number.map_or(Value::Absent, Value::Number));
        }
        track
    }

    fn number(track: &Track) -> Option<f64> {
        match track.value() {
            Value::Number(number) => Some((number * 1e6).round() / 1e6),
            Value::Absent => None,
            Value::Buckets(_) => panic!("buckets"),
        }
    }

    #[test]
    fn any_moment_may_be_claimed() {
        // A Prometheus that is wrong about the time, or lies, ends nothing: 2^64 - 2048 s.
        let late = Duration::from_secs(18_446_744_073_709_549_568);
        for kind in [Kind::Gauge, Kind::Counter] {
            let mut track = Track::new(kind, Duration::from_hours(1), GAP);
            for (at, number) in [(Duration::ZERO, 1.0), (late, 2.0), (Duration::MAX, 3.0)] {
                track.push(at, &Value::Number(number));
                let _ = track.value();
            }
            assert!(!track.is_pending(), "{kind:?}");
        }
    }

    #[test]
    fn without_a_window_the_value_is_the_latest_sample() {
        assert_eq!(
            number(&track_of(Kind::Gauge, 0, &[(0, Some(3.0)), (10, Some(5.0))])),
            Some(5.0)
        );
        assert_eq!(number(&track_of(Kind::Gauge, 0, &[(0, Some(3.0)), (10, None)])), None);
        assert_eq!(
            number(&track_of(Kind::Gauge, 0, &[(10, Some(3.0)), (5, Some(9.0))])),
            Some(3.0),
            "older"
        );
    }

    #[test]
    fn a_gauges_mean_is_weighted_by_time() {
        let table: [Case; 6] = [
            (&[(0, Some(4.0))], Some(4.0)),
            // Each sample covers the time since the previous one.
            (&[(0, Some(9.0)), (10, Some(2.0)), (20, Some(4.0))], Some(3.0)),
            (&[(0, Some(9.0)), (10, Some(2.0)), (40, Some(4.0))], Some(3.5)),
            // It covers no more than 3 s.
            (&[(0, Some(9.0)), (10, Some(2.0)), (70, Some(4.0))], Some(3.5)),
            // A missing page covers no time.
            (&[(0, Some(9.0)), (10, Some(2.0)), (20, None), (30, Some(2.0))], Some(2.0)),
            (&[(0, Some(9.0)), (10, Some(2.0)), (20, None)], None),
        ];
        for (readings, expected) in table {
            assert_eq!(number(&track_of(Kind::Gauge, 10, readings)), expected, "{readings:?}");
        }
    }

    #[test]
    fn samples_from_before_the_window_do_not_count() {
        let step = |tenths| (tenths, Some(if tenths < 300 { 100.0 } else { 10.0 }));
        let readings: Vec<_> = (0..=600).step_by(10).map(step).collect();
        assert_eq!(number(&track_of(Kind::Gauge, 10, &readings)), Some(10.0));
        let at_40 = number(&track_of(Kind::Gauge, 20, &readings[..41])).unwrap();
        assert!((48.0..58.0).contains(&at_40), "half of the window is the step: {at_40}");
        assert!(
            track_of(Kind::Gauge, 10, &readings).past.len() <= 18,
            "bounded, however often it is fed"
        );
    }

    #[test]
    fn rates_survive_resets_and_gaps() {
        let table: [Case; 7] = [
            (&[(0, Some(1000.0))], None),
            (&[(0, Some(1000.0)), (10, Some(1010.0))], Some(10.0)),
            (&[(0, Some(1000.0)), (10, Some(1010.0)), (20, Some(1030.0))], Some(15.0)),
            // The process has restarted, so everything that it counts is new.
            (&[(0, Some(1000.0)), (10, Some(1010.0)), (20, Some(4.0))], Some(7.0)),
            // A page that was not scraped loses nothing.
            (&[(0, Some(1000.0)), (40, Some(1040.0))], Some(10.0)),
            (&[(0, Some(1000.0)), (10, None), (20, Some(1040.0))], Some(20.0)),
            // The counter has started between two pages.
            (&[(0, None), (10, None), (20, Some(30.0))], Some(30.0)),
        ];
        for (readings, expected) in table {
            let track = track_of(Kind::Counter, 60, readings);
            assert_eq!(number(&track), expected, "{readings:?}");
            assert_eq!(track.is_pending(), expected.is_none(), "{readings:?}");
        }
    }

    #[test]
    fn a_track_is_young_until_half_of_its_window_is_known() {
        for (window, tenths, young) in [(0, 0, false), (4, 0, true), (4, 19, true), (4, 20, false)]
        {
            let track = track_of(Kind::Gauge, window, &[(0, Some(1.0)), (tenths, Some(2.0))]);
            assert_eq!(track.is_young(), young, "{window} {tenths}");
        }
    }

    #[test]
    fn a_rate_covers_its_window_only() {
        let readings: Vec<_> = (0..=1200)
            .step_by(10)
            .map(|tenths| (tenths, Some(if tenths < 600 { 0.0 } else { (tenths - 600) as f64 })))
            .collect();
        let rate = number(&track_of(Kind::Counter, 30, &readings)).unwrap();
        assert!((rate - 10.0).abs() < 1e-6, "{rate}");
        assert_eq!(
            number(&track_of(Kind::Counter, 30, &readings[..50])),
            Some(0.0),
            "idle is zero, not absent"
        );
    }

    #[test]
    fn a_histogram_covers_its_window_only() {
        let buckets = |counts: [f64; 3]| {
            Value::Buckets(Buckets::new([1.0, 2.0, f64::INFINITY].into_iter().zip(counts)).unwrap())
        };
        let mut track = Track::new(Kind::Histogram, Duration::from_mins(1), GAP);
        track.push(at(0), &buckets([5.0, 6.0, 7.0]));
        assert!(track.is_pending());
        assert_eq!(track.value(), Value::Absent);
        track.push(at(10), &buckets([5.0, 9.0, 10.0]));
        assert_eq!(track.value(), buckets([0.0, 3.0, 3.0]));
        // The process has restarted.
        track.push(at(20), &buckets([1.0, 1.0, 1.0]));
        assert_eq!(track.value(), buckets([1.0, 4.0, 4.0]));
        // The bounds have changed.
        let finer = Value::Buckets(
            Buckets::new([(0.5, 1.0), (1.0, 1.0), (2.0, 2.0), (f64::INFINITY, 2.0)]).unwrap(),
        );
        track.push(at(30), &finer);
        assert_eq!(track.value(), finer);
        track.push(at(900), &finer);
        let Value::Buckets(idle) = track.value() else { panic!("gone") };
        assert!(idle.events() < 3.0);
    }
}
