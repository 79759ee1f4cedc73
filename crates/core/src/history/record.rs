//! The record of a history, as the autoscaler's status stores it.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{
    History, Recommendation, ScaleEvent,
    staircase::{self, MergeTo},
};
use crate::{policy::Policy, profile::Deviation, units::Resize};

/// The maximum number of entries of a [`HistoryRecord`], all lists together.
pub const RECORD_ENTRIES: usize = 32;

/// The share of each staircase and each list of scale events.
const EACH: usize = RECORD_ENTRIES / 4;

/// The part of a [`History`] that survives a restart, small enough for a status. Times are whole
/// microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HistoryRecord {
    /// The number of replicas at the time of the record.
    pub replicas: Option<i32>,
    /// Recommendations that can still hold back a change, oldest first.
    pub recommendations: Vec<Recommendation>,
    /// Changes to a larger size, oldest first.
    pub scale_ups: Vec<ScaleEvent>,
    /// Changes to a smaller size, oldest first.
    pub scale_downs: Vec<ScaleEvent>,
    /// The time since which every metric has failed.
    #[serde(rename = "blindSince", skip_serializing_if = "Option::is_none")]
    pub no_metrics_since: Option<DateTime<Utc>>,
}

impl HistoryRecord {
    /// Returns the record with at most `entries` entries. A merge lengthens a window and never
    /// shortens it.
    #[must_use]
    pub fn merged(&self, entries: usize) -> Self {
        let each = entries / 4;
        let mut merged = self.clone();
        staircase::coarsen(&mut merged.recommendations, each);
        staircase::merge_events(&mut merged.scale_ups, each, MergeTo::Earlier);
        staircase::merge_events(&mut merged.scale_downs, each, MergeTo::Later);
        merged
    }
}

impl History {
    /// Returns the history as a record of at most [`RECORD_ENTRIES`] entries.
    ///
    /// If there are more, neighbours are merged. A merge lengthens a window and never shortens it:
    /// a scale-down may come later for it, never earlier.
    pub fn snapshot(&self) -> HistoryRecord {
        let mut recommendations = self.recommendations.clone().unwrap_or_default();
        recommendations.sort_by_key(|entry| entry.at);
        staircase::coarsen(&mut recommendations, EACH);
        for entry in &mut recommendations {
            entry.at = microsecond_after(entry.at);
        }
        HistoryRecord {
            replicas: self.replicas,
            recommendations,
            scale_ups: merged_events(&self.scale_ups, MergeTo::Earlier),
            scale_downs: merged_events(&self.scale_downs, MergeTo::Later),
            no_metrics_since: self.no_metrics_since.map(microsecond_after),
        }
    }

    /// Returns the history after a restart, when the target has `current` replicas.
    ///
    /// Recommendations between the record and `now` are unknown; `current` stands for them. Of an
    /// unrecorded change of size, only a scale-down counts as the autoscaler's own. So a scale-down
    /// never comes earlier than without the restart, and at most one window (or period) later.
    /// Times after `now` count as `now`.
    ///
    /// Under `HpaExact` the record is ignored: the HPA forgets its history when it restarts.
    pub fn restore(
        record: &HistoryRecord,
        policy: &Policy,
        current: i32,
        now: DateTime<Utc>,
    ) -> Self {
        Self::resume(record, policy, Resize { current, desired: current }, now)
    }

    /// Returns the history after a restart in the middle of a scale-down, which is under way as
    /// long as its victims are out of service. Its desired size stands for the unknown
    /// recommendations.
    pub fn resume(
        record: &HistoryRecord,
        policy: &Policy,
        Resize { current, desired }: Resize,
        now: DateTime<Utc>,
    ) -> Self {
        let no_metrics_since = record.no_metrics_since.map(|since| since.min(now));
        let mut history = Self { replicas: Some(current), no_metrics_since, ..Self::default() };
        if !policy.profile.has(Deviation::SurvivingHistory) {
            return history;
        }
        let mut recommendations = record.recommendations.clone();
        recommendations.sort_by_key(|entry| entry.at);
        let latest = Recommendation { replicas: desired, at: now };
        staircase::insert(&mut recommendations, policy, latest);
        history.recommendations = Some(recommendations);
        history.scale_ups = events_until(now, &record.scale_ups);
        history.scale_downs = events_until(now, &record.scale_downs);
        if let Some(before) = record.replicas.filter(|before| current < *before) {
            let change = before.saturating_sub(current);
            history.scale_downs.push(ScaleEvent { change, at: now, outdated: false });
        }
        history
    }
}

/// Returns at most [`EACH`] events, oldest first, in whole microseconds.
fn merged_events(events: &[ScaleEvent], merge_to: MergeTo) -> Vec<ScaleEvent> {
    let mut merged = events.to_vec();
    merged.sort_by_key(|event| event.at);
    staircase::merge_events(&mut merged, EACH, merge_to);
    for event in &mut merged {
        event.at = match merge_to {
            MergeTo::Later => microsecond_after(event.at),
            MergeTo::Earlier => event.at.trunc_subsecs(6),
        };
    }
    merged
}

/// Returns the events, oldest first, with times after `now` moved to `now`.
fn events_until(now: DateTime<Utc>, events: &[ScaleEvent]) -> Vec<ScaleEvent> {
    let mut events: Vec<_> =
        events.iter().map(|event| ScaleEvent { at: event.at.min(now), ..*event }).collect();
    events.sort_by_key(|event| event.at);
    events
}

/// Rounds a time up to a whole microsecond, so that the entry does not expire earlier for being
/// stored.
fn microsecond_after(at: DateTime<Utc>) -> DateTime<Utc> {
    let whole = at.trunc_subsecs(6);
    if whole < at { whole + TimeDelta::microseconds(1) } else { whole }
}
