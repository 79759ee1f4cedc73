//! What is remembered from one decision to the next: recommendations and changes of size.

mod exact;
mod record;
#[cfg(test)]
mod restart;
mod thin;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use record::{HistoryRecord, RECORD_ENTRIES};
use thin::Later;

use crate::{Behavior, Decision, Deviation, Outcome, Policy};

/// The memory of one autoscaler about one target.
///
/// The HPA keeps lists whose outdated places it reuses; so does `HpaExact`. The Default profile keeps only
/// what can still change an answer: a recommendation that is higher, or lower, than all later ones, and a
/// change of size that a policy still counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// `None` until the first decision: the number of replicas then counts as its first recommendation.
    recommendations: Option<Vec<Recommendation>>,
    scale_ups: Vec<ScaleEvent>,
    scale_downs: Vec<ScaleEvent>,
    /// The number of replicas as last seen or written.
    replicas: Option<i32>,
    /// Since when no metric has been there.
    blind_since: Option<DateTime<Utc>>,
    /// Since when nothing has been asked for. Not kept in a record: who was not there does not know.
    idle_since: Option<DateTime<Utc>>,
}

/// What a decision recommended, before any window or limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recommendation {
    /// The number of replicas.
    pub replicas: i32,
    /// When.
    pub at: DateTime<Utc>,
}

/// A change of size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleEvent {
    /// By how many replicas; its direction is that of the list it is in.
    pub change: i32,
    /// When.
    pub at: DateTime<Utc>,
    /// The HPA's mark for a place in its list that may be reused; sums do not look at it.
    #[serde(skip)]
    pub outdated: bool,
}

impl History {
    /// A memory as it stands, for tests and tools; `None` as recommendations is a memory that has not begun.
    /// The Default profile's lists are oldest first; the HPA's, whose places are reused, may be in any order.
    pub fn from_lists(
        recommendations: Option<Vec<Recommendation>>,
        scale_ups: Vec<ScaleEvent>,
        scale_downs: Vec<ScaleEvent>,
    ) -> Self {
        Self { recommendations, scale_ups, scale_downs, ..Self::default() }
    }

    #[cfg(test)]
    pub(crate) fn blind_from(self, blind_since: Option<DateTime<Utc>>) -> Self {
        Self { blind_since, ..self }
    }

    /// What was recommended, as far as it is remembered; `None` before the first decision.
    pub fn recommendations(&self) -> Option<&[Recommendation]> {
        self.recommendations.as_deref()
    }

    /// The remembered changes to a larger size.
    pub fn scale_ups(&self) -> &[ScaleEvent] {
        &self.scale_ups
    }

    /// The remembered changes to a smaller size.
    pub fn scale_downs(&self) -> &[ScaleEvent] {
        &self.scale_downs
    }

    /// Since when every metric has failed; `None` if one has not, or before the first decision.
    pub fn blind_since(&self) -> Option<DateTime<Utc>> {
        self.blind_since
    }

    /// Since when every decision has asked for nothing; `None` if the last one has not.
    pub fn idle_since(&self) -> Option<DateTime<Utc>> {
        self.idle_since
    }

    /// Remembers what the decision recommended, before any window or limit. To be called once for every
    /// decision, whether or not anything is written.
    pub fn record(&mut self, policy: &Policy, decision: &Decision, now: DateTime<Utc>) {
        let first = Recommendation { replicas: decision.current, at: now };
        self.recommendations.get_or_insert_with(|| vec![first]);
        self.replicas = Some(decision.current);
        self.idle_since = if decision.is_idle() { self.idle_since.or(Some(now)) } else { None };
        self.blind_since = if decision.is_blind() { self.blind_since.or(Some(now)) } else { None };
        if let Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. } =
            &decision.outcome
        {
            self.recommended(policy, derivation.recommended, now);
        }
    }

    /// Remembers a step that is not to be acted upon, because somebody else keeps the size: what there is counts as recommended, so
    /// that nothing shrinks on what was wanted meanwhile.
    pub fn kept(&mut self, policy: &Policy, decision: &Decision, now: DateTime<Utc>) {
        let unmoved = Decision { outcome: Outcome::Silent, ..decision.clone() };
        self.record(policy, &unmoved, now);
        self.recommended(policy, decision.current, now);
    }

    /// Remembers one recommendation; [`History::record`] is what a step needs.
    pub fn recommended(&mut self, policy: &Policy, replicas: i32, now: DateTime<Utc>) {
        let recommendations = self.recommendations.get_or_insert_default();
        let latest = Recommendation { replicas, at: now };
        if policy.profile.has(Deviation::SurvivingHistory) {
            thin::remember(recommendations, policy, latest);
        } else {
            exact::remember(recommendations, policy, latest);
        }
    }

    /// Remembers a change of size that has been written. Without `behavior` nothing counts such changes.
    pub fn scaled(&mut self, policy: &Policy, from: i32, to: i32, now: DateTime<Utc>) {
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
        let (changed, other, rules, later) = if grows {
            (&mut self.scale_ups, &mut self.scale_downs, &behavior.scale_up, Later::No)
        } else {
            (&mut self.scale_downs, &mut self.scale_ups, &behavior.scale_down, Later::Yes)
        };
        if policy.profile.has(Deviation::KeptScaleEvents) {
            thin::remember_event((changed, other), behavior, event, later);
        } else {
            exact::remember_event(changed, rules, event);
        }
    }
}
