//! When a page is read.

use std::time::Duration;

use tokio::time::Instant;

/// After the first read that fails the next comes in this part of the interval: a hiccup does not cost a whole one.
const SOONER: u32 = 4;

/// The rhythm of one page: a beat every interval, at a phase of its own, whatever a read takes; one that was missed is not
/// made up for.
#[derive(Debug)]
pub struct Rhythm {
    /// The last read that was a beat.
    beat: Option<Instant>,
    next: Instant,
    /// The beats are at their phase.
    settled: bool,
    /// How many reads have failed in a row.
    failures: u32,
    /// The next read is out of turn.
    extra: bool,
}

impl Rhythm {
    /// Begins with a read at this moment.
    pub fn new(first: Instant) -> Self {
        Self { beat: None, next: first, settled: false, failures: 0, extra: false }
    }

    /// When the next read is due.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Whether there has been a read.
    pub fn has_begun(&self) -> bool {
        self.beat.is_some()
    }

    /// A read that was due has been done.
    pub fn done(&mut self, ok: bool) {
        let was_extra = std::mem::take(&mut self.extra);
        if !was_extra {
            self.beat = Some(self.next);
        }
        self.failures = if ok { 0 } else { self.failures.saturating_add(1) };
    }

    /// Plans the next read. The second one comes a `phase` after the first, so that pods that came together are not
    /// read together for ever.
    pub fn plan(&mut self, interval: Duration, phase: Duration, now: Instant) {
        let Some(beat) = self.beat else { return };
        self.next = beat + if self.settled { interval } else { phase };
        self.settled = true;
        while self.next <= now {
            self.next += interval;
        }
        let soon = now + interval / SOONER;
        self.extra = self.failures == 1 && soon < self.next;
        if self.extra {
            self.next = soon;
        }
    }

    /// The next read is due now, and is a beat.
    pub fn at_once(&mut self, now: Instant) {
        (self.next, self.extra) = (now, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds at which pages are read, where each read takes 10 ms and says whether it has succeeded.
    fn reads(interval: u64, phase: u64, results: &[bool]) -> Vec<u64> {
        let ms = Duration::from_millis;
        let begin = Instant::now();
        let mut rhythm = Rhythm::new(begin);
        let mut at = Vec::new();
        for ok in results {
            at.push((rhythm.next() - begin).as_millis() as u64);
            let now = rhythm.next() + ms(10);
            rhythm.done(*ok);
            rhythm.plan(ms(interval), ms(phase), now);
        }
        at
    }

    #[test]
    fn the_second_read_finds_the_phase_and_the_rest_keep_the_interval() {
        assert_eq!(reads(1000, 300, &[true; 4]), [0, 300, 1300, 2300]);
        assert_eq!(reads(1000, 0, &[true; 3]), [0, 1000, 2000], "a phase that is over by then");
    }

    #[test]
    fn the_first_read_that_fails_is_tried_again_sooner() {
        assert_eq!(reads(1000, 300, &[true, true, false, true, true]), [0, 300, 1300, 1560, 2300]);
        assert_eq!(
            reads(1000, 300, &[true, true, false, false, false, false]),
            [0, 300, 1300, 1560, 2300, 3300]
        );
        assert_eq!(
            reads(1000, 200, &[false, true, true]),
            [0, 200, 1200],
            "the phase comes sooner still"
        );
    }

    #[test]
    fn reads_that_are_missed_are_not_made_up_for() {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let mut rhythm = Rhythm::new(begin);
        rhythm.done(true);
        rhythm.plan(second, second, begin + 7 * second / 2);
        assert_eq!(rhythm.next(), begin + 4 * second);
    }

    #[test]
    fn a_shorter_interval_counts_from_the_last_read() {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let mut rhythm = Rhythm::new(begin);
        rhythm.plan(second, second, begin);
        assert_eq!((rhythm.next(), rhythm.has_begun()), (begin, false), "nothing has been read");
        rhythm.done(true);
        rhythm.plan(5 * second, second, begin);
        rhythm.done(true);
        rhythm.plan(5 * second, second, begin + second);
        assert_eq!(rhythm.next(), begin + 6 * second);
        rhythm.plan(2 * second, second, begin + second);
        assert_eq!(rhythm.next(), begin + 3 * second);
        rhythm.at_once(begin + 2 * second);
        assert_eq!(rhythm.next(), begin + 2 * second);
    }
}
