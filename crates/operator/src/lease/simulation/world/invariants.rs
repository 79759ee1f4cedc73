//! The invariants: one writer at a time, and one at all after the troubles.

use super::World;
use crate::lease::{
    bucket::bucket,
    simulation::{copy::Copy, plan::NAMESPACES, server::name},
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
        for buckets in 1..=3 {
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
        let (mut has_writer, time) = (false, self.time);
        for namespace in 0..NAMESPACES {
            let writers = self.copies.iter().filter(|copy| copy.may_write(namespace, time));
            let writers: Vec<_> = writers.map(Copy::identity).collect();
            has_writer |= !writers.is_empty();
            if writers.len() > 1 {
                let text = format!("ns-{namespace}: all of {writers:?} may write at {time}");
                self.outcome.violation = Some(text);
            }
        }
        if let Some(since) = self.gap_since.filter(|_| has_writer) {
            self.outcome.gap = Some(time - since);
            self.gap_since = None;
        }
    }

    /// After the troubles each namespace has a writer again.
    pub(super) fn check_recovery(&mut self) {
        let time = self.time;
        let is_alive = |copy: &&Copy| copy.is_alive && !copy.is_ending;
        let some_are_alive = self.copies.iter().any(|copy| is_alive(&copy));
        let has_writer =
            |namespace: &usize| self.copies.iter().any(|copy| copy.may_write(*namespace, time));
        let lacks = (0..NAMESPACES).find(|namespace| !has_writer(namespace));
        if let Some(namespace) = lacks.filter(|_| some_are_alive) {
            let text = format!("ns-{namespace} has no writer at {time}, long after all troubles");
            self.outcome.violation = Some(text);
        }
    }
}
