//! The history of one target: past recommendations and scale events, from one decision to the next.

mod exact;
mod record;
mod staircase;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    decision::{Decision, Outcome},
    policy::{Behavior, Policy},
    profile::Deviation,
    units::Resize,
};

pub use record::{HistoryRecord, RECORD_ENTRIES};
use staircase::MergeTo;

/// The history of one autoscaler about one target.
///
/// The HPA keeps lists in which outdated entries are overwritten, and so does `HpaExact`. The
/// Default profile keeps only entries that can still change a decision: recommendations that are
/// higher or lower than all later ones, and scale events within the period of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// `None` until the first decision, which adds its current size as the first recommendation.
    recommendations: Option<Vec<Recommendation>>,
    scale_ups: Vec<ScaleEvent>,
    scale_downs: Vec<ScaleEvent>,
    /// The number of replicas that was last observed or written.
    replicas: Option<i32>,
    /// The time since which every metric has failed.
    no_metrics_since: Option<DateTime<Utc>>,
    /// The time since which every decision has requested zero replicas. It is not part of a
    /// [`HistoryRecord`]: after a restart, the load during the gap is unknown.
    idle_since: Option<DateTime<Utc>>,
}

/// The recommendation of a past decision, before any window or limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recommendation {
    /// The recommended number of replicas.
    pub replicas: i32,
    /// The time of the decision.
    pub at: DateTime<Utc>,
}

/// A change of size in the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleEvent {
    /// The number of replicas added or removed, by the list in which the event is; not negative.
    pub change: i32,
    /// The time of the write.
    pub at: DateTime<Utc>,
    /// The HPA's mark for an entry that may be overwritten (`timestampedScaleEvent.outdated` in
    /// `pkg/controller/podautoscaler/horizontal.go`); sums ignore it.
    #[serde(skip)]
    pub outdated: bool,
}

impl History {
    /// Returns a history with these lists, for tests and tools. `None` as recommendations is a
    /// history before its first decision.
    ///
    /// The lists of the Default profile are oldest first. Those of `HpaExact` may be in any
    /// order, because entries are overwritten.
    pub fn from_lists(
        recommendations: Option<Vec<Recommendation>>,
        scale_ups: Vec<ScaleEvent>,
        scale_downs: Vec<ScaleEvent>,
    ) -> Self {
        Self { recommendations, scale_ups, scale_downs, ..Self::default() }
    }

    #[cfg(test)]
    pub(crate) fn with_no_metrics_since(self, no_metrics_since: Option<DateTime<Utc>>) -> Self {
        Self { no_metrics_since, ..self }
    }

    /// Returns the remembered recommendations; `None` before the first decision.
    pub fn recommendations(&self) -> Option<&[Recommendation]> {
        self.recommendations.as_deref()
    }

    /// Returns the remembered changes to a larger size.
    pub fn scale_ups(&self) -> &[ScaleEvent] {
        &self.scale_ups
    }

    /// Returns the remembered changes to a smaller size.
    pub fn scale_downs(&self) -> &[ScaleEvent] {
        &self.scale_downs
    }

    /// Returns the time since which every metric has failed; `None` if one has not, or before the
    /// first decision.
    pub fn no_metrics_since(&self) -> Option<DateTime<Utc>> {
        self.no_metrics_since
    }

    /// Returns the time since which every decision has requested zero replicas; `None` if the last
    /// one has not.
    pub fn idle_since(&self) -> Option<DateTime<Utc>> {
        self.idle_since
    }

