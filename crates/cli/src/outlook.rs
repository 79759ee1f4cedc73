//! Why the size is not larger, why it is not smaller, and what happens next and when. Everything is
//! computed from an object's spec and status, as the operator would decide with its default
//! profile if the metrics stayed as they are.

mod ahead;
mod fewer;
#[cfg(test)]
mod one_word;
mod words;

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use llm_autoscaler_api::{
    DecisionStatus, LLMAutoscaler, LLMAutoscalerStatus, MetricStatus, TargetConfig, TargetStatus,
    conditions::{ConditionType, Reason, status_text},
    parse_spec,
};
use llm_autoscaler_core::Profile;

pub(crate) use ahead::{Next, moment};
pub(crate) use words::{duration, rule_words};

/// The answers about one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// Why there are not more replicas.
    pub more: String,
    /// Why there are not fewer replicas.
    pub fewer: String,
    /// The next expected change.
    pub next: Next,
}

/// An object as one target's answers need it.
struct View<'a> {
    object: &'a LLMAutoscaler,
    status: &'a LLMAutoscalerStatus,
    target: &'a TargetStatus,
    /// The target's part of the spec; `None` if the spec cannot be carried out.
    config: Option<TargetConfig>,
    now: DateTime<Utc>,
}

/// Returns the answers about one target of an object.
pub(crate) fn outlook(
    object: &LLMAutoscaler,
    status: &LLMAutoscalerStatus,
    target: &TargetStatus,
    now: DateTime<Utc>,
) -> Outlook {
    let view = View { object, status, target, config: config(object, target), now };
    Outlook { more: view.more(), fewer: view.fewer(), next: view.next() }
}

/// Returns the part of the spec about a target.
fn config(object: &LLMAutoscaler, target: &TargetStatus) -> Option<TargetConfig> {
    let parsed = parse_spec(&object.spec, Profile::Default).ok()?;
    let mut roles = parsed.roles.into_iter();
    let of_target = |name: Option<&str>| name.is_none_or(|name| name == target.name);
    roles.find(|role| of_target(role.name.as_deref())).map(|role| role.config)
}

