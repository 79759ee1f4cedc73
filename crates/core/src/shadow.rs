//! The shadow of an autoscaler that only recommends: the size to which its recommendations would
//! have led, beside the size that its target has.
//!
//! The shadow moves as the target would have moved: from the size at which it began, by each
//! recommendation at once. The time between two steps is billed with the two sizes of the earlier
//! step. So the two bills differ by the decisions only, and not by starts, drains and failures of
//! replicas, which happen to the target alone.

use chrono::{DateTime, Utc};

use crate::{
    now::{Monotonic, Now},
    policy::Policy,
};

/// The number of hours that are billed apart: the current one, and those of the day before it.
const HOURS: i64 = 24;
/// The number of differences that are kept.
const DIFFERENCES: usize = 10;
/// Seconds of an hour.
const HOUR: i64 = 3600;

/// The choice whether decisions are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Sizes are written.
    #[default]
    Scale,
    /// Nothing is written; what would be written is recommended.
    Recommend,
}

/// The shadow of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shadow {
    replicas: i32,
    actual: i32,
    /// The moment up to which time is billed; `None` where the time since then is unknown.
    billed_at: Option<Monotonic>,
    hours: Vec<BilledHour>,
    differences: Vec<Difference>,
}

/// The bill of the observed part of one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BilledHour {
    /// The number of the hour since 1970, in UTC.
    pub hour: i64,
    /// The bill of its observed part.
    pub bill: ShadowBill,
}

/// The replicas of a target and of its shadow, summed over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShadowBill {
    /// The observed time, in milliseconds.
    pub milliseconds: i64,
    /// The target's requested replicas times the time, in milliseconds.
    pub actual: i64,
    /// The shadow's replicas times the time, in milliseconds.
    pub recommended: i64,
}

/// A time during which the recommended size differed from the target's, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// When it began.
    pub since: DateTime<Utc>,
    /// When it ended; `None` while it lasts.
    pub until: Option<DateTime<Utc>>,
    /// The target's size when the two differed most.
    pub actual: i32,
    /// The recommended size when the two differed most.
    pub recommended: i32,
}

impl ShadowBill {
    fn add(&mut self, other: Self) {
        self.milliseconds = self.milliseconds.saturating_add(other.milliseconds);
        self.actual = self.actual.saturating_add(other.actual);
        self.recommended = self.recommended.saturating_add(other.recommended);
    }
}

impl Difference {
    fn replicas(&self) -> i64 {
        i64::from(self.recommended) - i64::from(self.actual)
    }
}

impl Shadow {
    /// Begins with the size that the target has.
    pub fn new(actual: i32) -> Self {
        Self { replicas: actual, actual, ..Self::default() }
    }

    /// Goes on with what was remembered. `hours` and `differences` are latest first. The time until
    /// the next record is not billed, because nothing was observed.
    pub fn restored(replicas: i32, hours: Vec<BilledHour>, differences: Vec<Difference>) -> Self {
        Self { replicas, actual: replicas, billed_at: None, hours, differences }
    }

    /// Returns the size to which the recommendations so far have led.
    pub fn replicas(&self) -> i32 {
        self.replicas
    }

    /// Returns the bills of the last 24 hours, the current one included, latest first.
    pub fn hours(&self) -> &[BilledHour] {
        &self.hours
    }

    /// Returns the last ten differences, latest first.
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    /// Returns the sum of the bills of the last 24 hours.
    pub fn bill(&self) -> ShadowBill {
        let mut sum = ShadowBill::default();
        self.hours.iter().for_each(|hour| sum.add(hour.bill));
        sum
    }

    /// Returns the size that the next decision starts from, while the target has `actual` replicas.
    ///
    /// Where the policy has no way to zero, a target at zero was switched off by a person, and
    /// would have been for this autoscaler too: the shadow follows it to zero and back.
    pub fn size(&self, policy: &Policy, actual: i32) -> i32 {
        let is_off = policy.to_zero.is_none() && (actual == 0 || self.replicas == 0);
        if is_off { actual } else { self.replicas }
    }

    /// Records that the time since the last record is unknown, so that it is not billed.
    pub(crate) fn interrupt(&mut self) {
        self.billed_at = None;
    }

    /// Records the sizes of a step. Returns the bill of the time since the step before it. All of
    /// it counts in the hour in which it ends.
    pub(crate) fn record(&mut self, actual: i32, replicas: i32, now: Now) -> ShadowBill {
        let billed = self.bill_until(now);
        (self.actual, self.replicas) = (actual, replicas);
        self.compare(now.wall);
        billed
    }

    fn bill_until(&mut self, now: Now) -> ShadowBill {
        let since = self.billed_at.replace(now.monotonic);
        let elapsed = since.map(|since| now.monotonic.since(since)).unwrap_or_default();
        let milliseconds = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        let times = |replicas: i32| i64::from(replicas.max(0)).saturating_mul(milliseconds);
        let (actual, recommended) = (times(self.actual), times(self.replicas));
        let bill = ShadowBill { milliseconds, actual, recommended };
        // A clock that was set back does not open an hour anew.
        let latest = self.hours.first().map_or(i64::MIN, |latest| latest.hour);
        let hour = now.wall.timestamp().div_euclid(HOUR).max(latest);
        self.hours.retain(|past| past.hour > hour.saturating_sub(HOURS));
        match self.hours.first_mut().filter(|latest| latest.hour == hour) {
            Some(latest) => latest.bill.add(bill),
            None => self.hours.insert(0, BilledHour { hour, bill }),
        }
        bill
    }

    /// Takes note of a difference that begins, grows or ends.
    fn compare(&mut self, now: DateTime<Utc>) {
        let (actual, recommended) = (self.actual, self.replicas);
        let latest = Difference { since: now, until: None, actual, recommended };
        if let Some(open) = self.differences.first_mut().filter(|open| open.until.is_none()) {
            if open.replicas().signum() == latest.replicas().signum() {
                if latest.replicas().abs() > open.replicas().abs() {
                    (open.actual, open.recommended) = (actual, recommended);
                }
                return;
            }
            open.until = Some(now);
        }
        if latest.replicas() != 0 {
            self.differences.insert(0, latest);
            self.differences.truncate(DIFFERENCES);
        }
    }
}

#[cfg(test)]
mod tests;
