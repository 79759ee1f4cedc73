//! The time for which a target has been left alone, as this process has seen it.

use std::time::Duration;

use tokio::time::Instant;

/// The time since which no other autoscaler has been seen at work, and the size has been the same.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    since: Option<Instant>,
    replicas: Option<i32>,
}

impl Quiet {
    /// Records a look. Returns for how long it has been quiet.
    pub(super) fn record(
        &mut self,
        now: Instant,
        is_at_work: bool,
        replicas: Option<i32>,
    ) -> Duration {
        let is_changed = self.replicas != replicas;
        self.replicas = replicas;
        self.since = match self.since {
            _ if is_at_work => None,
            Some(since) if !is_changed => Some(since),
            _ => Some(now),
        };
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_and_another_autoscaler_begin_the_time_anew() {
        let (start, mut quiet) = (super::super::now(), Quiet::default());
        // second, another autoscaler is at work, replicas; seconds of quiet
        let table = [
            (0, true, Some(3), 0),
            (1, false, Some(3), 0),
            (3, false, Some(3), 2),
            (4, false, Some(4), 0),
            (9, false, Some(4), 5),
            (10, true, Some(4), 0),
            (11, false, None, 0),
            (12, false, None, 1),
        ];
        for (second, is_at_work, replicas, expected) in table {
            let now = start + Duration::from_secs(second);
            let found = quiet.record(now, is_at_work, replicas);
            assert_eq!(found.as_secs(), expected, "at {second} s");
        }
    }
}
