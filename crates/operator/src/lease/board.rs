//! The permits of all buckets of one copy, as its elections have left them.

use std::time::Duration;

use llm_autoscaler_core::Monotonic;

use crate::{
    clock::Readings,
    kube_api::WritePermit,
    lease::{
        elector::Elector,
        steps::{Surroundings, term},
    },
};

/// The permits of all buckets.
#[derive(Debug)]
pub(super) struct Board {
    term: Duration,
    entries: Vec<Entry>,
    /// The moment from which the latest look at the first Lease counts.
    layout_read: Option<Readings>,
    is_layout_own: bool,
    is_closed: bool,
}

#[derive(Debug)]
struct Entry {
    permit: WritePermit,
    /// The moment from which the latest renewal counts.
    from: Option<Readings>,
    holder: Option<String>,
    /// The moment at which the record was first seen.
    first_seen: Option<Monotonic>,
    /// The moment at which the record was last seen to have changed since then.
    renewed: Option<Monotonic>,
    /// This copy is the holder, whether or not it may write.
    is_mine: bool,
    /// It may write.
    is_held: bool,
}

impl Entry {
    /// Observes since when the record has stood unchanged. The first record may be that of a copy
    /// that is gone, so only a change proves that there is one.
    fn observe(&mut self, unchanged_since: Option<Monotonic>) {
        let Some(since) = unchanged_since else { return };
        if since > *self.first_seen.get_or_insert(since) {
            self.renewed = Some(since);
        }
    }
}

/// A bucket that this copy has won or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub bucket: usize,
    pub is_held: bool,
}

impl Board {
    /// Begins with buckets that others may hold.
    pub(super) fn new(buckets: usize, duration: Duration) -> Self {
        let entry = || Entry {
            permit: WritePermit::none(),
            from: None,
            holder: None,
            first_seen: None,
            renewed: None,
            is_mine: false,
            is_held: false,
        };
        Self {
            term: term(duration),
            entries: (0..buckets).map(|_| entry()).collect(),
            layout_read: None,
            is_layout_own: false,
            is_closed: false,
        }
    }

    /// Takes over the state of an election. Returns true if the others are to look at once, since
    /// the first Lease has this copy's number of buckets from now on.
    pub(super) fn record(&mut self, bucket: usize, elector: &Elector) -> bool {
        let was_own = self.is_layout_own;
        if bucket == 0 {
            self.layout_read = elector.layout_read();
            self.is_layout_own = elector.is_layout_own();
        }
        let is_news = self.is_layout_own && !was_own;
        let Some(entry) = self.entries.get_mut(bucket) else { return is_news };
        (entry.from, entry.is_mine) = (elector.held_from(), elector.is_holder());
        let holder = elector.record().map(|record| &record.holder);
        entry.holder = holder.filter(|holder| !holder.is_empty()).cloned();
        entry.observe(elector.unchanged_since());
        is_news
    }

    /// Brings the permits up to date. Returns the buckets that were won or lost.
    ///
    /// The time that is left counts by the fast clock, from before the renewal was sent. So a
    /// permit has ended after a machine was suspended, and a wall clock that is set forward may end
    /// it early, and does not end it late.
    pub(super) fn refresh(&mut self, now: Readings) -> Vec<Change> {
        let mut changes = Vec::new();
        for bucket in 0..self.entries.len() {
            let left = self.left(bucket, now);
            let entry = &mut self.entries[bucket];
            match left {
                Some(left) => entry.permit.set_until(now.monotonic.after(left)),
                None => entry.permit.end(),
            }
            let is_held = left.is_some();
            if entry.is_held != is_held {
                entry.is_held = is_held;
                changes.push(Change { bucket, is_held });
            }
        }
        changes
    }

    /// Returns the time for which a bucket may still be written; `None` if it may not.
    pub(super) fn left(&self, bucket: usize, now: Readings) -> Option<Duration> {
        let from = self.entries.get(bucket)?.from.filter(|_| !self.is_closed)?;
        // The first Lease tells the number of buckets with each of its own renewals.
        let layout_read = if bucket == 0 { from } else { self.layout_read? };
        let oldest = now.since(from).max(now.since(layout_read));
        Some(self.term.saturating_sub(oldest)).filter(|left| !left.is_zero())
    }

    /// Ends all permits for good. Returns the buckets that were lost by it.
    pub(super) fn close(&mut self, now: Readings) -> Vec<Change> {
        self.is_closed = true;
        self.refresh(now)
    }

    /// Returns what an election has to know of this copy.
    pub(super) fn surroundings(&self, is_watched: bool) -> Surroundings {
        let held = self.entries.iter().filter(|entry| entry.is_mine).count();
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        Surroundings { held, is_watched, is_layout_own: self.is_layout_own }
    }

