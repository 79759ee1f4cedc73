//! The next expected change of a target, and its time.

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{
    conditions::{ConditionType, Reason},
    memory::Remembered,
    time,
};
use llm_autoscaler_core::{History, HistoryRecord, next_change};

use super::{View, is_hold, words::duration};

/// The next expected change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// The earliest time of it, where one is known.
    pub at: Option<DateTime<Utc>>,
    /// The change, or what it waits for.
    pub text: String,
}

impl Next {
    fn unknown(text: impl Into<String>) -> Self {
        Self { at: None, text: text.into() }
    }

    fn at(at: DateTime<Utc>, text: String) -> Self {
        Self { at: Some(at), text }
    }
}

/// The condition under which a change that only waits for time comes about.
const IF: &str = "if the metrics stay as they are";
/// The note about a change with mode Recommend.
const RECOMMENDED: &str = "it is only recommended";

impl View<'_> {
    /// Returns the next expected change.
    pub(super) fn next(&self) -> Next {
        self.waits_for_others()
            .or_else(|| self.without_metrics())
            .or_else(|| self.recommended())
            .or_else(|| self.under_way())
            .or_else(|| self.in_time())
            .unwrap_or_else(|| Next::unknown(format!("nothing, {IF}")))
    }

    /// Returns what happens while nothing is written: because of a pause, of a size that another
    /// writer has set, or of a fault.
    fn waits_for_others(&self) -> Option<Next> {
        if self.object.is_paused() && self.recommends().is_none() {
            let text = "nothing is written until the annotation llmautoscaler.io/paused is removed";
            return Some(Next::unknown(text));
        }
        if let Some(change) = &self.target.manual_change
            && self.message(ConditionType::ManualChange, true).is_some()
        {
            let until = time::from_kubernetes(&change.time) + self.config.as_ref()?.respect;
            let by = change.by.as_deref().unwrap_or("another writer");
            let text = format!("the size of {by}, {}, is no longer respected", change.to);
            return Some(Next::at(until, text));
        }
        let fault = self.message(ConditionType::AbleToScale, false)?;
        Some(Next::unknown(format!("it is tried again: {fault}")))
    }

    /// Returns what happens while no number is computed.
    fn without_metrics(&self) -> Option<Next> {
        if self.target.decision.is_some() {
            return None;
        }
        let fallback = self.config.as_ref().and_then(|config| config.policy.fallback);
        let since = self.record().and_then(|record| record.no_metrics_since);
        if let Some((fallback, since)) = fallback.zip(since) {
            let text = format!("the fallback: at least {} replicas", fallback.replicas);
            return Some(Next::at(since + fallback.after, text));
        }
        Some(Next::unknown("nothing until a number can be computed"))
    }

    /// Returns the next change of a recommendation: with mode Recommend no size is written, so
    /// none is under way.
    fn recommended(&self) -> Option<Next> {
        let only = self.recommends()?;
        let next = self.in_time();
        let next =
            next.map(|Next { at, text }| Next { at, text: format!("{text}; {RECOMMENDED}") });
        Some(next.unwrap_or_else(|| Next::unknown(only)))
    }

    /// Returns the change that only waits for samples or for time.
    fn in_time(&self) -> Option<Next> {
        self.after_a_hold().or_else(|| self.after_a_limit()).or_else(|| self.to_zero())
    }

    /// Returns the change that has begun: a write of the next step, a drain, replicas that start.
    fn under_way(&self) -> Option<Next> {
        if let Some(drain) = self.message(ConditionType::Draining, true) {
            return Some(Next::unknown(drain));
        }
        let current = self.target.current_replicas;
        let applied = self.target.desired_replicas;
        if applied != current {
            return Some(Next::unknown(format!("{current} -> {applied} is under way")));
        }
        let starting = current - self.target.ready_replicas;
        if starting <= 0 || self.message(ConditionType::ReplicasStuck, true).is_some() {
            return None;
        }
        let usual = self.target.start_up_seconds.iter().max();
        let usual = usual.map(|seconds| duration(TimeDelta::seconds((*seconds).into())));
        let usual = usual.map(|it| format!("; the latest took {it} at most")).unwrap_or_default();
        let text = format!("{starting} of {current} replicas have to get ready{usual}");
        Some(Next::unknown(text))
    }

    fn after_a_hold(&self) -> Option<Next> {
        let decision = self.target.decision.as_ref()?;
        if !self.rule().is_some_and(is_hold) {
            return None;
        }
        let min = self.config.as_ref().map_or(0, |config| config.policy.min_replicas);
        if decision.raw < self.size() && min >= self.size() {
            let text = "nothing, even once the samples are complete: minReplicas is";
            return Some(Next::unknown(format!("{text} {min}")));
        }
        let text = format!("{} replicas once the samples are complete", decision.raw.max(min));
        Some(Next::unknown(format!("nothing is removed until then: {text}")))
    }

    /// Returns the change that a window or a rate policy allows in time.
    fn after_a_limit(&self) -> Option<Next> {
        let (raw, current) = (self.target.decision.as_ref()?.raw, self.size());
        if raw == current || self.rule().is_some_and(|rule| Reason::is_of_roles(rule.as_str())) {
            return None;
        }
        let policy = &self.config.as_ref()?.policy;
        let record = self.record()?;
        let history =
            History::from_lists(Some(record.recommendations), record.scale_ups, record.scale_downs);
        let next = next_change(policy, &history, current, raw.max(0), self.now)?;
        let replicas =
            if policy.to_zero.is_some() && raw < 1 { next.replicas.max(1) } else { next.replicas };
        let text = format!("{current} -> {replicas}, {IF}");
        (replicas != current).then(|| Next::at(next.at, text))
    }

    /// Returns when a target that is idle goes to zero. The status tells since when at the
    /// earliest: since the rule applies, or the latest wake call.
    fn to_zero(&self) -> Option<Next> {
        let after = self.config.as_ref()?.policy.to_zero?.after;
        let is_waiting = self.rule() == Some(Reason::NotIdleYet);
        let latest = self.target.decisions.first().filter(|_| is_waiting)?;
        let is_of_rule = latest.limited_by == Reason::NotIdleYet.as_str();
        let began = is_of_rule.then(|| time::from_kubernetes(&latest.time))?;
        let woken = self.status.last_wake_time.as_ref().map(time::from_kubernetes);
        let at = woken.map_or(began, |woken| began.max(woken)) + after;
        Some(Next::at(at, format!("{} -> 0 at the earliest, {IF}", self.size())))
    }

    /// Returns the history that the status keeps.
    fn record(&self) -> Option<HistoryRecord> {
        self.target.uid.as_ref().and_then(|_| Remembered::of(self.target).history)
    }
}

/// Returns a time as people read it, in UTC, with the time left: `14:03:20 UTC (in 1 min 25 s)`.
pub(crate) fn moment(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let clock =
        if at.date_naive() == now.date_naive() { "%H:%M:%S UTC" } else { "%F %H:%M:%S UTC" };
    let left = at - now;
    if left > TimeDelta::zero() {
        format!("{} (in {})", at.format(clock), duration(left))
    } else {
        format!("{} (due)", at.format(clock))
    }
}
