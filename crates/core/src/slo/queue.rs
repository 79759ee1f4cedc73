//! The queue of a gateway, as of the times of the samples.
//!
//! A request that leaves the queue arrives at a replica, so that both are one flow only where they
//! are of one time. The queue is known at once, and a sample may be old: the queue's growth counts
//! up to the newest sample only.

use std::collections::VecDeque;

/// The observations that are remembered: two minutes of one every second.
const MOST: usize = 120;
/// The age of the newest sample from which the queue counts alone, in seconds: where no replica
/// serves, the queue is all that there is.
const ALONE: f64 = 60.0;

/// The queue over the time since the last one that is counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// The times and the requests, the oldest first; the first one is counted.
    seen: VecDeque<(f64, f64)>,
}

/// The growth of the queue over some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Growth {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) requests: f64,
}

impl Queue {
    /// Takes over the queue at a time, and returns its growth up to the newest sample, if there is
    /// any time to count.
    pub(super) fn push(&mut self, now: f64, queued: Option<f64>, newest: f64) -> Option<Growth> {
        let Some(queued) = queued else {
            // What was not seen is no growth.
            self.seen.clear();
            return None;
        };
        if self.seen.back().is_none_or(|(at, _)| now > *at) {
            if self.seen.len() == MOST {
                self.seen.remove(1);
            }
            self.seen.push_back((now, queued));
        }
        let until = if now - newest > ALONE { now } else { newest };
        let place = self.seen.iter().rposition(|(at, _)| *at <= until)?;
        let ((from, before), (to, after)) = (self.seen[0], self.seen[place]);
        self.seen.drain(..place);
        (to > from).then_some(Growth { from, to, requests: after - before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_counts_up_to_the_newest_sample() {
        let mut queue = Queue::default();
        let growth = |from, to, requests| Some(Growth { from, to, requests });
        // now, queued, the newest sample, what is counted
        let table = [
            (5.0, Some(0.0), 5.0, None),
            (10.0, Some(4.0), 10.0, growth(5.0, 10.0, 4.0)),
            (15.0, Some(9.0), 10.0, None),
            (20.0, Some(11.0), 15.0, growth(10.0, 15.0, 5.0)),
            (25.0, Some(7.0), 25.0, growth(15.0, 25.0, -2.0)),
            // A queue that is not known is a gap and no growth.
            (30.0, None, 30.0, None),
            (35.0, Some(90.0), 35.0, None),
            (40.0, Some(95.0), 40.0, growth(35.0, 40.0, 5.0)),
            // Where no replica has a newer sample, the queue counts alone.
            (100.0, Some(96.0), 40.0, None),
            (101.0, Some(99.0), 40.0, growth(40.0, 101.0, 4.0)),
        ];
        for (now, queued, newest, expected) in table {
            assert_eq!(queue.push(now, queued, newest), expected, "{now}");
        }
    }

    #[test]
    fn the_memory_is_bounded_and_loses_no_growth() {
        let mut queue = Queue::default();
        for second in 0..1_000 {
            queue.push(f64::from(second), Some(f64::from(second)), 999.0 - 30.0);
            assert!(queue.seen.len() <= MOST);
        }
        let mut old = Queue::default();
        old.push(0.0, Some(0.0), 0.0);
        for second in 1..=400 {
            old.push(f64::from(second), Some(f64::from(second)), f64::from(second) - 59.0);
        }
        let counted = old.seen[0];
        assert!((counted.1 - counted.0).abs() < 1e-9, "{counted:?}");
    }
}
