//! Arrivals in slots of time. Each sample's arrivals are spread over the time that they cover, so
//! that a lost scrape is neither a gap nor a peak.

use std::collections::VecDeque;

/// The length of a slot in seconds.
const SLOT: f64 = 5.0;
/// The number of slots: ten minutes.
const SLOTS: usize = 120;
/// The time for which the rate of a replica without a newer sample is carried on, in seconds.
const CARRIED: f64 = 120.0;
/// The slots that a line needs: less is noise.
const LEAST_POINTS: i64 = 12;

/// Requests, and the seconds of a replica's computing that they need.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flow {
    pub(super) requests: f64,
    pub(super) work: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    counted: Flow,
    /// The arrivals that are expected of replicas with samples that are older than the newest one.
    expected: Flow,
}

/// The arrivals of the last ten minutes.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    slots: VecDeque<Slot>,
    /// The number of the first slot since time zero.
    first: i64,
    /// The beginning of the counted time.
    begin: Option<f64>,
    /// The time of the newest sample.
    end: f64,
}

/// A straight line through the work of some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    /// The mean of the work.
    pub(super) mean: f64,
    /// The slope, in work per second and second, and its standard error.
    pub(super) slope: f64,
    pub(super) error: f64,
    /// The seconds from the middle of the line to the newest sample.
    pub(super) since_middle: f64,
}

impl Slot {
    /// Returns the work per second.
    fn rate(&self) -> f64 {
        (self.counted.work + self.expected.work) / SLOT
    }
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { slots: VecDeque::with_capacity(SLOTS + 1), first: 0, begin: None, end: 0.0 }
    }
}

impl Arrivals {
    /// Counts arrivals between two times.
    pub(super) fn count(&mut self, from: f64, to: f64, flow: Flow) {
        self.begin = Some(self.begin.map_or(from, |begin| begin.min(from)));
        self.end = self.end.max(to);
        self.extend();
        self.spread(from, to, flow, |slot| &mut slot.counted);
    }

