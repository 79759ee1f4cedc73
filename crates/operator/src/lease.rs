//! Which copy of the operator serves which namespaces.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{clock::Clock, kube_api::WritePermit, telemetry::Telemetry};

/// The configuration of the election among the copies of an operator.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// The namespace of the Leases.
    pub namespace: String,
    /// The name of the Leases.
    pub name: String,
    /// The name of this copy.
    pub identity: String,
    /// The time for which a Lease holds without a renewal.
    pub duration: Duration,
    /// The number of Leases.
    pub buckets: usize,
}

/// The Leases of this copy. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Leases(Arc<Shared>);

struct Shared {
    permits: Vec<WritePermit>,
    held: watch::Sender<Arc<[bool]>>,
}

impl Leases {
    /// Returns Leases without an election: everything is held for ever.
    pub(crate) fn solo() -> Self {
        let (permits, held) = (vec![WritePermit::unlimited()], watch::Sender::new([true].into()));
        Self(Arc::new(Shared { permits, held }))
    }

    /// Competes for Leases.
    pub(crate) fn elect(
        _client: kube::Client,
        _config: LeaseConfig,
        _clock: Clock,
        _telemetry: Telemetry,
    ) -> Self {
        Self::solo()
    }

    /// Returns the permit of a namespace.
    pub(crate) fn permit(&self, namespace: &str) -> WritePermit {
        self.0.permits[self.bucket(namespace)].clone()
    }

    /// Returns whether this copy serves a namespace.
    pub(crate) fn holds(&self, namespace: &str) -> bool {
        self.0.held.borrow().get(self.bucket(namespace)).copied().unwrap_or_default()
    }

    /// Returns which Leases are held, by bucket.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<[bool]>> {
        self.0.held.subscribe()
    }

    /// Returns the bucket of a namespace.
    pub(crate) fn bucket(&self, namespace: &str) -> usize {
        let sum: usize = namespace.bytes().map(usize::from).sum();
        sum % self.0.permits.len().max(1)
    }

    /// Holds, renews and acquires Leases.
    #[expect(clippy::unused_async, reason = "there is no election yet")]
    pub(crate) async fn run(self) {}

    /// Returns the copy that serves a namespace, if that is known.
    pub(crate) fn holder(&self, _namespace: &str) -> Option<String> {
        None
    }

    /// Ends all permits for good.
    pub(crate) fn end(&self) {
        self.0.permits.iter().for_each(WritePermit::end);
    }

    /// Gives all Leases away.
    #[expect(clippy::unused_async, reason = "there is no election yet")]
    pub(crate) async fn release(&self) {}
}

#[cfg(test)]
impl Leases {
    /// Returns Leases that a test gives and takes.
    pub(crate) fn by_hand(buckets: usize) -> Self {
        let permits = (0..buckets).map(|_| WritePermit::none()).collect();
        let held = watch::Sender::new(vec![false; buckets].into());
        Self(Arc::new(Shared { permits, held }))
    }

    /// Gives a Lease to this copy.
    pub(crate) fn give(&self, bucket: usize) {
        self.0.permits[bucket].set_until(llm_autoscaler_core::Monotonic(Duration::MAX));
        self.set(bucket, true);
    }

    /// Takes a Lease from this copy.
    pub(crate) fn take(&self, bucket: usize) {
        self.0.permits[bucket].end();
        self.set(bucket, false);
    }

    fn set(&self, bucket: usize, is_held: bool) {
        self.0.held.send_modify(|held| {
            let mut now = held.to_vec();
            now[bucket] = is_held;
            *held = now.into();
        });
    }
}
