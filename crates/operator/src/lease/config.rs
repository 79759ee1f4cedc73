//! The configuration of the Leases.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// The configuration of the Leases.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// The namespace of the Leases.
    pub namespace: String,
    /// The name of the first Lease. Those of further buckets have a number behind it.
    pub name: String,
    /// The name of this copy: that of its pod. Each start of the process adds a text of its own.
    pub identity: String,
    /// The time after which a copy that is gone is replaced: from 1 s to 10 min.
    pub duration: Duration,
    /// The number of parts into which the namespaces are divided.
    pub buckets: usize,
}

impl LeaseConfig {
    /// Returns the configuration of one start of the process.
    ///
    /// Two processes with one identity would take each other's Leases for their own. The operating
    /// system's random numbers tell them apart, even two starts in one container.
    #[must_use]
    pub(crate) fn of_this_start(self) -> Self {
        let start = RandomState::new().hash_one(&self.identity);
        Self { identity: format!("{}_{start:016x}", self.identity), ..self }
    }
}
