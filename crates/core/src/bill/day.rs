//! The hours of a day, each with its amounts.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Amount, Amounts, Counts, DayBill, Span, add};

/// The number of hours that are kept.
const HOURS: i64 = 24;

/// An hour of the bill, or several that were merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hour {
    /// The first hour, counted from the epoch.
    pub start: i64,
    /// The number of hours.
    pub hours: i64,
    /// The time that the bill covers, in milliseconds.
    pub covered_ms: u64,
    /// The highest numbers at one time.
    pub peak: Counts,
    /// The amounts by reason.
    pub amounts: Amounts,
}

/// The hours of a day, oldest first. The records of a ledger share them: only the hour that goes on
/// is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Day(Vec<Arc<Hour>>);

impl Day {
    /// Takes over hours from a record, as far as they make sense.
    pub(super) fn new(mut hours: Vec<Arc<Hour>>) -> Self {
        for hour in &mut hours {
            let sensible = hour.hours.clamp(1, HOURS);
            if hour.hours != sensible {
                Arc::make_mut(hour).hours = sensible;
            }
        }
        hours.sort_by_key(|hour| hour.start);
        let beyond = hours.len().saturating_sub(HOURS as usize);
        hours.drain(..beyond);
        Self(hours)
    }

    pub(super) fn hours(&self) -> &[Arc<Hour>] {
        &self.0
    }

    /// Adds the amount of a span to the hours that it lies in.
    pub(super) fn add(&mut self, span: &Span) {
        self.each(span.from, span.to, |hour, time| {
            hour.amounts.entry(span.reason).or_default().add(span.amount(time));
        });
    }

    /// Records that the bill covers a time, in which there were these replicas.
    pub(super) fn cover(&mut self, from: DateTime<Utc>, to: DateTime<Utc>, counts: Counts) {
        self.each(from, to, |hour, time| {
            let ms = u64::try_from(time.num_milliseconds()).unwrap_or_default();
            hour.covered_ms = hour.covered_ms.saturating_add(ms);
            hour.peak = hour.peak.max(counts);
        });
    }

    /// Records the numbers of replicas at one time.
    pub(super) fn record_peak(&mut self, at: DateTime<Utc>, counts: Counts) {
        let hour = self.hour(hour_of(at));
        hour.peak = hour.peak.max(counts);
    }

    /// Forgets the hours that are not of the day any more.
    pub(super) fn forget_before(&mut self, now: DateTime<Utc>) {
        let first = hour_of(now) - HOURS + 1;
        self.0.retain(|hour| hour.start.saturating_add(hour.hours) > first);
    }

    /// Returns the sums of all hours.
    pub(super) fn sums(&self) -> DayBill {
        let mut bill = DayBill::default();
        for hour in &self.0 {
            bill.covered_ms = bill.covered_ms.saturating_add(hour.covered_ms);
            bill.peak = bill.peak.max(hour.peak);
            add(&mut bill.amounts, &hour.amounts);
        }
        bill.amounts.retain(|_, amount| *amount != Amount::default());
        bill
    }

    /// Merges neighbours, so that no entry of whole hours has fewer than this number of them.
    pub(super) fn merge(&mut self, hours: i64) {
        let mut merged: Vec<Arc<Hour>> = Vec::new();
        for hour in std::mem::take(&mut self.0) {
            match merged.last_mut() {
                Some(last) if last.start.div_euclid(hours) == hour.start.div_euclid(hours) => {
                    let last = Arc::make_mut(last);
                    last.hours = (hour.start + hour.hours - last.start).clamp(1, HOURS);
                    last.covered_ms = last.covered_ms.saturating_add(hour.covered_ms);
                    last.peak = last.peak.max(hour.peak);
                    add(&mut last.amounts, &hour.amounts);
                }
                _ => merged.push(hour),
            }
        }
        self.0 = merged;
    }

    /// Calls `change` with each hour between two times, and the time that lies in it. Hours that
    /// are not of the day that ends with `to` are left out.
    fn each(
        &mut self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        mut change: impl FnMut(&mut Hour, TimeDelta),
    ) {
        let mut begin = from.max(start_of(hour_of(to) - HOURS + 1));
        while begin < to {
            let number = hour_of(begin);
            let end = start_of(number + 1).min(to);
            change(self.hour(number), end - begin);
            begin = end;
        }
    }

    /// Returns the entry of an hour.
    fn hour(&mut self, number: i64) -> &mut Hour {
        let has = |hour: &Arc<Hour>| {
            (hour.start..hour.start.saturating_add(hour.hours)).contains(&number)
        };
        let place = self.0.iter().position(has).unwrap_or_else(|| {
            let place = self.0.partition_point(|hour| hour.start < number);
            self.0.insert(place, Arc::new(Hour { start: number, hours: 1, ..Hour::default() }));
            place
        });
        Arc::make_mut(&mut self.0[place])
    }
}

/// Returns the number of the hour that has this time, counted from the epoch.
fn hour_of(time: DateTime<Utc>) -> i64 {
    time.timestamp().div_euclid(3600)
}

/// Returns the beginning of an hour.
fn start_of(number: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(number.saturating_mul(3600), 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
