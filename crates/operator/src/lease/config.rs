//! The configuration of the Leases.

use std::time::Duration;

/// The configuration of the Leases.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// The namespace of the Leases.
    pub namespace: String,
    /// The name of the first Lease. Those of further buckets have a number behind it.
    pub name: String,
    /// The name of this copy: that of its pod, and a random text for each start of the process. Two
    /// processes with one name would take each other's Leases for their own.
    pub identity: String,
    /// The time after which a copy that is gone is replaced: from 1 s to 10 min.
    pub duration: Duration,
    /// The number of parts into which the namespaces are divided.
    pub buckets: usize,
}
