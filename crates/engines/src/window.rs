//! What one recipe has said over time: the mean, the rate or the histogram of a window.
//!
//! All three are differences. A gauge's readings add up to an integral, a counter's steps to an increase, a
//! histogram's to an increase per bucket; a window is what these were at its end less what they were at its start.
//! So a track keeps a few snapshots of running totals, however often it is fed.

use std::{collections::VecDeque, time::Duration};

use crate::{Buckets, Kind, Recipe, exposition::Value};

/// Snapshots per window. A window is therefore up to a sixteenth longer than asked for.
const SNAPSHOTS: u32 = 16;

/// A quantity, and the time over which it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Measure {
    /// The quantity.
    pub recipe: Recipe,
    /// The window; zero for the latest value of a gauge.
    pub window: Duration,
}

/// The recent past of one quantity of one page.
#[derive(Clone, Debug)]
pub struct Track {
    kind: Kind,
    window: Duration,
    gap: Duration,
    /// When the page was read last.
    at: Option<Duration>,
    /// Whether that page had the quantity.
    present: bool,
    /// The latest reading of the quantity.
    latest: Option<(Duration, Value)>,
    totals: Totals,
    /// The totals as they were, from the start of the window on.
    past: VecDeque<(Duration, Totals)>,
}

/// Running totals.
#[derive(Clone, Debug, Default)]
struct Totals {
    /// One of a gauge or a counter, one per bucket of a histogram.
    sums: Vec<f64>,
    /// For how much time they stand.
    time: Duration,
}

impl Track {
    /// The past of a quantity of this kind, over this window; a window of zero is the latest reading, and needs a gauge.
    ///
    /// A reading of a gauge stands for the time since the one before, but for no more than `gap`.
    pub fn new(kind: Kind, window: Duration, gap: Duration) -> Self {
        let (totals, past) = (Totals::default(), VecDeque::new());
        Self { kind, window, gap, at: None, present: false, latest: None, totals, past }
    }

