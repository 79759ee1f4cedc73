//! The permits and shares of all buckets of one copy, as its elections have left them.

use std::time::Duration;

use llm_autoscaler_core::Monotonic;

use crate::{
    clock::Readings,
    kube_api::WritePermit,
    lease::{
        elector::Elector,
        record::{Layout, Record},
        shares::{self, Share},
        steps::{Evening, Step, Surroundings, longest_way, term},
    },
};

/// The number of durations for which a copy takes part, without losing a Lease that it did not
/// give away, before it wishes for one: a rolling update, or a copy that comes and goes, is to
/// shuffle nothing.
const TRIAL: u32 = 2;

/// The permits of all buckets.
#[derive(Debug)]
pub(super) struct Board {
    me: String,
    duration: Duration,
    entries: Vec<Entry>,
    /// The moment since which this copy has taken part without losing a Lease.
    steady_since: Option<Monotonic>,
    /// The least difference between two shares that is evened out.
    difference: usize,
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
    /// The Lease as last seen.
    record: Option<Record>,
    /// The moment since which its wish has been seen.
    wanted_since: Option<Monotonic>,
    /// What this copy has to do with it.
    part: Part,
    /// The moment at which the record was first seen.
    first_seen: Option<Monotonic>,
    /// The moment at which the record was last seen to have changed since then.
    renewed: Option<Monotonic>,
    /// It may write.
    is_held: bool,
}

/// What a copy has to do with a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// It follows.
    Follows,
    /// A wish of it may stand.
    Wishes,
    /// It has asked to become the holder, and has no answer yet.
    Takes,
    /// It is the holder, whether or not it may write.
    Holds,
    /// It is the holder, and gives the Lease to another copy.
    Gives,
}

impl Entry {
    fn holder(&self) -> &str {
        self.record.as_ref().map_or("", |record| &record.holder)
    }

    fn wanted_by(&self) -> &str {
        self.record.as_ref().and_then(|record| record.wanted_by.as_deref()).unwrap_or_default()
    }

    /// Takes over the state of its election.
    fn take_over(&mut self, elector: &Elector, now: Monotonic) {
        let wanted_before = std::mem::take(&mut self.record).and_then(|record| record.wanted_by);
        self.record = elector.record().cloned();
        let wanted_by = self.record.as_ref().and_then(|record| record.wanted_by.as_ref());
        let is_same = wanted_by.is_some() && wanted_before.as_ref() == wanted_by;
        let since = self.wanted_since.filter(|_| is_same).unwrap_or(now);
        self.wanted_since = wanted_by.map(|_| since);
        self.from = elector.held_from();
        self.part = match elector.is_holder() {
            true if elector.is_giving() => Part::Gives,
            true => Part::Holds,
            false if elector.has_asked() => Part::Wishes,
            false => Part::Follows,
        };
        self.observe(elector.unchanged_since());
    }

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
    /// It was given to another copy.
    pub is_given: bool,
}

impl Board {
    /// Begins with buckets that others may hold.
    pub(super) fn new(me: String, buckets: usize, duration: Duration) -> Self {
        let entry = || Entry {
            permit: WritePermit::none(),
            from: None,
            record: None,
            wanted_since: None,
            part: Part::Follows,
            first_seen: None,
            renewed: None,
            is_held: false,
        };
        Self {
            me,
            duration,
            steady_since: None,
            difference: shares::DIFFERENCE,
            entries: (0..buckets).map(|_| entry()).collect(),
            layout_read: None,
            is_layout_own: false,
            is_closed: false,
        }
    }

    /// Asks an election for its next step, which may end the permit or close it.
    pub(super) fn step(
        &mut self,
        bucket: usize,
        elector: &mut Elector,
        around: Surroundings,
        now: Readings,
    ) -> Step {
        self.steady_since.get_or_insert(now.monotonic);
        let step = elector.step(now, around);
        self.record(bucket, elector, now);
        if let Some(entry) = self.entries.get_mut(bucket)
            && entry.part == Part::Follows
            && step.takes_for(&self.me)
        {
            entry.part = Part::Takes;
        }
        step
    }

