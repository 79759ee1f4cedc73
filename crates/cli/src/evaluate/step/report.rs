//! The answer about one step, as JSON and in sentences.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{
    Advice,
    bill::reason_name,
    conditions::Reason,
    messages::{MetricDescription, Step},
    quantity::show_usage,
};
use llm_autoscaler_core::{
    Derivation, Deviation, EngineActivity, MetricOutcome, Outcome, Replica, ReplicaCounts,
    RolePlan, Verdict, WaitingOn,
};
use llm_autoscaler_observe::{
    observer::{Origin, Problem},
    pod::TroubleKind,
};
use serde_json::{Value, json};

use super::{names, pods::NAMESPACE, sight::RoleSight, target::Target};
use crate::evaluate::explain;

/// The number of replicas that are named in a sentence.
const SHOWN: usize = 5;

/// A role after a step.
pub(super) struct RoleReport<'a> {
    target: &'a Target,
    sight: &'a RoleSight,
    plan: &'a RolePlan,
    /// The descriptions of the metrics, for texts.
    metrics: Vec<MetricDescription>,
    /// The time of `t` 0.
    start: DateTime<Utc>,
}

impl<'a> RoleReport<'a> {
    pub(super) fn new(
        target: &'a Target,
        sight: &'a RoleSight,
        plan: &'a RolePlan,
        start: DateTime<Utc>,
    ) -> Self {
        let problems = sight.problems(plan.basis);
        let text = |problem: &Problem| format!("{}: {}", problem.of, problem.text);
        let error = (!problems.is_empty()).then(|| {
            format!(
                "no usable sample from {}",
                problems.iter().map(text).collect::<Vec<_>>().join("; ")
            )
        });
        let describe = |name: &String| MetricDescription {
            name: name.clone(),
            namespace: NAMESPACE.to_owned(),
            selector: "nil".to_owned(),
            error: error.clone(),
            ..MetricDescription::default()
        };
        let metrics = target.config.metrics.iter().map(|metric| describe(&metric.series));
        Self { target, sight, plan, metrics: metrics.collect(), start }
    }

