//! The invariants: one writer at a time, and one at all after the troubles.

use super::World;
use crate::lease::{
    bucket::bucket,
    record::Layout,
    simulation::{
        copy::Copy,
        plan::{MOST_BUCKETS, NAMESPACES, Version},
        server::name,
    },
};

impl World {
    pub(super) fn write_arrives(
        &mut self,
        copy: usize,
        start: u32,
        space: usize,
        version: u64,
        sent: u64,
    ) {
        if !self.server.write(space, version) {
            return;
        }
        let writer = format!("{copy}-{start}");
        if self.time - sent > self.longest_way() {
            self.outcome.late_writes += 1;
            return;
        }
        self.outcome.accepted += 1;
        self.trace(|| format!("a write of {writer} to ns-{space}, sent at {sent}, is accepted"));
        let is_other =
            |other: &Copy| other.identity() != writer && other.may_write(space, self.time);
        if let Some(other) = self.copies.iter().find(|other| is_other(other)) {
            let other = other.identity();
            let text = format!("ns-{space}: {writer} writes while {other} may, sent at {sent}");
            self.outcome.violation = Some(text);
        }
        for buckets in 1..=MOST_BUCKETS {
            let is_layout = self.server.writer(0, buckets).is_some();
            let holder = self.server.writer(bucket(&name(space), buckets), buckets);
            if let Some(holder) = holder.filter(|holder| is_layout && *holder != writer) {
                let text = format!("ns-{space}: {writer} writes, sent at {sent}; {holder} holds");
                self.outcome.violation = Some(text);
            }
        }
    }

    pub(super) fn may_write(&self, copy: usize, namespace: usize) -> bool {
        self.copies[copy].may_write(namespace, self.time)
    }

    /// At any time at most one copy may write to a namespace.
    pub(super) fn check_writers(&mut self) {
        let (mut has_writer, time) = (true, self.time);
        for namespace in 0..NAMESPACES {
            let writers = self.copies.iter().filter(|copy| copy.may_write(namespace, time));
            let writers: Vec<_> = writers.map(Copy::identity).collect();
            has_writer &= !writers.is_empty();
            self.record_service(namespace, !writers.is_empty());
            if writers.len() > 1 {
                let text = format!("ns-{namespace}: all of {writers:?} may write at {time}");
                self.outcome.violation = Some(text);
            }
        }
        if let Some(since) = self.gap_since.filter(|_| has_writer) {
            self.outcome.gap = Some(time - since);
            self.gap_since = None;
        }
        let is_even = self.are_shares_even();
        match self.outcome.evened {
            None if is_even => {
                self.outcome.evened = Some(time.saturating_sub(self.plan.calm_from));
            }
            Some(_) if !is_even => self.outcome.evened = None,
            _ => {}
        }
    }

    /// Returns the copies that take part in the division by the number of buckets that counts.
    fn dividing(&self) -> Vec<&Copy> {
        let layout = self.server.leases[0].as_ref().and_then(|record| record.layout);
        let is_of_all = |copy: &&Copy| layout == Some(Layout::Settled(copy.buckets));
        let is_alive = |copy: &&Copy| copy.is_alive && !copy.is_ending;
        self.copies.iter().filter(is_alive).filter(is_of_all).collect()
    }

    /// Returns true if all buckets are held, and no copy holds two more than another one. Copies of
    /// older versions are left out: they neither wish nor give.
    fn are_shares_even(&self) -> bool {
        let copies = self.dividing();
        let held = |copy: &&Copy| copy.board.held().iter().filter(|held| **held).count();
        let counts: Vec<_> =
            copies.iter().filter(|copy| copy.version == Version::Newest).map(held).collect();
        let all: usize = copies.iter().map(held).sum();
        let (most, least) = (counts.iter().max(), counts.iter().min());
        let is_even = most.zip(least).is_none_or(|(most, least)| most - least <= 1);
        is_even && copies.first().is_none_or(|copy| all == copy.buckets)
    }

    /// Some time after the troubles the shares are even.
    pub(super) fn check_shares(&mut self) {
        self.taken_before = self.server.taken;
        if self.plan.evening > 0 && !self.are_shares_even() {
            let held = |copy: &&Copy| (copy.identity(), copy.board.held());
            let held: Vec<_> = self.dividing().iter().map(held).collect();
            let text = format!("the shares are uneven at {}: {held:?}", self.time);
            self.outcome.violation = Some(text);
        }
    }

    /// When the shares are even, no Lease changes hands.
    pub(super) fn check_stillness(&mut self) {
        let taken = self.server.taken - self.taken_before;
        if self.plan.stillness > 0 && taken > 0 {
            let text = format!("{taken} Leases have changed hands though shares were even");
            self.outcome.violation = Some(text);
        }
        self.outcome.taken_since = self.server.taken - self.taken_at_calm;
    }

    /// The troubles are over.
    pub(super) fn begin_calm(&mut self) {
        self.taken_at_calm = self.server.taken;
    }

    /// After the troubles each namespace has a writer again.
    pub(super) fn check_recovery(&mut self) {
        let time = self.time;
        let is_alive = |copy: &&Copy| copy.is_alive && !copy.is_ending;
        let some_are_alive = self.copies.iter().any(|copy| is_alive(&copy));
        if !some_are_alive {
            return;
        }
        self.has_recovered = true;
        (0..NAMESPACES).for_each(|namespace| {
            let is_served = self.copies.iter().any(|copy| copy.may_write(namespace, time));
            self.record_service(namespace, is_served);
        });
    }

    /// Records whether a namespace has a writer. After the troubles none lacks one for longer than
    /// a duration, which is while its Lease is given to another copy.
    fn record_service(&mut self, namespace: usize, is_served: bool) {
        let (time, unserved) = (self.time, &mut self.unserved_since[namespace]);
        if is_served {
            *unserved = None;
            return;
        }
        let since = *unserved.get_or_insert(time);
        if self.has_recovered && time - since > self.plan.duration {
            let text = format!("ns-{namespace} has had no writer since {since}: {time}");
            self.outcome.violation = Some(text);
        }
    }
}
