//! Why there are not fewer replicas: the rule that keeps the last one, which is the reason that the
//! bill has for it, and the further rules that would keep it afterwards.

use llm_autoscaler_api::{
    DecisionStatus,
    conditions::{ConditionType, Reason},
};
use llm_autoscaler_core::ReplicaReason;

use super::{View, asks, is, is_hold, words::rule_words};

impl View<'_> {
    /// Returns the reason of the last serving replica, by the order of the bill; `None` where there
    /// is no replica.
    pub(super) fn kept_by(&self) -> Option<ReplicaReason> {
        let current = self.size();
        if current == 0 {
            return None;
        }
        let policy = self.config.as_ref().map(|config| &config.policy);
        let is_minimum = policy.is_some_and(|policy| current <= policy.min_replicas);
        let is_joint = self.rule().is_some_and(|rule| Reason::is_of_roles(rule.as_str()));
        let is_surplus = policy.is_some_and(|policy| current > policy.max_replicas);
        Some(match &self.target.decision {
            None if is_surplus && self.is_left_alone() => ReplicaReason::Manual,
            None if is_surplus => ReplicaReason::AboveCeiling,
            None => ReplicaReason::HeldByDoubt,
            Some(decision) => match decision {
                DecisionStatus { raw, .. } if *raw >= current => ReplicaReason::Needed,
                _ if self.rule().is_some_and(is_hold) => ReplicaReason::HeldByDoubt,
                DecisionStatus { stabilized, .. } if *stabilized >= current => {
                    ReplicaReason::HeldByWindow
                }
                _ if is_minimum => ReplicaReason::Floor,
                DecisionStatus { limited, .. } if *limited >= current => {
                    ReplicaReason::HeldByWindow
                }
                DecisionStatus { applied, .. } if *applied >= current && is_joint => {
                    ReplicaReason::Ratio
                }
                _ if self.is_left_alone() => ReplicaReason::Manual,
                _ if self.is_drained() => ReplicaReason::Draining,
                _ if is_surplus => ReplicaReason::AboveCeiling,
                _ => ReplicaReason::HeldByWindow,
            },
        })
    }

    /// Returns why there are not fewer replicas.
    pub(super) fn fewer(&self) -> String {
        let Some(decision) = &self.target.decision else { return self.without_a_number() };
        let Some(kept_by) = self.kept_by() else { return self.none().to_owned() };
        let raw = decision.raw;
        if kept_by == ReplicaReason::Needed {
            return self.needed(raw);
        }
        let why = self.rule_of(kept_by, decision);
        let also = self.kept_further(kept_by);
        format!("the metrics ask for {raw}{why}{also}")
    }

    /// Returns the rule of a reason, as the second part of a sentence.
    fn rule_of(&self, kept_by: ReplicaReason, decision: &DecisionStatus) -> String {
        let DecisionStatus { stabilized, limited, applied, .. } = *decision;
        let rule = self.rule();
        match kept_by {
            ReplicaReason::HeldByDoubt => {
                let pods = self.message(ConditionType::SamplesComplete, false);
                let pods = pods.map(|pods| format!(" ({pods})")).unwrap_or_default();
                format!("; {}{pods}", rule.map_or("", |rule| rule_words(rule.as_str())))
            }
            ReplicaReason::HeldByWindow if stabilized >= self.size() => format!(
                "; the scale-down window{} keeps the highest recommendation, {stabilized}",
                self.window(false)
            ),
            ReplicaReason::Floor => {
                let min = self.config.as_ref().map_or(limited, |it| it.policy.min_replicas);
                format!(", and minReplicas is {min}")
            }
            ReplicaReason::Ratio => {
                format!("; {}", rule.map_or("", |rule| rule_words(rule.as_str())))
            }
            _ => match rule {
                _ if self.blocked().is_some() => String::new(),
                Some(Reason::ScaleDownLimit) => {
                    format!("; the scale-down policies allow {limited} for now")
                }
                Some(rule @ Reason::NotIdleYet) => format!("; {}", rule_words(rule.as_str())),
                _ => self.shrinking(applied),
            },
        }
    }

    /// Returns what would keep the replica if its reason were gone, as the last part of a sentence.
    fn kept_further(&self, kept_by: ReplicaReason) -> String {
        let blocked = self.blocked().map(|why| format!(", and nothing is written: {why}"));
        let ends = matches!(kept_by, ReplicaReason::HeldByWindow | ReplicaReason::HeldByDoubt);
        let min = self.config.as_ref().map(|config| config.policy.min_replicas);
        let min = min.filter(|min| ends && self.size() <= *min);
        let min = min.map(|min| format!("; after that minReplicas, {min}, does"));
        format!("{}{}", min.unwrap_or_default(), blocked.unwrap_or_default())
    }

    /// Returns what becomes of the target where fewer replicas are asked for and no rule forbids
    /// them.
    fn shrinking(&self, applied: i32) -> String {
        let drain = self.condition(ConditionType::Draining);
        match drain.filter(|it| is(it, true) || it.reason == Reason::RolloutInProgress.as_str()) {
            Some(drain) => format!("; {}", drain.message),
            None => format!(", and the target is being scaled to {applied}"),
        }
    }

    /// Returns whether the size stays because the autoscaler is paused, or because something else
    /// has set it.
    fn is_left_alone(&self) -> bool {
        let left_alone = [ConditionType::Paused, ConditionType::ManualChange];
        let able = self.condition(ConditionType::AbleToScale);
        left_alone.into_iter().any(|type_| self.message(type_, true).is_some())
            || able.is_some_and(|able| able.reason == Reason::ReplicasContested.as_str())
    }

    /// Returns whether replicas are on their way out.
    fn is_drained(&self) -> bool {
        self.message(ConditionType::Draining, true).is_some()
    }

    /// Returns that the metrics ask for all that there is.
    fn needed(&self, raw: i32) -> String {
        match self.winner() {
            Some(metric) => asks(metric),
            None => format!("the metrics ask for {raw}"),
        }
    }
}
