//! The bill of a target: replica-seconds and GPU-seconds by the reason of each replica's existence.
//!
//! ```text
//!            reasons of a step        reasons of the next step
//!   ───────────────┬──────────────────────────┬──────────────> time
//!   a  Needed ─────┼───── billed as Needed ───┼─
//!   b  Draining ───┼──── as Draining ──┤ gone │
//!   c              │      created ├── Starting┼─
//! ```
//!
//! # Definitions
//!
//! - A replica exists from its first pod's creation until its last pod is gone, or all of its pods
//!   have ended. Replicas that are requested and have no pod cost nothing.
//! - Between two steps a replica is billed under its reason of the earlier step. A replica that has
//!   come since is billed as [`ReplicaReason::Starting`] up to the later step, a replica that has
//!   gone up to its end.
//! - The bill of a step covers exactly the time since the one before, so the sum over all reasons
//!   is the integral of the number of existing replicas, and more steps change no sum.
//! - GPU-seconds are replica-seconds times the GPUs of the replica.
//! - A day is the current hour of UTC and the 23 hours before it.
//! - The peak of an hour is the highest number of replicas at one time that were not
//!   [`ReplicaReason::Draining`], since a replica on its way out often overlaps its replacement.
//!
//! A [`Ledger`] is the bill in memory, and a [`BillRecord`] what a status keeps of it. After a
//! restart the time since the record is billed by the number of replicas of each reason in it, and
//! by the pods' own times of creation and end. See [`Ledger::restored`].

mod day;
mod ledger;
mod recall;
mod record;
#[cfg(test)]
mod tests;

use chrono::{DateTime, TimeDelta, Utc};
use litemap::LiteMap;
use serde::{Deserialize, Serialize};

use crate::replica_reason::ReplicaReason;

pub use day::Hour;
pub use ledger::{BilledReplica, EndedReplica, Ledger};
pub use record::BillRecord;

/// An amount of time of replicas, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// The time of the replicas.
    pub replica_ms: u64,
    /// The time of their GPUs.
    pub gpu_ms: u64,
}

/// Amounts by reason, of which there are few. A reason without an entry has none.
pub type Amounts = LiteMap<ReplicaReason, Amount>;

/// Numbers of replicas, and of their GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u64)", into = "(u32, u64)")]
pub struct Counts {
    /// The number of replicas.
    pub replicas: u32,
    /// The number of their GPUs.
    pub gpus: u64,
}

/// The sums of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayBill {
    /// The amounts by reason.
    pub amounts: Amounts,
    /// The time that the bill covers, in milliseconds: at most a day, and less where the target was
    /// not there, or not this autoscaler's, for a part of it.
    pub covered_ms: u64,
    /// The highest numbers at one time.
    pub peak: Counts,
}

impl Amount {
    fn add(&mut self, other: Self) {
        self.replica_ms = self.replica_ms.saturating_add(other.replica_ms);
        self.gpu_ms = self.gpu_ms.saturating_add(other.gpu_ms);
    }
}

impl Counts {
    fn add(&mut self, gpus: u64) {
        self.replicas = self.replicas.saturating_add(1);
        self.gpus = self.gpus.saturating_add(gpus);
    }

    fn max(self, other: Self) -> Self {
        Self { replicas: self.replicas.max(other.replicas), gpus: self.gpus.max(other.gpus) }
    }
}

impl From<(u32, u64)> for Counts {
    fn from((replicas, gpus): (u32, u64)) -> Self {
        Self { replicas, gpus }
    }
}

impl From<Counts> for (u32, u64) {
    fn from(Counts { replicas, gpus }: Counts) -> Self {
        (replicas, gpus)
    }
}

/// The time of some replicas with the same reason.
#[derive(Clone, Copy, Debug)]
struct Span {
    reason: ReplicaReason,
    counts: Counts,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Span {
    /// Returns the amount of a time in which all of the replicas exist.
    fn amount(&self, time: TimeDelta) -> Amount {
        let ms = u64::try_from(time.num_milliseconds()).unwrap_or_default();
        Amount {
            replica_ms: ms.saturating_mul(self.counts.replicas.into()),
            gpu_ms: ms.saturating_mul(self.counts.gpus),
        }
    }
}

/// Adds amounts to others.
fn add(sums: &mut Amounts, amounts: &Amounts) {
    for (reason, amount) in amounts {
        sums.entry(*reason).or_default().add(*amount);
    }
}