    /// Returns the permit of a bucket.
    pub(super) fn permit(&self, bucket: usize) -> WritePermit {
        self.entries.get(bucket).map_or_else(WritePermit::none, |entry| entry.permit.clone())
    }

    /// Returns the holder of a bucket, as last seen.
    pub(super) fn holder(&self, bucket: usize) -> Option<&str> {
        self.entries.get(bucket)?.holder.as_deref()
    }

    /// Returns when another copy was last seen to renew a bucket's Lease, if that is not longer ago
    /// than this copy's own would last.
    pub(super) fn renewed_by_another(&self, bucket: usize, now: Readings) -> Option<Monotonic> {
        let entry = self.entries.get(bucket).filter(|it| !it.is_mine && it.holder.is_some())?;
        entry.renewed.filter(|at| now.monotonic.since(*at) < self.term)
    }

    /// Returns true for each bucket that was held at the latest refresh.
    pub(super) fn held(&self) -> Vec<bool> {
        self.entries.iter().map(|entry| entry.is_held).collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn readings(fast: u64, monotonic: u64) -> Readings {
        let (fast, monotonic) = (Duration::from_secs(fast), Duration::from_secs(monotonic));
        Readings { system: DateTime::UNIX_EPOCH, monotonic: Monotonic(monotonic), fast }
    }

    /// A board with a renewal of both buckets at second 100 of both clocks, for 10 s.
    fn board() -> Board {
        let mut board = Board::new(2, Duration::from_secs(15));
        let at = Some(readings(100, 100));
        board.entries.iter_mut().for_each(|entry| entry.from = at);
        board.layout_read = at;
        board
    }

    #[test]
    fn a_permit_ends_by_the_fast_clock() {
        // the fast clock, the monotonic clock, the time left
        let table = [
            (100, 100, Some(10)),
            (104, 104, Some(6)),
            (109, 109, Some(1)),
            (110, 110, None),
            // The machine was suspended for 5 s, and for an hour.
            (109, 104, Some(1)),
            (3_704, 104, None),
        ];
        for (fast, monotonic, expected) in table {
            let (mut board, now) = (board(), readings(fast, monotonic));
            let left = board.left(0, now).map(|left| left.as_secs());
            assert_eq!(left, expected, "{fast}, {monotonic}");
            board.refresh(now);
            let deadline = board.permit(0).deadline(now.monotonic);
            assert_eq!(deadline.map(|left| left.as_secs()), expected, "{fast}, {monotonic}");
        }
    }

    #[test]
    fn a_further_bucket_is_held_as_long_as_its_number_is_known_to_count() {
        let mut board = board();
        board.layout_read = Some(readings(97, 97));
        assert_eq!(board.left(1, readings(104, 104)), Some(Duration::from_secs(3)));
        assert_eq!(board.left(1, readings(107, 107)), None);
        assert_eq!(board.left(0, readings(107, 107)), Some(Duration::from_secs(3)));
        board.layout_read = None;
        assert_eq!(board.left(1, readings(100, 100)), None);
    }

    #[test]
    fn another_copy_is_there_if_it_was_seen_to_renew_its_lease_a_moment_ago() {
        let (mut board, at) = (board(), |second| Monotonic(Duration::from_secs(second)));
        let entry = &mut board.entries[0];
        (entry.holder, entry.is_mine) = (Some("b".to_owned()), false);
        // the second since which the record has been seen like this, now, when it was renewed
        let table = [
            (100, 100, None),
            (100, 109, None),
            (105, 106, Some(105)),
            (105, 114, Some(105)),
            (105, 115, None),
            (116, 117, Some(116)),
        ];
        for (since, now, expected) in table {
            board.entries[0].observe(Some(at(since)));
            let found = board.renewed_by_another(0, readings(now, now));
            assert_eq!(found, expected.map(at), "{since} {now}");
        }
        board.entries[0].is_mine = true;
        assert_eq!(board.renewed_by_another(0, readings(117, 117)), None);
    }

    #[test]
    fn changes_are_told_once_and_an_end_is_for_good() {
        let (mut board, now) = (board(), readings(101, 101));
        let change = |bucket, is_held| Change { bucket, is_held };
        assert_eq!(board.refresh(now), [change(0, true), change(1, true)]);
        assert_eq!(board.refresh(now), []);
        assert_eq!(board.close(now), [change(0, false), change(1, false)]);
        assert_eq!(board.refresh(now), []);
        assert_eq!(board.permit(0).deadline(now.monotonic), None);
        assert_eq!(board.held(), [false, false]);
    }
}
