//! The renewals of a Lease, and their record.

use llm_autoscaler_core::Monotonic;

use super::Elector;
use crate::{
    clock::Readings,
    lease::{
        record::{Layout, Record},
        steps::{Call, Settings, Step},
    },
};

impl Elector {
    /// Renews the Lease when it is due. A change by others is looked at before.
    pub(super) fn keep(&mut self, now: Readings) -> Step {
        let due = self.renewal_due(now);
        if self.is_nudged && now.monotonic < due {
            return self.call(Call::Get, now);
        }
        let record = self.renewal(self.record().unwrap_or(&Record::default()), now);
        self.at(due, Call::Update(record), now)
    }

    fn renewal_due(&self, now: Readings) -> Monotonic {
        let Some(renewed) = self.renewed else { return now.monotonic };
        if now.since(renewed) >= self.interval {
            return now.monotonic;
        }
        let due = renewed.monotonic.after(self.interval);
        match self.announced {
            Some(since) if self.announces() => due.min(since.after(self.longest)),
            _ => due,
        }
    }

    pub(super) fn announces(&self) -> bool {
        let announced = Layout::Announced(self.settings.buckets);
        self.record().is_some_and(|record| record.layout == Some(announced))
    }

    /// Returns the record that makes this copy the holder, or keeps it so. It ends all wishes.
    pub(super) fn renewal(&self, record: &Record, now: Readings) -> Record {
        let Settings { me, duration, buckets, .. } = &self.settings;
        let is_over = |since: Monotonic| now.monotonic >= since.after(self.longest);
        let is_settled = record.layout == Some(self.settled());
        let is_announced = self.is_mine(record) && self.announced.is_some_and(is_over);
        let is_settled = is_settled || is_announced;
        let layout = if is_settled { self.settled() } else { Layout::Announced(*buckets) };
        let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        let is_taken = !self.is_mine(record);
        Record {
            holder: me.clone(),
            seconds: i32::try_from(seconds).ok(),
            transitions: record.transitions.saturating_add(i32::from(is_taken)),
            acquired: if is_taken { Some(now.system) } else { record.acquired },
            renewed: Some(now.system),
            layout: Some(layout),
            wanted_by: None,
            ..record.clone()
        }
    }
}
