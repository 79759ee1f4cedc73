//! Leases: of several copies of the operator one writes, for each bucket of namespaces.
//!
//! All copies watch and sample, so that any of them can go on at once. A write needs a permit, and
//! the permits of a bucket are held by the copy that holds the bucket's Lease. A copy that loses
//! one goes on with its other ones, and follows.
//!
//! ```text
//!               lease      the face: who holds a namespace, and its permit
//!         ┌───────┴───────┐
//!      election        watching    calls the API server; wakes an election when its Lease changes
//!         │               │
//!       board           calls      the permits of all buckets; a Lease object and its record
//!         └───────┬───────┘
//!              elector  shares     the election for one Lease, a pure machine; the shares
//!              evaluate
//!   steps  record  bucket   config  calls and answers; the content of a Lease; the bucket of a
//!                                   namespace
//! ```
//!
//! `elector` says why no two copies write at the same time, and `simulation` puts it to the test
//! with thousands of seeds. No lease can stop a write that is on its way for longer than a third of
//! the duration, or a process that stands still between its last look at the permit and the system
//! call that sends. Therefore the writes of sizes have a resourceVersion besides.
//!
//! **Buckets.** The first Lease has the configured name, and bucket 3 the name with `-3`. The
//! number of buckets is an annotation of each, and that of the first one is the one that counts:
//! copies with another number hold nothing while it is held. A copy that takes the first Lease
//! announces its own number for one duration before it writes, and so do copies that find no Lease.
//! Change the number of buckets and the duration in separate updates: the announcement lasts for
//! the longer of the two durations that the copy knows.
//!
//! **Shares.** Copies that begin together share the buckets, because one that has some lets others
//! go first by up to 0.8 s. What is uneven still is evened out: a copy that holds at least two
//! fewer than another one wishes for a Lease of it, and is given it. So a copy that comes later
//! gets its share after it has taken part for two durations.

mod board;
mod bucket;
mod calls;
mod config;
mod election;
mod elector;
mod evaluate;
mod record;
mod shares;
#[cfg(test)]
mod simulation;
mod steps;
mod watching;

use std::{sync::Arc, time::Duration};

use llm_autoscaler_core::Monotonic;
use tokio::sync::watch;

use crate::{clock::Clock, kube_api::WritePermit, telemetry::Telemetry};
pub use config::LeaseConfig;
use election::Election;

/// The shortest duration of a Lease: its record has whole seconds.
const SHORTEST: Duration = Duration::from_secs(1);

/// The Leases of this copy of the operator. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Leases(Arc<Kind>);

enum Kind {
    /// No election: they stay as they are.
    Fixed {
        permits: Vec<WritePermit>,
        held: watch::Sender<Arc<[bool]>>,
    },
    Elected(Box<Election>),
}

impl Leases {
    /// Returns the Leases of a single copy, which holds everything without asking.
    pub(crate) fn solo() -> Self {
        let (permits, held) = (vec![WritePermit::unlimited()], watch::Sender::new([true].into()));
        Self(Arc::new(Kind::Fixed { permits, held }))
    }

    /// Returns Leases that copies compete for once they [run](Self::run).
    ///
    /// The client should not try again by itself: the election does, with deadlines of its own.
    pub(crate) fn elect(
        client: kube::Client,
        config: LeaseConfig,
        clock: Clock,
        telemetry: Telemetry,
    ) -> Self {
        let config = LeaseConfig {
            duration: config.duration.clamp(SHORTEST, record::LONGEST),
            buckets: config.buckets.max(1),
            ..config
        };
        let election = Election::new(client, &config, clock, telemetry);
        Self(Arc::new(Kind::Elected(Box::new(election))))
    }

    /// Returns the permit to write to a namespace. It is renewed and ended behind the caller's
    /// back, so ask it just before each write.
    pub(crate) fn permit(&self, namespace: &str) -> WritePermit {
        match &*self.0 {
            Kind::Fixed { permits, .. } => permits[self.bucket(namespace)].clone(),
            Kind::Elected(election) => election.permit(self.bucket(namespace)),
        }
    }

