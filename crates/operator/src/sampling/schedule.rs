//! The schedule of the reads of one page or server.

use std::time::Duration;

use tokio::time::Instant;

/// The first read that fails is retried after this part of the interval, so that a hiccup does not
/// cost a whole interval.
const RETRY_DIVISOR: u32 = 4;
/// The longest time between two moments of a grid. A hundred thousand pages are some hundred at a
/// time then.
const LONGEST_SLOT: Duration = Duration::from_millis(20);
/// The fewest moments of a grid in an interval, so that a tick is moved by a 500th of it at most.
const FEWEST_SLOTS: f64 = 256.0;
/// A tick that comes this part of an interval before its phase, or less, is at it: a grid moves it
/// by less than that.
const AT_PHASE_DIVISOR: u32 = 64;

/// A schedule with a tick every interval, at a phase of its own, however long a read takes. Missed
/// ticks are skipped.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// The last tick that was read.
    last_tick: Option<Instant>,
    next: Instant,
    /// The second tick has been planned.
    is_settled: bool,
    /// The number of failed reads since the last success.
    failures: u32,
    /// The next read is a retry between two ticks.
    is_retry: bool,
}

/// The moments at which reads begin: those of many pages together. What runs a hundred times in a
/// row has its code and its data in the caches and wakes a thread once, so that a read takes a
/// third less CPU than one alone (`docs/performance.md`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    origin: Instant,
}

/// The moments of the ticks that follow the first one. A phase is a part of an interval.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ticks {
    /// The second follows the first after the phase, and the others at the interval.
    FromFirst(f64),
    /// Each is at the phase of the intervals that the grid's origin begins, and is moved to the
    /// nearest moment of the grid. Pages with one phase and interval are read together, whenever
    /// each was read first.
    OnGrid(Grid, f64),
}

impl Schedule {
    /// Returns a schedule with the first read at this moment.
    pub(crate) fn new(first: Instant) -> Self {
        Self { last_tick: None, next: first, is_settled: false, failures: 0, is_retry: false }
    }

    /// Returns the time of the next read.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Returns true after the first read.
    pub(crate) fn has_begun(&self) -> bool {
        self.last_tick.is_some()
    }

    /// Records the result of the read that was due.
    pub(crate) fn record_read(&mut self, ok: bool) {
        let was_retry = std::mem::take(&mut self.is_retry);
        if !was_retry {
            self.last_tick = Some(self.next);
        }
        self.failures = if ok { 0 } else { self.failures.saturating_add(1) };
    }

    /// Plans the next read.
    pub(crate) fn plan_next(&mut self, interval: Duration, ticks: Ticks, now: Instant) {
        let Some(tick) = self.last_tick else { return };
        let mut planned = match ticks {
            Ticks::FromFirst(phase) if !self.is_settled => tick + interval.mul_f64(phase),
            Ticks::FromFirst(_) => tick + interval,
            Ticks::OnGrid(grid, phase) => grid.next_at(phase, interval, tick),
        };
        self.is_settled = true;
        self.next = ticks.moved(planned, interval);
        while self.next <= now {
            planned += interval;
            self.next = ticks.moved(planned, interval);
        }
        let retry = now + interval / RETRY_DIVISOR;
        self.is_retry = self.failures == 1 && retry < self.next;
        if self.is_retry {
            self.next = retry;
        }
    }

    /// Makes the next read due now, as a tick.
    pub(crate) fn tick_now(&mut self, now: Instant) {
        (self.next, self.is_retry) = (now, false);
    }
}

impl Ticks {
    /// Returns the moment of a planned tick.
    fn moved(self, planned: Instant, interval: Duration) -> Instant {
        match self {
            Self::FromFirst(_) => planned,
            Self::OnGrid(grid, _) => grid.nearest(planned, interval),
        }
    }
}

impl Grid {
    /// Returns a grid with a moment at `origin`.
    pub(crate) fn new(origin: Instant) -> Self {
        Self { origin }
    }

    /// Returns the first moment at this phase of the intervals that the origin begins, after a tick
    /// that may be at the phase itself.
    fn next_at(self, phase: f64, interval: Duration, tick: Instant) -> Instant {
        let length = interval.as_nanos().max(1);
        let phase = interval.mul_f64(phase).as_nanos();
        let since = tick.saturating_duration_since(self.origin).as_nanos();
        let over = (since + length - phase % length) % length;
        let wait = Duration::from_nanos((length - over) as u64);
        let is_at_phase = wait <= interval / AT_PHASE_DIVISOR;
        tick + wait + if is_at_phase { interval } else { Duration::ZERO }
    }

