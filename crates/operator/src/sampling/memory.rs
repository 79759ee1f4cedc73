//! The budget of memory for what other programs send: pages, answers, and what is kept of them.
//!
//! A namespace may grow up to what is left after it: `used <= budget - all`. So one namespace gets
//! at most half of the budget, and the next one half of the rest: however many fill their shares,
//! there is always a share for the next one. The rule is the dynamic threshold of shared buffers,
//! with a factor of 1: A. K. Choudhury and E. L. Hahne, "Dynamic Queue Length Thresholds for
//! Shared-Memory Packet Switches", IEEE/ACM Transactions on Networking 6 (1998).
//!
//! A share gets smaller while others grow, and who has more than it does not grow until it has
//! given something back. Queues of packets drain; windows and answers do not, so what is too old to
//! be used is given back by a page that waits in vain (`page_state`), and by a query that fails
//! (`prometheus::state`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;

use crate::{lock::lock, telemetry::Telemetry};

/// There is not enough memory left of the budget.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{bytes} bytes more than are left of --memory-budget ({} MiB), of which a namespace has a \
     share: read fewer or smaller pages, series and windows here, or raise it",
    budget >> 20
)]
pub(crate) struct NoMemory {
    /// The bytes that are missing.
    bytes: usize,
    /// The budget of the process, in bytes.
    budget: usize,
}

/// The budget of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct MemoryBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The budget, in bytes.
    total: usize,
    telemetry: Telemetry,
    used: Mutex<Used>,
    /// Notified when memory is given back.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Used {
    all: usize,
    /// The bytes of each namespace that has any.
    namespaces: HashMap<Arc<str>, usize>,
}

/// The budget, for one namespace. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct NamespaceBudget {
    budget: MemoryBudget,
    namespace: Arc<str>,
}

/// Memory that is reserved for one namespace until it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    of: NamespaceBudget,
    bytes: usize,
}

impl MemoryBudget {
    /// Returns a budget of this many bytes.
    pub(crate) fn new(total: usize, telemetry: Telemetry) -> Self {
        Self(Arc::new(Shared { total, telemetry, used: Mutex::default(), freed: Notify::new() }))
    }

    /// Returns the budget for one namespace.
    pub(crate) fn of(&self, namespace: impl Into<Arc<str>>) -> NamespaceBudget {
        NamespaceBudget { budget: self.clone(), namespace: namespace.into() }
    }
}

impl NamespaceBudget {
    /// Returns an empty reservation.
    pub(crate) fn empty(&self) -> Reservation {
        Reservation { of: self.clone(), bytes: 0 }
    }

    /// Waits until there is this much memory, and reserves it.
    pub(crate) async fn reserve(&self, bytes: usize) -> Reservation {
        let mut reservation = self.empty();
        loop {
            let mut freed = std::pin::pin!(self.budget.0.freed.notified());
            // What is freed from here on is noticed.
            freed.as_mut().enable();
            if reservation.resize(bytes).is_ok() {
                return reservation;
            }
            freed.await;
        }
    }
}

#[cfg(test)]
impl MemoryBudget {
    /// Returns the reserved bytes.
    pub(crate) fn used(&self) -> usize {
        lock(&self.0.used).all
    }

    /// Returns a budget that no test exceeds.
    pub(crate) fn plenty() -> Self {
        Self::new(1 << 30, Telemetry::default())
    }
}

#[cfg(test)]
impl NamespaceBudget {
    /// Returns a budget that no test exceeds.
    pub(crate) fn plenty() -> Self {
        MemoryBudget::plenty().of("ns")
    }
}

impl Reservation {
    /// Returns an empty reservation for the same namespace.
    pub(crate) fn sibling(&self) -> Self {
        self.of.empty()
    }

    /// Returns the reserved bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the size. It does not wait: readers of one namespace that wait for each other's
    /// memory would all wait until their timeouts.
    ///
    /// # Errors
    /// There is not that much memory. The reservation stays as it was.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), NoMemory> {
        let NamespaceBudget { budget, namespace } = &self.of;
        let Shared { total, telemetry, used, freed } = &*budget.0;
        let mut used = lock(used);
        let of_namespace = used.namespaces.get(namespace).copied().unwrap_or_default();
        let of_namespace = of_namespace - self.bytes + bytes;
        let all = used.all - self.bytes + bytes;
        if bytes > self.bytes && of_namespace > total.saturating_sub(all) {
            return Err(NoMemory { bytes: bytes - self.bytes, budget: *total });
        }
        used.all = all;
        telemetry.record_reserved_memory(all);
        if of_namespace == 0 {
            used.namespaces.remove(namespace);
        } else {
            used.namespaces.insert(namespace.clone(), of_namespace);
        }
        drop(used);
        if bytes < self.bytes {
            freed.notify_waiters();
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Takes over the memory of another reservation for the same namespace.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Grows to at least this size.
    ///
    /// # Errors
    /// There is not that much memory.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), NoMemory> {
        if bytes <= self.bytes { Ok(()) } else { self.resize(bytes) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // Giving back always succeeds.
        let _ = self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn new(total: usize) -> MemoryBudget {
        MemoryBudget::new(total, Telemetry::default())
    }

    fn reserve(budget: &MemoryBudget, namespace: &str, bytes: usize) -> Option<Reservation> {
        budget.of(namespace).reserve(bytes).now_or_never()
    }

    #[test]
    fn a_namespace_has_at_most_half_and_the_next_one_half_of_the_rest() {
        let budget = new(1 << 20);
        assert!(reserve(&budget, "a", (1 << 19) + 1).is_none());
        let a = reserve(&budget, "a", 1 << 19).unwrap();
        assert!(reserve(&budget, "a", 1).is_none(), "a has its share");
        let b = reserve(&budget, "b", 1 << 18).unwrap();
        assert!(reserve(&budget, "b", 1).is_none());
        let c = reserve(&budget, "c", 1 << 17).unwrap();
        assert_eq!(budget.used(), a.bytes + b.bytes + c.bytes);
        drop(a);
        // The share of b is larger now.
        assert!(reserve(&budget, "b", 1 << 17).is_some());
        drop((b, c));
        assert_eq!(budget.used(), 0);
        assert!(lock(&budget.0.used).namespaces.is_empty());
    }

    #[tokio::test]
    async fn a_reservation_waits_until_memory_is_given_back() {
        let budget = new(1000);
        let of_a = budget.of("a");
        let first = of_a.reserve(500).await;
        let second = of_a.reserve(400);
        tokio::pin!(second);
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert_eq!(second.await.bytes, 400);
    }
}