    /// Records a decision: its recommendation before any window or limit, and the begin or end of a
    /// time without metrics or load. Call it once for every decision, even if nothing is written.
    pub fn record(&mut self, policy: &Policy, decision: &Decision, now: DateTime<Utc>) {
        let first = Recommendation { replicas: decision.current, at: now };
        self.recommendations.get_or_insert_with(|| vec![first]);
        self.replicas = Some(decision.current);
        self.idle_since = if decision.is_idle() { self.idle_since.or(Some(now)) } else { None };
        self.no_metrics_since =
            if decision.all_metrics_failed() { self.no_metrics_since.or(Some(now)) } else { None };
        if let Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. } =
            &decision.outcome
        {
            self.record_recommendation(policy, derivation.recommended, now);
        } else if is_unobserved(&decision.outcome) && policy.profile.has(Deviation::UnobservedTime)
        {
            self.record_recommendation(policy, decision.current, now);
        }
    }

    /// Goes on after a time in which nothing was decided, as if the process had been restarted at
    /// its end: `resize.desired`, which is the current size unless a scale-down is under way,
    /// stands for the unknown recommendations, and the target has not been idle.
    pub fn bridge_gap(&mut self, policy: &Policy, resize: Resize, now: DateTime<Utc>) {
        *self = Self::resume(&self.snapshot(), policy, resize, now);
    }

    /// Goes on with a size that the target has for other reasons than this history. Past
    /// recommendations stay, and the current size counts as one of now. Changes of size are
    /// forgotten, because the target had others.
    pub fn adopt(&mut self, policy: &Policy, current: i32, now: DateTime<Utc>) {
        let record = HistoryRecord {
            replicas: None,
            scale_ups: Vec::new(),
            scale_downs: Vec::new(),
            ..self.snapshot()
        };
        *self = Self::restore(&record, policy, current, now);
    }

    /// Records the size that the target has, where decisions start from another one.
    pub(crate) fn observe_size(&mut self, replicas: i32) {
        self.replicas = Some(replicas);
    }

    /// Moves all times, after the wall clock was set by that much.
    pub fn shift(&mut self, by: TimeDelta) {
        let shifted = |at: &mut DateTime<Utc>| *at = at.checked_add_signed(by).unwrap_or(*at);
        self.recommendations.iter_mut().flatten().for_each(|entry| shifted(&mut entry.at));
        self.scale_ups.iter_mut().chain(&mut self.scale_downs).for_each(|e| shifted(&mut e.at));
        self.no_metrics_since.iter_mut().chain(&mut self.idle_since).for_each(shifted);
    }

    /// Records a decision that must not be written, because something else keeps the target's size.
    ///
    /// The current size counts as the recommendation. So when writes are allowed again, the target
    /// does not shrink at once on recommendations that were made meanwhile.
    pub fn record_blocked(&mut self, policy: &Policy, decision: &Decision, now: DateTime<Utc>) {
        let unmoved = Decision { outcome: Outcome::NoEvents, ..decision.clone() };
        self.record(policy, &unmoved, now);
        self.record_recommendation(policy, decision.current, now);
    }

    /// Records one recommendation. A step calls [`History::record`], which includes this.
    pub fn record_recommendation(&mut self, policy: &Policy, replicas: i32, now: DateTime<Utc>) {
        let recommendations = self.recommendations.get_or_insert_default();
        let latest = Recommendation { replicas, at: now };
        if policy.profile.has(Deviation::SurvivingHistory) {
            staircase::insert(recommendations, policy, latest);
        } else {
            exact::insert(recommendations, policy, latest);
        }
    }

    /// Records a change of size that has been written, from `from` to `to` replicas.
    ///
    /// Without `behavior`, only [`Deviation::GrowthByTime`] counts such changes; `HpaExact` then
    /// records none.
    pub fn record_scale(&mut self, policy: &Policy, from: i32, to: i32, now: DateTime<Utc>) {
        self.replicas = Some(to);
        let legacy = Behavior::legacy();
        let behavior = match &policy.behavior {
            Some(behavior) => behavior,
            None if policy.profile.has(Deviation::GrowthByTime) => &legacy,
            None => return,
        };
        let grows = to > from;
        let change = if grows { to.wrapping_sub(from) } else { from.wrapping_sub(to) };
        let event = ScaleEvent { change, at: now, outdated: false };
        let (same, opposite, rules, merge_to) = if grows {
            let rules = &behavior.scale_up;
            (&mut self.scale_ups, &mut self.scale_downs, rules, MergeTo::Earlier)
        } else {
            let rules = &behavior.scale_down;
            (&mut self.scale_downs, &mut self.scale_ups, rules, MergeTo::Later)
        };
        if policy.profile.has(Deviation::KeptScaleEvents) {
            let begin = event.at - behavior.longest_period();
            staircase::forget_events(opposite, begin, event.at);
            staircase::insert_event(same, event, begin, merge_to);
        } else {
            exact::insert_event(same, rules, event);
        }
    }
}

/// Returns whether a decision rests on no metric although it should: they failed, or had too few
/// events, or the pods are not known.
fn is_unobserved(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::NoMetrics { .. } | Outcome::NoEvents | Outcome::NoSelector => true,
        Outcome::Computed(_)
        | Outcome::Fallback { .. }
        | Outcome::OutOfBounds { .. }
        | Outcome::Disabled => false,
    }
}