    /// Returns the moment of an interval's grid that is nearest to `at`.
    fn nearest(self, at: Instant, interval: Duration) -> Instant {
        let slots = interval.div_duration_f64(LONGEST_SLOT).ceil().max(FEWEST_SLOTS);
        let slot = (interval.as_nanos() / slots as u128).max(1);
        let Some(since) = at.checked_duration_since(self.origin) else { return at };
        let number = (since.as_nanos() + slot / 2) / slot;
        self.origin + Duration::from_nanos((number * slot) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_come_together_and_stay_on_the_grid() {
        let origin = Instant::now();
        let (grid, after) = (Grid::new(origin), |micros| origin + Duration::from_micros(micros));
        // interval, moment, nearest moment of the grid, all in µs
        let table = [
            (1_000_000, 0, 0),
            (1_000_000, 1_953, 0),
            (1_000_000, 1_954, 3_906),
            (5_000_000, 29_000, 19_531),
            (5_000_000, 30_000, 39_062),
            (15_000_000, 29_999, 20_000),
            (15_000_000, 30_000, 40_000),
            (60_000_000, 123_456_789, 123_460_000),
        ];
        for (interval, at, expected) in table {
            let interval = Duration::from_micros(interval);
            let found = grid.nearest(after(at), interval);
            assert_eq!((found - origin).as_micros(), expected, "{interval:?}, {at} µs");
            assert_eq!(grid.nearest(found + interval, interval), found + interval, "{interval:?}");
        }
        assert_eq!(Grid::new(after(9)).nearest(origin, Duration::from_secs(1)), origin);
    }

    /// Its slots do not fill it, by some nanoseconds.
    #[test]
    fn an_odd_interval_does_not_become_longer_by_the_grid() {
        let (origin, interval) = (Instant::now(), Duration::from_nanos(1_234_567_891));
        let mut schedule = Schedule::new(origin);
        for tick in 0..1000 {
            let planned = origin + tick * interval;
            let off = (schedule.next() - origin).abs_diff(planned - origin);
            assert!(off < Duration::from_millis(5), "{off:?} at {tick}");
            let now = schedule.next();
            schedule.record_read(true);
            schedule.plan_next(interval, Ticks::OnGrid(Grid::new(origin), 0.0), now);
        }
    }

    #[test]
    fn a_retry_waits_for_nothing() {
        let (origin, second) = (Instant::now(), Duration::from_secs(1));
        let mut schedule = Schedule::new(origin);
        schedule.record_read(false);
        let now = origin + Duration::from_micros(2_345);
        schedule.plan_next(second, Ticks::OnGrid(Grid::new(origin), 0.0), now);
        assert_eq!(schedule.next(), now + second / 4);
    }

    /// A tick of another interval's grid, and a look at the page just before it.
    #[test]
    fn a_tick_that_the_grid_has_moved_is_not_skipped() {
        let (origin, interval) = (Instant::now(), Duration::from_secs(1));
        for micros in 0..4000 {
            let tick = origin + Duration::from_micros(micros);
            let ticks = Ticks::OnGrid(Grid::new(origin), f64::from(micros as u32) / 1e6);
            let mut schedule = Schedule::new(tick);
            schedule.record_read(true);
            schedule.plan_next(interval, ticks, tick);
            let planned = schedule.next();
            let before = planned - Duration::from_nanos(1);
            schedule.plan_next(interval, ticks, before);
            assert_eq!(schedule.next(), planned, "{micros} µs");
            schedule.plan_next(interval, ticks, planned);
            assert_eq!(schedule.next(), planned + interval, "{micros} µs");
        }
    }

    /// A tick that the grid has moved before its phase is not read again at it.
    #[test]
    fn ticks_at_any_phase_come_once_an_interval() {
        let (origin, interval) = (Instant::now(), Duration::from_nanos(1_234_567_891));
        for phase in [0.0, 0.001, 0.123_456, 0.5, 0.617, 0.999_9] {
            let mut schedule = Schedule::new(origin + interval / 3);
            let mut before = None;
            for tick in 0..500 {
                let now = schedule.next();
                if let Some(before) = before.replace(now).filter(|_| tick > 1) {
                    let gap = (now - before).abs_diff(interval);
                    assert!(gap < Duration::from_millis(10), "{phase}, {tick}: off by {gap:?}");
                }
                schedule.record_read(true);
                schedule.plan_next(interval, Ticks::OnGrid(Grid::new(origin), phase), now);
            }
        }
    }

    /// Pods come one by one, and are scraped more often for a while.
    #[test]
    fn pages_of_one_phase_come_together_again() {
        let (origin, ms) = (Instant::now(), Duration::from_millis);
        let ticks = Ticks::OnGrid(Grid::new(origin), 0.25);
        let next = |first: u64, intervals: &[u64]| {
            let mut schedule = Schedule::new(origin + ms(first));
            for interval in intervals {
                let now = schedule.next();
                schedule.record_read(true);
                schedule.plan_next(ms(*interval), ticks, now);
            }
            (schedule.next() - origin).as_millis()
        };
        // first read, intervals, time of the next read in ms, moved by half of a slot at most
        let table: [(u64, &[u64], u128); 8] = [
            (0, &[4000], 1000),
            (900, &[4000], 1000),
            (1100, &[4000], 5000),
            (999, &[4000], 5000),
            (0, &[4000, 4000, 4000], 9000),
            (0, &[4000, 1000], 1250),
            (0, &[4000, 1000, 4000], 5000),
            (3700, &[4000, 1000, 1000, 1000, 4000], 9000),
        ];
        for (first, intervals, expected) in table {
            let found = next(first, intervals);
            assert!(found.abs_diff(expected) <= 8, "{first}, {intervals:?}: {found}");
        }
    }

    /// Returns the milliseconds at which a page is read, given the results of the reads. Each read
    /// takes 10 ms.
    fn reads(interval: u64, phase: u64, results: &[bool]) -> Vec<u64> {
        let ms = Duration::from_millis;
        let begin = Instant::now();
        let mut schedule = Schedule::new(begin);
        let mut at = Vec::new();
        for ok in results {
            at.push((schedule.next() - begin).as_millis() as u64);
            let now = schedule.next() + ms(10);
            schedule.record_read(*ok);
            let phase = phase as f64 / interval as f64;
            schedule.plan_next(ms(interval), Ticks::FromFirst(phase), now);
        }
        at
    }

    #[test]
    fn the_second_read_is_at_the_phase_and_the_others_follow_at_the_interval() {
        assert_eq!(reads(1000, 300, &[true; 4]), [0, 300, 1300, 2300]);
        assert_eq!(
            reads(1000, 0, &[true; 3]),
            [0, 1000, 2000],
            "the phase is over when the first read ends"
        );
    }

    #[test]
    fn the_first_read_that_fails_is_retried_sooner() {
        assert_eq!(reads(1000, 300, &[true, true, false, true, true]), [0, 300, 1300, 1560, 2300]);
        assert_eq!(
            reads(1000, 300, &[true, true, false, false, false, false]),
            [0, 300, 1300, 1560, 2300, 3300]
        );
        assert_eq!(
            reads(1000, 200, &[false, true, true]),
            [0, 200, 1200],
            "the phase is sooner than a retry"
        );
    }

    #[test]
    fn missed_ticks_are_skipped() {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let mut schedule = Schedule::new(begin);
        schedule.record_read(true);
        schedule.plan_next(second, Ticks::FromFirst(1.0), begin + 7 * second / 2);
        assert_eq!(schedule.next(), begin + 4 * second);
    }

    #[test]
    fn a_shorter_interval_counts_from_the_last_tick() {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let mut schedule = Schedule::new(begin);
        schedule.plan_next(second, Ticks::FromFirst(1.0), begin);
        assert_eq!(
            (schedule.next(), schedule.has_begun()),
            (begin, false),
            "nothing has been read"
        );
        schedule.record_read(true);
        schedule.plan_next(5 * second, Ticks::FromFirst(0.2), begin);
        schedule.record_read(true);
        schedule.plan_next(5 * second, Ticks::FromFirst(0.2), begin + second);
        assert_eq!(schedule.next(), begin + 6 * second);
        schedule.plan_next(2 * second, Ticks::FromFirst(0.5), begin + second);
        assert_eq!(schedule.next(), begin + 3 * second);
        schedule.tick_now(begin + 2 * second);
        assert_eq!(schedule.next(), begin + 2 * second);
    }
}
