//! The health of a watch: whether a store that is fed by it can be relied on.

use std::time::Duration;

use llm_autoscaler_core::Monotonic;

/// The time for which failures of the watch are tolerated: it may recover by itself.
const TOLERATED: Duration = Duration::from_secs(30);
/// A watch that has not failed for this long works. While it does not work, it is tried, and
/// fails, at least every 30 s.
const CALM: Duration = Duration::from_mins(1);

/// The health of the watch of the pods.
#[derive(Debug, Default)]
pub(super) struct WatchHealth {
    /// True once the first listing is complete.
    is_synced: bool,
    failing: Option<Failing>,
}

/// A watch that fails repeatedly.
#[derive(Debug)]
struct Failing {
    since: Monotonic,
    latest: Monotonic,
    error: String,
}

impl WatchHealth {
    /// Records that a listing is complete.
    pub(super) fn record_listing(&mut self) {
        self.is_synced = true;
    }

    /// Records an event, by which the watch works.
    pub(super) fn record_event(&mut self) {
        self.failing = None;
    }

    /// Records a failure.
    pub(super) fn record_failure(&mut self, error: String, now: Monotonic) {
        let since = self.failing(now).map_or(now, |failing| failing.since);
        self.failing = Some(Failing { since, latest: now, error });
    }

    fn failing(&self, now: Monotonic) -> Option<&Failing> {
        self.failing.as_ref().filter(|failing| now.since(failing.latest) < CALM)
    }

    /// Returns why the store cannot be relied on: the first listing is not complete, or the watch
    /// has been failing for a while.
    pub(super) fn problem(&self, now: Monotonic) -> Option<String> {
        match self.failing(now) {
            Some(failing) if !self.is_synced || now.since(failing.since) > TOLERATED => {
                Some(format!("the pods of the cluster cannot be watched: {}", failing.error))
            }
            _ if !self.is_synced => Some("the list of pods is not there yet".to_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Event {
        Listed,
        Works,
        Fails,
    }

    type Row<'a> = (&'a [(u64, Event)], u64, Option<&'a str>);

    #[test]
    fn a_watch_is_a_problem_before_its_listing_and_after_half_a_minute_of_failures() {
        use Event::{Fails, Listed, Works};
        let forbidden = "the pods of the cluster cannot be watched: pods is forbidden";
        // events by their second; the second of the question, the problem
        let table: &[Row] = &[
            (&[], 0, Some("the list of pods is not there yet")),
            (&[(0, Works)], 1, Some("the list of pods is not there yet")),
            (&[(0, Fails)], 0, Some(forbidden)),
            (&[(0, Listed)], 0, None),
            (&[(0, Listed), (5, Fails)], 5, None),
            (&[(0, Listed), (5, Fails), (30, Fails)], 35, None),
            (&[(0, Listed), (5, Fails), (30, Fails)], 36, Some(forbidden)),
            (&[(0, Listed), (5, Fails), (30, Works)], 36, None),
            // The second failure begins anew: the watch was calm in between.
            (&[(0, Listed), (5, Fails), (65, Fails)], 66, None),
            (&[(0, Listed), (5, Fails), (30, Fails)], 90, None),
        ];
        for (row, (events, second, expected)) in table.iter().enumerate() {
            let at = |second: &u64| Monotonic(Duration::from_secs(*second));
            let mut health = WatchHealth::default();
            for (second, event) in *events {
                match event {
                    Listed => health.record_listing(),
                    Works => health.record_event(),
                    Fails => health.record_failure("pods is forbidden".to_owned(), at(second)),
                }
            }
            assert_eq!(health.problem(at(second)).as_deref(), *expected, "row {row}");
        }
    }
}
