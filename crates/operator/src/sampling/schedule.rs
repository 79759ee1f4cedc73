//! The schedule of the reads of one page or server.

use std::time::Duration;

use tokio::time::Instant;

/// The first read that fails is retried after this part of the interval, so that a hiccup does not
/// cost a whole interval.
const RETRY_DIVISOR: u32 = 4;

/// A schedule with a tick every interval, at a phase of its own, however long a read takes. Missed
/// ticks are skipped.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// The last tick that was read.
    last_tick: Option<Instant>,
    next: Instant,
    /// The ticks are at their phase.
    is_settled: bool,
    /// The number of failed reads since the last success.
    failures: u32,
    /// The next read is a retry between two ticks.
    is_retry: bool,
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

    /// Plans the next read. The second read follows the first after `phase`, so that pods that were
    /// created together are not always scraped together.
    pub(crate) fn plan_next(&mut self, interval: Duration, phase: Duration, now: Instant) {
        let Some(tick) = self.last_tick else { return };
        self.next = tick + if self.is_settled { interval } else { phase };
        self.is_settled = true;
        while self.next <= now {
            self.next += interval;
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

#[cfg(test)]
mod tests {
    use super::*;

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
            schedule.plan_next(ms(interval), ms(phase), now);
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
        schedule.plan_next(second, second, begin + 7 * second / 2);
        assert_eq!(schedule.next(), begin + 4 * second);
    }

    #[test]
    fn a_shorter_interval_counts_from_the_last_tick() {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let mut schedule = Schedule::new(begin);
        schedule.plan_next(second, second, begin);
        assert_eq!(
            (schedule.next(), schedule.has_begun()),
            (begin, false),
            "nothing has been read"
        );
        schedule.record_read(true);
        schedule.plan_next(5 * second, second, begin);
        schedule.record_read(true);
        schedule.plan_next(5 * second, second, begin + second);
        assert_eq!(schedule.next(), begin + 6 * second);
        schedule.plan_next(2 * second, second, begin + second);
        assert_eq!(schedule.next(), begin + 3 * second);
        schedule.tick_now(begin + 2 * second);
        assert_eq!(schedule.next(), begin + 2 * second);
    }
}