    fn messages(&self) -> Step<'_> {
        Step {
            policy: &self.target.config.policy,
            decision: &self.plan.decision,
            metrics: &self.metrics,
            selector: None,
        }
    }

    /// Returns the role as JSON. Fields without a value are absent.
    pub(super) fn json(&self) -> Value {
        let Self { plan, sight, .. } = self;
        let findings = sight.findings(plan.basis);
        let problem = |problem: &Problem| json!({"of": problem.of, "text": problem.text});
        let stuck =
            |(pod, trouble): &(String, TroubleKind)| json!({"of": pod, "text": trouble.text()});
        let advice =
            |advice: &&Advice| json!({"reason": advice.reason.as_str(), "text": advice.text});
        let ReplicaCounts { alive, ending, coming, closed } = sight.counts;
        present(json!({
            "name": self.target.name,
            "basis": names::basis(plan.basis),
            "demand": plan.demand,
            "granted": plan.granted,
            "decision": self.decision(),
            "metrics": self.metrics(),
            "write": plan.write,
            "waits": plan.waits.map(|waits| self.waits(waits)),
            "drain": self.drain(),
            "replicas": self.replicas(),
            "counts": {"alive": alive, "ready": findings.ready, "ending": ending, "coming": coming,
                       "closed": closed},
            "stuck": findings.stuck.iter().map(stuck).collect::<Value>(),
            "problems": sight.problems(plan.basis).iter().map(problem).collect::<Value>(),
            "advice": sight.all_advice(plan.basis).iter().map(advice).collect::<Value>(),
        }))
    }

    fn decision(&self) -> Value {
        let decision = &self.plan.decision;
        let messages = self.messages();
        let mut out = json!({
            "outcome": names::outcome(&decision.outcome),
            "current": decision.current,
            "desired": decision.desired(),
            "limitedBy": messages.limited_by().map(Reason::as_str),
            "reason": Some(messages.reason()).filter(|reason| !reason.is_empty()),
        });
        if let Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. } =
            &decision.outcome
        {
            let Derivation { raw, recommended, stabilized, limited, held, .. } = derivation;
            out["raw"] = json!(raw);
            out["recommended"] = json!(recommended);
            out["stabilized"] = json!(stabilized);
            out["limited"] = json!(limited);
            out["held"] = json!(held.map(names::hold));
        }
        present(out)
    }

    /// Returns the metrics in the order of the spec.
    fn metrics(&self) -> Value {
        let Self { plan, sight, target, .. } = self;
        let metrics = target.config.metrics.iter().enumerate();
        let origins = &sight.findings(plan.basis).origins;
        metrics
            .map(|(place, metric)| {
                let mut out = json!({
                    "name": metric.name, "series": metric.series, "target": metric.target,
                });
                match plan.decision.metrics.get(place) {
                    Some(MetricOutcome::Proposal(proposal)) => {
                        out["current"] = json!(show_usage(proposal));
                        out["proposal"] = json!(proposal.replicas);
                    }
                    Some(MetricOutcome::Failed(error)) => {
                        let policy = &target.config.policy.metrics[place];
                        out["error"] = json!(self.metrics[place].failure(policy, *error).error);
                    }
                    Some(MetricOutcome::NoEvents(_)) => out["noEvents"] = json!(true),
                    None => {}
                }
                if let Some(Origin { samples, why, .. }) = origins.get(place) {
                    out["samples"] = json!(samples);
                    out["firstSourceProblem"] = json!(why);
                }
                present(out)
            })
            .collect()
    }

    fn waits(&self, waits: WaitingOn) -> Value {
        let mut out = json!({"for": names::waiting_on(waits)});
        if let Some(until) = names::waits_until(waits) {
            out["untilT"] = json!(self.since_start(until));
        }
        out
    }

    fn drain(&self) -> Value {
        let mut out = json!({"action": names::drain_action(&self.plan.drain)});
        if let Some(step) = self.plan.drain_step() {
            out["victims"] = json!(self.candidates(&step.victims));
            out["begin"] = json!(self.candidates(&step.begin));
            out["cancel"] = json!(self.candidates(&step.cancel));
            if let Verdict::Write { late, .. } = &step.verdict {
                out["late"] = json!(self.candidates(late));
            }
        }
        out
    }

    fn replicas(&self) -> Value {
        let Self { sight, plan, .. } = self;
        let replicas = sight.names.iter().zip(&sight.states).zip(&plan.reasons);
        let replica = |((name, state), reason): ((&String, &_), &_)| {
            json!({
                "name": name, "state": names::replica_state(*state),
                "reason": reason_name(*reason),
            })
        };
        replicas.map(replica).collect()
    }

    fn candidates(&self, candidates: &[usize]) -> Vec<&str> {
        let name = |candidate: &usize| self.sight.names[self.sight.places[*candidate]].as_str();
        candidates.iter().map(name).collect()
    }

    fn since_start(&self, time: DateTime<Utc>) -> f64 {
        (time - self.start).as_seconds_f64()
    }

    /// Returns the role in sentences.
    pub(super) fn sentences(&self) -> String {
        let mut text = String::new();
        if let Some(name) = &self.target.name {
            let _ = write!(text, "{name}: ");
        }
        text += &explain::step(&self.messages());
        text += &self.halted();
        if let Some(waits) = self.plan.waits {
            let _ = write!(text, "\n  waits for {}", names::waiting_on(waits));
            if let Some(until) = names::waits_until(waits) {
                let _ = write!(text, " until t={}", self.since_start(until));
            }
        }
        if let Some(step) = self.plan.drain_step().filter(|step| !step.victims.is_empty()) {
            let _ = write!(text, "\n  drains {}", self.candidates(&step.victims).join(", "));
        }
        text
    }

    /// Returns a line about the replicas with sleeping engines, and one about those with wedged
    /// engines: they are neither load nor capacity.
    fn halted(&self) -> String {
        let Self { target, sight, plan, .. } = self;
        if !target.config.policy.profile.has(Deviation::EngineActivity) {
            return String::new();
        }
        let replicas = &sight.observed.by_basis(plan.basis).observation.replicas;
        let alive = |replica: &Replica| !replica.deleting && !replica.has_ended();
        let kinds = [(EngineActivity::Asleep, "asleep"), (EngineActivity::Wedged, "wedged")];
        let mut text = String::new();
        for (activity, word) in kinds {
            let replicas = replicas.iter().zip(&sight.names);
            let names = replicas.filter(|(it, _)| it.activity == activity && alive(it));
            let names: Vec<&str> = names.map(|(_, name)| name.as_str()).collect();
            if !names.is_empty() {
                let _ = write!(text, "\n  {} {word}: {}", names.len(), listed(&names));
            }
        }
        text
    }
}

/// Returns the names of replicas, of which a long list is cut short.
fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Returns an object without the fields that are null.
fn present(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    object
}