    /// Takes in what a page said. `at` is the time since some fixed moment; a page that is no newer than the latest is
    /// passed over. A page without the quantity leaves the past as it is.
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
            self.remember(at);
        }
        self.set_latest(at, value);
    }

    fn begin(&mut self, at: Duration, value: &Value) {
        self.present = *value != Value::Absent;
        if self.present {
            self.remember(at);
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

    /// Adds the step from the latest reading to this one to the totals.
    fn accumulate(&mut self, page_before: Duration, at: Duration, value: &Value) {
        let (since, latest) = match &self.latest {
            Some((since, latest)) => (*since, latest),
            // A counter that the page before did not have yet has begun since, at zero.
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
                self.totals.time += stands_for;
            }
            (Value::Number(_), _) if self.kind == Kind::Gauge => {}
            (Value::Number(now), latest) => {
                let before = if let Value::Number(before) = latest { *before } else { 0.0 };
                self.totals.add(0, if *now < before { *now } else { now - before });
                self.totals.time += elapsed;
            }
            (Value::Buckets(now), latest) => {
                let before = if let Value::Buckets(before) = latest { Some(before) } else { None };
                let before = before.filter(|before| is_continued(before, now));
                if self.totals.sums.len() != now.bounds().len() {
                    // Other bounds: another version of the engine, begun from zero.
                    self.totals = Totals::default();
                    self.past.clear();
                    self.past.push_back((since, Totals::default()));
                }
                for (index, count) in now.counts().iter().enumerate() {
                    self.totals
                        .add(index, count - before.map_or(0.0, |before| before.counts()[index]));
                }
                self.totals.time += elapsed;
            }
            (Value::Absent, _) => {}
        }
    }

    /// Takes a snapshot of the totals if it is time, and drops those that no window needs.
    fn remember(&mut self, at: Duration) {
        if self.window == Duration::ZERO {
            return;
        }
        let spacing = self.window / SNAPSHOTS;
        if self.past.back().is_none_or(|(last, _)| at >= *last + spacing) {
            self.past.push_back((at, self.totals.clone()));
        }
        while self.past.get(1).is_some_and(|(next, _)| *next + self.window <= at) {
            self.past.pop_front();
        }
    }

    /// Whether there is a first reading, and nothing to compare it with yet.
    pub fn is_pending(&self) -> bool {
        self.present && self.kind != Kind::Gauge && self.elapsed() == Duration::ZERO
    }

    /// Whether less than half of the window is known: enough to grow by, not to shrink by.
    pub fn is_young(&self) -> bool {
        // Halved, and not doubled: a server may claim any time.
        self.elapsed() < self.window / 2
    }

    /// The mean of a gauge; the rate of a counter, per second; the events of a histogram. Absent where the latest
    /// page did not have it, and while it is pending.
    pub fn value(&self) -> Value {
        let mut value = Value::Absent;
        self.value_into(&mut value);
        value
    }

    /// The same, into what held a value before.
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

    /// How much of the window is known.
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

/// Whether a histogram has only grown since; else its process has begun again, at zero.
fn is_continued(before: &Buckets, now: &Buckets) -> bool {
    before.bounds() == now.bounds()
        && before.counts().iter().zip(now.counts()).all(|(before, now)| now >= before)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(3);

    /// Tenths of a second and what the page had then; and what is to come of it.
    type Case = (&'static [(u64, Option<f64>)], Option<f64>);

    fn at(tenths: u64) -> Duration {
        Duration::from_millis(100 * tenths)
    }

    /// Feeds numbers; `None` is a page without the quantity.
    fn fed(kind: Kind, window: u64, readings: &[(u64, Option<f64>)]) -> Track {
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
    fn without_a_window_the_latest_counts() {
        assert_eq!(number(&fed(Kind::Gauge, 0, &[(0, Some(3.0)), (10, Some(5.0))])), Some(5.0));
        assert_eq!(number(&fed(Kind::Gauge, 0, &[(0, Some(3.0)), (10, None)])), None);
        assert_eq!(
            number(&fed(Kind::Gauge, 0, &[(10, Some(3.0)), (5, Some(9.0))])),
            Some(3.0),
            "older"
        );
    }

    #[test]
    fn a_gauges_mean_is_over_time() {
        let table: [Case; 6] = [
            (&[(0, Some(4.0))], Some(4.0)),
            // Each reading stands for the time since the one before.
            (&[(0, Some(9.0)), (10, Some(2.0)), (20, Some(4.0))], Some(3.0)),
            (&[(0, Some(9.0)), (10, Some(2.0)), (40, Some(4.0))], Some(3.5)),
            // But for no more than 3 s.
            (&[(0, Some(9.0)), (10, Some(2.0)), (70, Some(4.0))], Some(3.5)),
            // Missing pages count for nothing.
            (&[(0, Some(9.0)), (10, Some(2.0)), (20, None), (30, Some(2.0))], Some(2.0)),
            (&[(0, Some(9.0)), (10, Some(2.0)), (20, None)], None),
        ];
        for (readings, expected) in table {
            assert_eq!(number(&fed(Kind::Gauge, 10, readings)), expected, "{readings:?}");
        }
    }

    #[test]
    fn a_window_ends() {
        let step = |tenths| (tenths, Some(if tenths < 300 { 100.0 } else { 10.0 }));
        let readings: Vec<_> = (0..=600).step_by(10).map(step).collect();
        assert_eq!(number(&fed(Kind::Gauge, 10, &readings)), Some(10.0));
        let at_40 = number(&fed(Kind::Gauge, 20, &readings[..41])).unwrap();
        assert!((48.0..58.0).contains(&at_40), "half of the window is the step: {at_40}");
        assert!(
            fed(Kind::Gauge, 10, &readings).past.len() <= 18,
            "bounded, however often it is fed"
        );
    }

    #[test]
    fn rates_survive_resets_and_gaps() {
        let table: [Case; 7] = [
            (&[(0, Some(1000.0))], None),
            (&[(0, Some(1000.0)), (10, Some(1010.0))], Some(10.0)),
            (&[(0, Some(1000.0)), (10, Some(1010.0)), (20, Some(1030.0))], Some(15.0)),
            // The process began again: what it counts is new.
            (&[(0, Some(1000.0)), (10, Some(1010.0)), (20, Some(4.0))], Some(7.0)),
            // A page that was not read loses nothing.
            (&[(0, Some(1000.0)), (40, Some(1040.0))], Some(10.0)),
            (&[(0, Some(1000.0)), (10, None), (20, Some(1040.0))], Some(20.0)),
            // Born between two pages.
            (&[(0, None), (10, None), (20, Some(30.0))], Some(30.0)),
        ];
        for (readings, expected) in table {
            let track = fed(Kind::Counter, 60, readings);
            assert_eq!(number(&track), expected, "{readings:?}");
            assert_eq!(track.is_pending(), expected.is_none(), "{readings:?}");
        }
    }

    #[test]
    fn half_a_window_makes_it_grown_up() {
        for (window, tenths, young) in [(0, 0, false), (4, 0, true), (4, 19, true), (4, 20, false)]
        {
            let track = fed(Kind::Gauge, window, &[(0, Some(1.0)), (tenths, Some(2.0))]);
            assert_eq!(track.is_young(), young, "{window} {tenths}");
        }
    }

    #[test]
    fn a_rate_is_of_its_window() {
        let readings: Vec<_> = (0..=1200)
            .step_by(10)
            .map(|tenths| (tenths, Some(if tenths < 600 { 0.0 } else { (tenths - 600) as f64 })))
            .collect();
        let rate = number(&fed(Kind::Counter, 30, &readings)).unwrap();
        assert!((rate - 10.0).abs() < 1e-6, "{rate}");
        assert_eq!(
            number(&fed(Kind::Counter, 30, &readings[..50])),
            Some(0.0),
            "idle is zero, and known"
        );
    }

    #[test]
    fn histograms_are_of_their_window_too() {
        let buckets = |counts: [f64; 3]| {
            Value::Buckets(Buckets::new([1.0, 2.0, f64::INFINITY].into_iter().zip(counts)).unwrap())
        };
        let mut track = Track::new(Kind::Histogram, Duration::from_mins(1), GAP);
        track.push(at(0), &buckets([5.0, 6.0, 7.0]));
        assert!(track.is_pending());
        assert_eq!(track.value(), Value::Absent);
        track.push(at(10), &buckets([5.0, 9.0, 10.0]));
        assert_eq!(track.value(), buckets([0.0, 3.0, 3.0]));
        // Began again.
        track.push(at(20), &buckets([1.0, 1.0, 1.0]));
        assert_eq!(track.value(), buckets([1.0, 4.0, 4.0]));
        // Other bounds.
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
