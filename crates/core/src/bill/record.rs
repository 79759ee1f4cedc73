//! The bill as a status keeps it.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound, Utc};
use litemap::LiteMap;
use serde::{Deserialize, Serialize};

use super::{
    Amount, Amounts, Counts, DayBill, Span,
    day::{Day, Hour},
};
use crate::replica_reason::ReplicaReason;

/// The part of a [`Ledger`](super::Ledger) that survives a restart. Times are whole milliseconds,
/// so that nothing is lost or counted twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BillRecord {
    /// The time at which the bill began.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub since: DateTime<Utc>,
    /// The time until which everything is billed.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub until: DateTime<Utc>,
    /// The replicas that exist then, by reason.
    #[serde(default)]
    pub open: LiteMap<ReplicaReason, Counts>,
    /// The times by which those replicas are gone that are being deleted, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ending: Vec<DateTime<Utc>>,
    /// The hours, oldest first. Those that have passed are shared with the ledger.
    #[serde(default, with = "columns")]
    pub hours: Vec<Arc<Hour>>,
}

impl BillRecord {
    /// Returns the record as it is at a later time if the same replicas exist until then, for the
    /// same reasons. An earlier time changes nothing.
    #[must_use]
    pub fn extended(&self, now: DateTime<Utc>) -> Self {
        let until = now.trunc_subsecs(3).max(self.until);
        let mut day = Day::new(self.hours.clone());
        let mut existing = Counts::default();
        for (reason, counts) in &self.open {
            day.add(&Span { reason: *reason, counts: *counts, from: self.until, to: until });
            if *reason != ReplicaReason::Draining {
                existing.replicas = existing.replicas.saturating_add(counts.replicas);
                existing.gpus = existing.gpus.saturating_add(counts.gpus);
            }
        }
        day.cover(self.until, until, existing);
        day.forget_before(until);
        Self { until, hours: day.hours().to_vec(), ..self.clone() }
    }

    /// Returns the sums of the day.
    pub fn day(&self) -> DayBill {
        Day::new(self.hours.clone()).sums()
    }

    /// Returns the record with entries of this number of hours, aligned to it. The sums stay; a
    /// merged entry leaves the day as a whole.
    #[must_use]
    pub fn merged(&self, hours: i64) -> Self {
        let mut day = Day::new(self.hours.clone());
        day.merge(hours.max(1));
        Self { hours: day.hours().to_vec(), ..self.clone() }
    }

    /// Returns the number of replicas that exist at the end of the record.
    pub fn replicas(&self) -> u32 {
        self.open.values().fold(0, |sum, counts| sum.saturating_add(counts.replicas))
    }
}

/// The hours by columns, which take half of the room of rows.
mod columns {
    use std::{collections::BTreeMap, sync::Arc};

    use serde::{Deserializer, Serializer};

    use super::{Amount, Amounts, Counts, Deserialize, Hour, ReplicaReason, Serialize};

    /// One list for each field of an hour, and two for each reason.
    #[derive(Default, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Columns {
        start: Vec<i64>,
        hours: Vec<i64>,
        covered: Vec<u64>,
        peak: Vec<Counts>,
        replicas: BTreeMap<ReplicaReason, Vec<u64>>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        gpus: BTreeMap<ReplicaReason, Vec<u64>>,
    }

    /// Writes the hours.
    pub(super) fn serialize<S: Serializer>(
        hours: &[Arc<Hour>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let column = |of: fn(&Amount) -> u64| {
            let mut columns = BTreeMap::new();
            for reason in ReplicaReason::ALL {
                let cell = |hour: &Arc<Hour>| hour.amounts.get(&reason).map_or(0, of);
                let cells: Vec<u64> = hours.iter().map(cell).collect();
                if cells.iter().any(|cell| *cell > 0) {
                    columns.insert(reason, cells);
                }
            }
            columns
        };
        let columns = Columns {
            start: hours.iter().map(|hour| hour.start).collect(),
            hours: hours.iter().map(|hour| hour.hours).collect(),
            covered: hours.iter().map(|hour| hour.covered_ms).collect(),
            peak: hours.iter().map(|hour| hour.peak).collect(),
            replicas: column(|amount| amount.replica_ms),
            gpus: column(|amount| amount.gpu_ms),
        };
        columns.serialize(serializer)
    }

    /// Reads the hours. A cell that is missing is 0.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Arc<Hour>>, D::Error> {
        let columns = Columns::deserialize(deserializer)?;
        let row = |(row, start): (usize, &i64)| {
            let cell = |cells: &Vec<u64>| cells.get(row).copied().unwrap_or_default();
            let mut amounts = Amounts::new();
            for (reason, cells) in &columns.replicas {
                amounts.entry(*reason).or_default().replica_ms = cell(cells);
            }
            for (reason, cells) in &columns.gpus {
                amounts.entry(*reason).or_default().gpu_ms = cell(cells);
            }
            amounts.retain(|_, amount| *amount != Amount::default());
            Arc::new(Hour {
                start: *start,
                hours: columns.hours.get(row).copied().unwrap_or(1),
                covered_ms: cell(&columns.covered),
                peak: columns.peak.get(row).copied().unwrap_or_default(),
                amounts,
            })
        };
        Ok(columns.start.iter().enumerate().map(row).collect())
    }
}