impl View<'_> {
    /// Returns why there are not more replicas.
    fn more(&self) -> String {
        let Some(decision) = &self.target.decision else { return self.without_a_number() };
        let DecisionStatus { raw, stabilized, limited, applied, .. } = *decision;
        let current = self.size();
        if raw <= current {
            return self.enough(raw, current);
        }
        if let Some(blocked) = self.blocked() {
            return format!("the metrics ask for {raw}, and nothing is written: {blocked}");
        }
        let asked = format!("the metrics ask for {raw}");
        match self.rule() {
            Some(Reason::TooManyReplicas) => format!("{asked}, and maxReplicas is {limited}"),
            Some(Reason::ScaleUpLimit) => {
                format!("{asked}; the scale-up policies allow {limited} for now")
            }
            Some(rule) if Reason::is_of_roles(rule.as_str()) => {
                format!("{asked}; {}", rule_words(rule.as_str()))
            }
            _ if stabilized < raw => {
                format!("{asked}; the scale-up window{} keeps {stabilized}", self.window(true))
            }
            _ => format!("{asked}, and the target is being scaled to {applied}"),
        }
    }

    /// Returns the answer where the metrics were not looked at, or gave no number.
    fn without_a_number(&self) -> String {
        if let Some(bound) = self.bound_that_is_broken() {
            let current = self.size();
            return match self.blocked() {
                Some(why) => format!("{bound}, and nothing is written: {why}"),
                None => format!("{bound}, and the target with {current} is being scaled to it"),
            };
        }
        let active = self.message(ConditionType::ScalingActive, false);
        let why = active.or_else(|| self.message(ConditionType::Ready, false));
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        format!("no number is computed, so the size stays{why}")
    }

    /// Returns the bound that a size breaks, which is restored without a look at the metrics.
    fn bound_that_is_broken(&self) -> Option<String> {
        let policy = &self.config.as_ref()?.policy;
        let current = self.size();
        if current > policy.max_replicas {
            return Some(format!("maxReplicas is {}", policy.max_replicas));
        }
        let is_below = current > 0 && current < policy.min_replicas;
        is_below.then(|| format!("minReplicas is {}", policy.min_replicas))
    }

    /// Returns that the metrics ask for no more than there is.
    fn enough(&self, raw: i32, current: i32) -> String {
        let max = self.config.as_ref().map(|config| config.policy.max_replicas);
        match max {
            Some(max) if current >= max => {
                format!("the metrics ask for no more than {raw}; maxReplicas is {max}")
            }
            _ => format!("the metrics ask for no more than {raw}"),
        }
    }

    /// Returns the metric with the highest proposal, which is the one that counts.
    fn winner(&self) -> Option<&MetricStatus> {
        // The first one wins a tie, and `max_by_key` returns the last.
        self.target.metrics.iter().rev().max_by_key(|metric| metric.proposal)
    }

    /// Returns the size that decisions start from: that of the target, or with mode Recommend the
    /// recommended one.
    fn size(&self) -> i32 {
        let TargetStatus { current_replicas, desired_replicas, .. } = *self.target;
        if self.recommends().is_some() { desired_replicas } else { current_replicas }
    }

    /// Returns the text of mode Recommend, in which nothing is written.
    fn recommends(&self) -> Option<&str> {
        self.message(ConditionType::Recommending, true)
    }

    /// Returns the answer where there is nothing to remove.
    fn none(&self) -> &'static str {
        match self.recommends() {
            Some(_) => "no replicas are recommended",
            None => "the target has no replicas",
        }
    }

    /// Returns what keeps the operator from writing to the target.
    fn blocked(&self) -> Option<&str> {
        let true_ones = [ConditionType::Paused, ConditionType::ManualChange];
        let found = true_ones.into_iter().find_map(|type_| self.message(type_, true));
        found.or_else(|| self.message(ConditionType::AbleToScale, false))
    }

    fn rule(&self) -> Option<Reason> {
        let decision = self.target.decision.as_ref()?;
        Reason::ALL.iter().copied().find(|reason| reason.as_str() == decision.limited_by)
    }

    /// Returns the length of a stabilization window, as part of a sentence.
    fn window(&self, is_up: bool) -> String {
        let Some(config) = &self.config else { return String::new() };
        let length = match &config.policy.behavior {
            Some(behavior) if is_up => behavior.scale_up.window,
            Some(behavior) => behavior.scale_down.window,
            None => config.policy.settings.downscale_stabilization,
        };
        format!(" of {}", words::duration(length))
    }

    fn condition(&self, type_: ConditionType) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.type_ == type_.as_str())
    }

    /// Returns the message of a condition if it has this status.
    fn message(&self, type_: ConditionType, holds: bool) -> Option<&str> {
        let found = self.condition(type_).filter(|condition| is(condition, holds));
        found.map(|condition| condition.message.as_str())
    }
}

fn is(condition: &Condition, holds: bool) -> bool {
    condition.status == status_text(holds)
}

/// Returns whether a decision is kept from another size by a rule that ends by itself.
pub(crate) fn is_temporary(decision: &DecisionStatus) -> bool {
    let rule = Reason::ALL.iter().copied().find(|it| it.as_str() == decision.limited_by);
    rule.is_some_and(|rule| {
        is_hold(rule)
            || Reason::is_of_roles(rule.as_str())
            || matches!(rule, Reason::ScaleUpLimit | Reason::ScaleDownLimit | Reason::NotIdleYet)
    })
}

/// Returns whether a rule is a hold: samples are missing or in doubt, so nothing shrinks.
fn is_hold(rule: Reason) -> bool {
    matches!(
        rule,
        Reason::NoQuorum
            | Reason::IncompleteTotal
            | Reason::SamplesInDoubt
            | Reason::ReplicasMismatch
    )
}

/// Returns the number of replicas that a metric asks for, and why.
fn asks(metric: &MetricStatus) -> String {
    let MetricStatus { name, target, current, proposal, .. } = metric;
    let value = current.as_deref().unwrap_or("unknown");
    match proposal {
        Some(proposal) => format!("{name} is {value} at a target of {target}: {proposal} wanted"),
        None => format!("{name} is {value} at a target of {target}"),
    }
}

#[cfg(test)]
mod tests;
