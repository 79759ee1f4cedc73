//! The history that a case begins with.

use chrono::{DateTime, Utc};
use llm_autoscaler_core::{History, Recommendation, ScaleEvent};
use serde::Deserialize;

use crate::evaluate::fields::{or_default, seconds};

/// Past recommendations and changes of size. Their times are ages in seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "struct Case")]
pub(super) struct HistoryCase {
    scale_up_events: Option<Vec<Event>>,
    scale_down_events: Option<Vec<Event>>,
    recommendations: Option<Vec<PastRecommendation>>,
}

#[derive(Debug, Deserialize)]
struct Event {
    #[serde(default, deserialize_with = "or_default")]
    change: i32,
    #[serde(default, deserialize_with = "or_default")]
    ago_s: f64,
    #[serde(default, deserialize_with = "or_default")]
    outdated: bool,
}

#[derive(Debug, Deserialize)]
struct PastRecommendation {
    #[serde(default, deserialize_with = "or_default")]
    replicas: i32,
    #[serde(default, deserialize_with = "or_default")]
    ago_s: f64,
}

impl HistoryCase {
    /// Returns the history as it is at `now`.
    pub(super) fn at(&self, now: DateTime<Utc>) -> History {
        let recommendation = |past: &PastRecommendation| Recommendation {
            replicas: past.replicas,
            at: now - seconds(past.ago_s),
        };
        let event = |past: &Event| ScaleEvent {
            change: past.change,
            at: now - seconds(past.ago_s),
            outdated: past.outdated,
        };
        let events = |list: &Option<Vec<Event>>| list.iter().flatten().map(event).collect();
        let recommendations = self.recommendations.as_ref();
        History::from_lists(
            recommendations.map(|list| list.iter().map(recommendation).collect()),
            events(&self.scale_up_events),
            events(&self.scale_down_events),
        )
    }
}