    /// Returns true if this copy may write to a namespace now. Other than the permit alone, this
    /// notices at once that the machine was suspended.
    pub(crate) fn holds(&self, namespace: &str) -> bool {
        match &*self.0 {
            Kind::Fixed { held, .. } => held.borrow()[self.bucket(namespace)],
            Kind::Elected(election) => election.holds(self.bucket(namespace)),
        }
    }

    /// Returns the buckets that this copy holds, and those that it wins and loses from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<[bool]>> {
        match &*self.0 {
            Kind::Fixed { held, .. } => held.subscribe(),
            Kind::Elected(election) => election.changes(),
        }
    }

    /// Returns the bucket of a namespace.
    pub(crate) fn bucket(&self, namespace: &str) -> usize {
        match &*self.0 {
            Kind::Fixed { permits, .. } => bucket::bucket(namespace, permits.len()),
            Kind::Elected(election) => bucket::bucket(namespace, election.buckets()),
        }
    }

    /// Returns the identity of the copy that holds a namespace, as last seen; `None` if none
    /// does, or there is no election.
    pub(crate) fn holder(&self, namespace: &str) -> Option<String> {
        match &*self.0 {
            Kind::Fixed { .. } => None,
            Kind::Elected(election) => election.holder(self.bucket(namespace)),
        }
    }

    /// Returns when another copy was last seen to renew the Lease of a namespace; `None` if that is
    /// longer ago than the Lease lasts, or has not been seen yet.
    pub(crate) fn renewed_by_another(&self, namespace: &str) -> Option<Monotonic> {
        match &*self.0 {
            Kind::Fixed { .. } => None,
            Kind::Elected(election) => election.renewed_by_another(self.bucket(namespace)),
        }
    }

    /// Takes part in the elections, for the life of the process. It can be begun again after a
    /// panic.
    pub(crate) async fn run(self) {
        if let Kind::Elected(election) = &*self.0 {
            election.run().await;
        }
        std::future::pending::<()>().await;
    }

    /// Ends all permits for good. Other copies wait for the Leases still.
    pub(crate) fn end(&self) {
        if let Kind::Elected(election) = &*self.0 {
            election.end();
        }
    }

    /// Ends all permits for good and gives up all Leases that are held, within 2 s. The next holder
    /// may write at once, so first [`end`](Self::end) the permits and wait for the answers to the
    /// writes in flight; if one has none, do not release: the Leases run out by themselves.
    pub(crate) async fn release(&self) {
        if let Kind::Elected(election) = &*self.0 {
            election.release().await;
        }
    }
}

#[cfg(test)]
impl Leases {
    /// Returns Leases that a test gives and takes.
    pub(crate) fn by_hand(buckets: usize) -> Self {
        let permits = (0..buckets).map(|_| WritePermit::none()).collect();
        let held = watch::Sender::new(vec![false; buckets].into());
        Self(Arc::new(Kind::Fixed { permits, held }))
    }

    /// Gives a Lease to this copy.
    pub(crate) fn give(&self, bucket: usize) {
        let forever = llm_autoscaler_core::Monotonic(std::time::Duration::MAX);
        self.set(bucket, true, |permit| permit.set_until(forever));
    }

    /// Takes a Lease from this copy.
    pub(crate) fn take(&self, bucket: usize) {
        self.set(bucket, false, WritePermit::end);
    }

    fn set(&self, bucket: usize, is_held: bool, change: impl Fn(&WritePermit)) {
        let Kind::Fixed { permits, held } = &*self.0 else { return };
        change(&permits[bucket]);
        held.send_modify(|held| {
            let mut now = held.to_vec();
            now[bucket] = is_held;
            *held = now.into();
        });
    }
}
