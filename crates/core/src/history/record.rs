//! The memory as it is kept outside of the process, in a resource's status.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::thin::{self, Later};
use crate::{Deviation, History, Policy, Recommendation, ScaleEvent};

/// The most entries that a [`HistoryRecord`] has, all lists together.
pub const RECORD_ENTRIES: usize = 32;

/// Two staircases and two lists of events share the space.
const EACH: usize = RECORD_ENTRIES / 4;

/// What is kept of a [`History`], small enough for a status. Times are in whole microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HistoryRecord {
    /// The number of replicas when it was written.
    pub replicas: Option<i32>,
    /// Recommendations that can still hold back a change, oldest first.
    pub recommendations: Vec<Recommendation>,
    /// Changes to a larger size, oldest first.
    pub scale_ups: Vec<ScaleEvent>,
    /// Changes to a smaller size, oldest first.
    pub scale_downs: Vec<ScaleEvent>,
    /// Since when no metric has been there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blind_since: Option<DateTime<Utc>>,
}

impl History {
    /// The memory as a record of at most [`RECORD_ENTRIES`] entries.
    ///
    /// Where there is more, neighbours are merged. That lengthens a window and never shortens it: a
    /// scale-down comes later for it, never earlier.
    pub fn snapshot(&self) -> HistoryRecord {
        let mut recommendations = self.recommendations.clone().unwrap_or_default();
        recommendations.sort_by_key(|entry| entry.at);
        thin::coarsen(&mut recommendations, EACH);
        for entry in &mut recommendations {
            entry.at = microsecond_after(entry.at);
        }
        HistoryRecord {
            replicas: self.replicas,
            recommendations,
            scale_ups: kept_events(&self.scale_ups, Later::No),
            scale_downs: kept_events(&self.scale_downs, Later::Yes),
            blind_since: self.blind_since.map(microsecond_after),
        }
    }

    /// The memory after a restart, when the target has `current` replicas.
    ///
    /// What was recommended between the record and `now` is unknown, and counts as `current`. Of a change
    /// of size since then only shrinking is taken for our own. So a scale-down never comes earlier than it
    /// would have without the restart, and at most one window (or period) later. Moments in the future
    /// count as now.
    ///
    /// To the HPA a restart is the beginning of time, and so it is to `HpaExact`.
    pub fn restore(
        record: &HistoryRecord,
        policy: &Policy,
        current: i32,
        now: DateTime<Utc>,
    ) -> Self {
        Self::resume(record, policy, (current, current), now)
    }

    /// The memory after a restart in the middle of a scale-down from `current` to `wanted` replicas, which is under way for as
    /// long as its victims are out of service: what is unknown counts as `wanted`.
    pub fn resume(
        record: &HistoryRecord,
        policy: &Policy,
        (current, wanted): (i32, i32),
        now: DateTime<Utc>,
    ) -> Self {
        let blind_since = record.blind_since.map(|since| since.min(now));
        let mut history = Self { replicas: Some(current), blind_since, ..Self::default() };
        if !policy.profile.has(Deviation::SurvivingHistory) {
            return history;
        }
        let mut recommendations = record.recommendations.clone();
        recommendations.sort_by_key(|entry| entry.at);
        thin::remember(&mut recommendations, policy, Recommendation { replicas: wanted, at: now });
        history.recommendations = Some(recommendations);
        history.scale_ups = not_after(&record.scale_ups, now);
        history.scale_downs = not_after(&record.scale_downs, now);
        if let Some(before) = record.replicas.filter(|before| current < *before) {
            let change = before.saturating_sub(current);
            history.scale_downs.push(ScaleEvent { change, at: now, outdated: false });
        }
        history
    }
}

fn kept_events(events: &[ScaleEvent], later: Later) -> Vec<ScaleEvent> {
    let mut kept = events.to_vec();
    kept.sort_by_key(|event| event.at);
    thin::merge_events(&mut kept, EACH, later);
    for event in &mut kept {
        event.at = match later {
            Later::Yes => microsecond_after(event.at),
            Later::No => event.at.trunc_subsecs(6),
        };
    }
    kept
}

fn not_after(events: &[ScaleEvent], now: DateTime<Utc>) -> Vec<ScaleEvent> {
    let clamp = |event: &ScaleEvent| ScaleEvent { at: event.at.min(now), ..*event };
    let mut events: Vec<_> = events.iter().map(clamp).collect();
    events.sort_by_key(|event| event.at);
    events
}

/// The whole microsecond at or after a moment: a memory must not end earlier for having been written down.
fn microsecond_after(at: DateTime<Utc>) -> DateTime<Utc> {
    let whole = at.trunc_subsecs(6);
    if whole < at { whole + TimeDelta::microseconds(1) } else { whole }
}