    /// Takes over the state of an election. Returns true if the others are to look at once, since
    /// the first Lease has this copy's number of buckets from now on.
    pub(super) fn record(&mut self, bucket: usize, elector: &Elector, now: Readings) -> bool {
        let was_own = self.is_layout_own;
        if bucket == 0 {
            self.layout_read = elector.layout_read();
            self.is_layout_own = elector.is_layout_own();
        }
        let is_news = self.is_layout_own && !was_own;
        let Some(entry) = self.entries.get_mut(bucket) else { return is_news };
        entry.take_over(elector, now.monotonic);
        entry.permit.set_closed(entry.part == Part::Gives);
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
                // Once it was given away no renewal counts, however new it is.
                let is_given = !is_held && entry.part == Part::Gives && entry.from.is_none();
                changes.push(Change { bucket, is_held, is_given });
            }
        }
        if changes.iter().any(|change| !change.is_held && !change.is_given) {
            self.steady_since = Some(now.monotonic);
        }
        changes
    }

    /// Returns the time for which a bucket may still be written; `None` if it may not.
    pub(super) fn left(&self, bucket: usize, now: Readings) -> Option<Duration> {
        let from = self.entries.get(bucket)?.from.filter(|_| !self.is_closed)?;
        // The first Lease tells the number of buckets with each of its own renewals.
        let layout_read = if bucket == 0 { from } else { self.layout_read? };
        let oldest = now.since(from).max(now.since(layout_read));
        Some(term(self.duration).saturating_sub(oldest)).filter(|left| !left.is_zero())
    }

    /// Ends all permits for good. Returns the buckets that were lost by it.
    pub(super) fn close(&mut self, now: Readings) -> Vec<Change> {
        self.is_closed = true;
        self.refresh(now)
    }

    /// Returns what an election has to know of this copy.
    pub(super) fn surroundings(
        &self,
        bucket: usize,
        is_watched: bool,
        now: Readings,
    ) -> Surroundings {
        let is_own = |entry: &&Entry| !matches!(entry.part, Part::Follows | Part::Wishes);
        let held = self.entries.iter().filter(is_own).count();
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        let shares = self.shares(now.monotonic);
        let is_of_all = self.layout_read.is_some() && !self.is_closed;
        let trial = self.duration * TRIAL;
        let is_steady = self.steady_since.is_some_and(|since| now.monotonic.since(since) >= trial);
        let may_wish = || shares::may_wish(&shares, &self.me, bucket, self.difference);
        let may_give = || shares::may_give(&shares, &self.me, bucket, self.difference);
        let entry = self.entries.get(bucket);
        let is_held = entry.is_some_and(|entry| entry.is_held);
        let way = longest_way(self.duration);
        let is_idle = entry.is_some_and(|entry| entry.permit.is_idle(now.monotonic, way));
        Surroundings {
            held,
            is_watched,
            is_layout_own: self.is_layout_own,
            evening: match is_of_all {
                true if is_held && may_give() => Evening::Give,
                true if is_steady && may_wish() => Evening::Wish,
                _ => Evening::Nothing,
            },
            is_idle,
        }
    }

    /// Returns the shares of all copies, as far as they are known by this number of buckets.
    fn shares(&self, now: Monotonic) -> Vec<Share<'_>> {
        self.entries.iter().map(|entry| self.share(entry, now)).collect()
    }

    fn share<'a>(&'a self, entry: &'a Entry, now: Monotonic) -> Share<'a> {
        let settled = Some(Layout::Settled(self.entries.len()));
        if entry.record.as_ref().is_none_or(|record| record.layout != settled) {
            return Share::default();
        }
        let since = entry.wanted_since;
        Share {
            holder: entry.holder(),
            wanted_by: if entry.part == Part::Wishes { &self.me } else { entry.wanted_by() },
            is_outlived: since.is_some_and(|since| now.since(since) > self.duration),
            is_given: entry.part == Part::Gives,
        }
    }

    /// Returns the permit of a bucket.
    pub(super) fn permit(&self, bucket: usize) -> WritePermit {
        self.entries.get(bucket).map_or_else(WritePermit::none, |entry| entry.permit.clone())
    }

    /// Returns the holder of a bucket, as last seen.
    pub(super) fn holder(&self, bucket: usize) -> Option<&str> {
        Some(self.entries.get(bucket)?.holder()).filter(|holder| !holder.is_empty())
    }

    /// Returns the copy that wishes for a bucket, or is given it, as last seen.
    pub(super) fn wanted_by(&self, bucket: usize) -> Option<&str> {
        Some(self.entries.get(bucket)?.wanted_by()).filter(|copy| !copy.is_empty())
    }

    /// Returns when another copy was last seen to renew a bucket's Lease, if that is not longer ago
    /// than this copy's own would last.
    pub(super) fn renewed_by_another(&self, bucket: usize, now: Readings) -> Option<Monotonic> {
        let is_mine = |entry: &Entry| matches!(entry.part, Part::Holds | Part::Gives);
        let is_others = |entry: &&Entry| !is_mine(entry) && !entry.holder().is_empty();
        let entry = self.entries.get(bucket).filter(is_others)?;
        entry.renewed.filter(|at| now.monotonic.since(*at) < term(self.duration))
    }

    /// Returns true for each bucket that was held at the latest refresh.
    pub(super) fn held(&self) -> Vec<bool> {
        self.entries.iter().map(|entry| entry.is_held).collect()
    }
}

/// A fault for the simulation, which has to find it.
#[cfg(test)]
impl Board {
    /// Evens out what is even already.
    pub(super) fn even_out_by_one(&mut self) {
        self.difference = 1;
    }
}

#[cfg(test)]
mod tests;