    /// Forgets what was expected, before it is expected anew.
    pub(super) fn begin_expecting(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.expected = Flow::default());
    }

    /// Expects arrivals at a rate since the latest sample of a replica.
    pub(super) fn expect(&mut self, since: f64, rate: Flow) {
        let time = self.end - since;
        if time > 0.0 && time <= CARRIED {
            let flow = Flow { requests: rate.requests * time, work: rate.work * time };
            self.spread(since, self.end, flow, |slot| &mut slot.expected);
        }
    }

    /// Returns the time of the newest sample.
    pub(super) fn end(&self) -> f64 {
        self.end
    }

    /// Returns the mean rate of the latest seconds up to `end - ago`, and not before `since`;
    /// `None` where less than a slot has been counted.
    pub(super) fn rate(&self, seconds: f64, ago: f64, since: f64) -> Option<Flow> {
        let to = self.end - ago;
        let from = (to - seconds).max(since).max(self.begin?).max(self.first as f64 * SLOT);
        let time = to - from;
        if time < SLOT.min(seconds) - 1e-6 {
            return None;
        }
        let mut sum = Flow::default();
        let (first, last) = (self.place(from), self.place(to));
        for place in first..=last.min(self.slots.len().saturating_sub(1)) {
            let slot = &self.slots[place];
            let share = self.overlap(place, from, to) / SLOT;
            let filled = self.filled(place);
            let share = if filled > 0.0 { (share / filled).min(1.0) } else { 0.0 };
            sum.requests += share * (slot.counted.requests + slot.expected.requests);
            sum.work += share * (slot.counted.work + slot.expected.work);
        }
        Some(Flow { requests: sum.requests / time, work: sum.work / time })
    }

    /// Returns the straight line through the work of the latest seconds, and not before `since`, by
    /// least squares; `None` while there is less than a part of that.
    pub(super) fn line(&self, seconds: f64, since: f64) -> Option<Line> {
        let to = self.end;
        let from = (to - seconds).max(since).max(self.begin?).max(self.first as f64 * SLOT);
        // Whole slots only: a part of one is a matter of a few requests.
        let (first, last) = ((from / SLOT).ceil() as i64, (to / SLOT).floor() as i64);
        let count = last - first;
        if count < LEAST_POINTS {
            return None;
        }
        let places = (first - self.first) as usize..(last - self.first) as usize;
        let middle = (count - 1) as f64 / 2.0;
        let (mut sum, mut along, mut squares) = (0.0, 0.0, 0.0);
        for (index, slot) in self.slots.range(places.clone()).enumerate() {
            let (rate, at) = (slot.rate(), index as f64 - middle);
            (sum, along, squares) = (sum + rate, along + at * rate, squares + at * at);
        }
        let (mean, slope) = (sum / count as f64, along / squares);
        let residuals = self.slots.range(places).enumerate().map(|(index, slot)| {
            let residual = slot.rate() - mean - slope * (index as f64 - middle);
            residual * residual
        });
        let error = (residuals.sum::<f64>() / (count - 2) as f64 / squares).sqrt();
        let middle = f64::midpoint(first as f64, last as f64) * SLOT;
        Some(Line { mean, slope: slope / SLOT, error: error / SLOT, since_middle: to - middle })
    }

    /// Appends slots up to the newest sample, and forgets those before the last ten minutes.
    fn extend(&mut self) {
        let last = (self.end / SLOT).floor() as i64;
        if self.slots.is_empty() || last - self.first > 2 * SLOTS as i64 {
            self.slots.clear();
            self.first = last + 1 - SLOTS as i64;
        }
        while self.first + self.slots.len() as i64 <= last {
            self.slots.push_back(Slot::default());
        }
        while self.slots.len() > SLOTS {
            self.slots.pop_front();
            self.first += 1;
        }
    }

    fn spread(&mut self, from: f64, to: f64, flow: Flow, part: fn(&mut Slot) -> &mut Flow) {
        let time = to - from;
        for place in self.place(from)..self.slots.len() {
            let share = self.overlap(place, from, to) / time;
            let part = part(&mut self.slots[place]);
            part.requests += share * flow.requests;
            part.work += share * flow.work;
        }
    }

    /// Returns the place of the slot of a time, or the first one if that is forgotten.
    fn place(&self, at: f64) -> usize {
        let number = (at / SLOT).floor() as i64 - self.first;
        usize::try_from(number).unwrap_or(0)
    }

    /// Returns the seconds of a slot between two times.
    fn overlap(&self, place: usize, from: f64, to: f64) -> f64 {
        let start = (self.first + place as i64) as f64 * SLOT;
        (to.min(start + SLOT) - from.max(start)).max(0.0)
    }

    /// Returns the share of a slot that lies within the counted time.
    fn filled(&self, place: usize) -> f64 {
        let begin = self.begin.unwrap_or(f64::NEG_INFINITY);
        self.overlap(place, begin, self.end) / SLOT
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALWAYS: f64 = f64::NEG_INFINITY;

    fn requests(requests: f64) -> Flow {
        Flow { requests, work: 0.0 }
    }

    fn close(found: Option<Flow>, expected: f64) -> bool {
        found.is_some_and(|found| (found.requests - expected).abs() < 1e-6)
    }

    #[test]
    fn nothing_counted_is_no_rate() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.rate(120.0, 0.0, ALWAYS), None);
        arrivals.count(100.0, 102.0, requests(4.0));
        assert_eq!(arrivals.rate(120.0, 0.0, ALWAYS), None);
    }

    #[test]
    fn a_replica_whose_scrape_is_missing_is_expected_at_its_rate() {
        let mut arrivals = Arrivals::default();
        for at in 0..12 {
            let (from, to) = (5.0 * f64::from(at), 5.0 * f64::from(at + 1));
            arrivals.count(from, to, requests(10.0));
            if at < 9 {
                arrivals.count(from, to, requests(20.0));
            }
        }
        arrivals.begin_expecting();
        arrivals.expect(45.0, requests(4.0));
        assert!(close(arrivals.rate(10.0, 0.0, ALWAYS), 6.0));
        assert!(close(arrivals.rate(60.0, 0.0, ALWAYS), 6.0));
        arrivals.count(45.0, 60.0, requests(60.0));
        arrivals.begin_expecting();
        assert!(close(arrivals.rate(60.0, 0.0, ALWAYS), 6.0));
    }

    #[test]
    fn a_rate_begins_at_a_change_of_the_load() {
        let mut arrivals = Arrivals::default();
        arrivals.count(0.0, 60.0, requests(60.0));
        arrivals.count(60.0, 70.0, requests(100.0));
        assert!(close(arrivals.rate(60.0, 0.0, 60.0), 10.0));
        assert!(close(arrivals.rate(20.0, 0.0, ALWAYS), 5.5));
        assert!(close(arrivals.rate(20.0, 10.0, ALWAYS), 1.0));
    }

    #[test]
    fn the_line_of_a_straight_rise_is_the_rise() {
        let mut arrivals = Arrivals::default();
        for at in 0..60 {
            let (from, to) = (5.0 * f64::from(at), 5.0 * f64::from(at + 1));
            assert_eq!(arrivals.line(180.0, ALWAYS).is_some(), from > 59.0, "{from}");
            let work = 5.0 * 0.1 * f64::midpoint(from, to);
            arrivals.count(from, to, Flow { requests: 1.0, work });
        }
        let line = arrivals.line(180.0, ALWAYS).unwrap();
        assert!((line.slope - 0.1).abs() < 1e-6 && line.error < 1e-6, "{line:?}");
        assert!((line.mean + line.slope * line.since_middle - 30.0).abs() < 1e-6, "{line:?}");
        assert_eq!(arrivals.line(180.0, 250.0), None, "too short after a change");
    }

    proptest! {
        /// A constant stream has its rate, wherever the samples lie and whichever of them are lost.
        #[test]
        fn lost_scrapes_change_no_rate(
            gaps in prop::collection::vec(0.5f64..20.0, 30..90), rate in 0.1f64..100.0
        ) {
            let mut arrivals = Arrivals::default();
            let mut at = 3.0;
            for gap in gaps {
                arrivals.count(at, at + gap, requests(rate * gap));
                at += gap;
            }
            for seconds in [5.0, 20.0, 60.0, 120.0] {
                let found = arrivals.rate(seconds, 0.0, ALWAYS).map(|found| found.requests);
                prop_assert!((found.unwrap() / rate - 1.0).abs() < 1e-6, "{seconds} {found:?}");
            }
        }
    }
}
