//! `explain`: the way to the size of a live target, from the status of its autoscaler alone.

mod written;

use std::fmt::Write;

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, ResourceExt};
use llm_autoscaler_api::{
    DecisionStatus, LLMAutoscaler, LLMAutoscalerSpec, LLMAutoscalerStatus, MetricStatus,
    PastDecision, ReplicasStatus, RoleSpec, ScalingMode, SloStatus, TargetStatus, UNOBSERVED,
    conditions::{ConditionType, Reason, status_text},
    time,
};
use llm_autoscaler_operator::Component;

use self::written::{FRESH, RENEWED, written, written_text};
use crate::{
    cluster,
    outlook::{Outlook, duration, moment, outlook},
    output::print,
};

/// The options of `explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// The name of the LLMAutoscaler.
    name: String,
    /// Its namespace; by default that of the current context.
    #[arg(long, short)]
    namespace: Option<String>,
    /// The context of the kubeconfig; by default the current one.
    #[arg(long)]
    context: Option<String>,
}

impl Explain {
    /// Reads the object and prints the explanation that its status gives.
    pub(crate) async fn explain(self) -> anyhow::Result<()> {
        let client = cluster::client(Component::Explain, self.context.as_deref()).await?;
        let namespace = self.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        let api: Api<LLMAutoscaler> = Api::namespaced(client, &namespace);
        let object = api.get(&self.name).await;
        let object = object.map_err(|error| cluster::not_read(error, &self.name, &namespace))?;
        #[expect(clippy::disallowed_methods, reason = "ages are counted up to now")]
        let now = Utc::now();
        print(&render(&object, now))
    }
}

/// Returns the explanation.
fn render(object: &LLMAutoscaler, now: DateTime<Utc>) -> String {
    let mut text = String::new();
    let is_observed =
        |status: &&LLMAutoscalerStatus| status.observed_generation != Some(UNOBSERVED);
    let Some(status) = object.status.as_ref().filter(is_observed) else {
        return format!("{} has no status yet: is the operator running?\n", object.name_any());
    };
    let spec = &object.spec;
    let reference = status.reference.as_deref().unwrap_or("?");
    let aim = match spec.mode {
        ScalingMode::Scale => "keeps",
        ScalingMode::Recommend => "writes nothing, and recommends sizes of",
    };
    let _ = writeln!(text, "{} {aim} {reference} {}.", object.name_any(), bounds_text(spec));
    if status.observed_generation != object.metadata.generation {
        let _ = writeln!(text, "The spec has changed since; what follows is about the one before.");
    }
    for target in &status.targets {
        if spec.roles.is_some() {
            let _ = write!(text, "\n{}", target.name);
        }
        let _ = write!(text, "{}", target_text(target, now));
        let _ = write!(text, "{}", outlook_text(&outlook(object, status, target, now), now));
        let _ = write!(text, "{}", decisions_text(target, now));
    }
    let _ = write!(text, "{}", conditions_text(status));
    text
}

/// Returns the bounds of a spec in words.
pub(crate) fn bounds_text(spec: &LLMAutoscalerSpec) -> String {
    let max = spec.max_replicas;
    let Some(roles) = &spec.roles else {
        return format!("between {} and {max} replicas", spec.min_replicas);
    };
    let of = |role: &RoleSpec| {
        format!("{} {} to {}", role.name, role.min_replicas, role.max_replicas.unwrap_or(max))
    };
    let each: Vec<String> = roles.iter().map(of).collect();
    format!("at no more than {max} replicas in all: {}", each.join(", "))
}

fn target_text(target: &TargetStatus, now: DateTime<Utc>) -> String {
    let mut text = String::new();
    let TargetStatus { current_replicas, ready_replicas, desired_replicas, .. } = target;
    let desired = if target.recommendation.is_some() { "recommended" } else { "desired" };
    let _ = writeln!(
        text,
        "\nreplicas   {current_replicas} requested, {ready_replicas} ready, \
         {desired_replicas} {desired}"
    );
    if let Some(slo) = &target.slo {
        let _ = writeln!(text, "slo        {}", slo_text(slo));
    }
    let written = written(target);
    let (read, fresh) = written.map_or((now, RENEWED), |written| (written, FRESH));
    for metric in &target.metrics {
        let _ = writeln!(text, "metric     {}", metric_text(metric, read, fresh));
    }
    if let Some(written) = written {
        let _ = writeln!(text, "status     {}", written_text(target, written, now));
    }
    if let Some(decision) = &target.decision {
        let rule = &decision.limited_by;
        let _ = writeln!(text, "raw        {}", decision.raw);
        let _ = writeln!(text, "stabilized {}", decision.stabilized);
        // A change by other roles comes last.
        let (own, joint) = if decision.applied == decision.limited {
            (format!(" ({rule})"), String::new())
        } else {
            (String::new(), format!(" ({rule})"))
        };
        let _ = writeln!(text, "limited    {}{own}", decision.limited);
        let _ = writeln!(text, "applied    {}{joint}", decision.applied);
        let _ = writeln!(text, "because    {}", because(decision));
    }
    text
}

/// Returns why there are not more replicas, why not fewer, and what happens next and when.
fn outlook_text(Outlook { more, fewer, next }: &Outlook, now: DateTime<Utc>) -> String {
    let when = next.at.map(|at| format!("{}: ", moment(at, now))).unwrap_or_default();
    format!("\nnot more   {more}\nnot fewer  {fewer}\nnext       {when}{}\n", next.text)
}

fn decisions_text(target: &TargetStatus, now: DateTime<Utc>) -> String {
    let mut text = String::new();
    for (index, past) in target.decisions.iter().enumerate() {
        let label = if index == 0 { "\ndecisions  " } else { "           " };
        let _ = writeln!(text, "{label}{}", past_text(past, now));
    }
    text
}

/// Returns the reason of a decision. One without a reason keeps the size, which need not mean that
/// the metrics are at their targets: a limit may hold it.
fn because(decision: &DecisionStatus) -> String {
    let DecisionStatus { raw, limited_by, applied, reason, .. } = decision;
    match reason {
        Some(reason) => reason.clone(),
        None if raw != applied => {
            format!("the metrics ask for {raw}, and {limited_by} keeps {applied}")
        }
        None if limited_by.is_empty() || limited_by == Reason::DesiredWithinRange.as_str() => {
            "the metrics ask for no other size".to_owned()
        }
        None => format!("{limited_by} keeps {applied}"),
    }
}

/// Returns what the promise needs, and what the promised share of the requests has got.
fn slo_text(slo: &SloStatus) -> String {
    let attained = [
        (slo.time_to_first_token_milliseconds, "to first token"),
        (slo.inter_token_latency_milliseconds, "between tokens"),
    ];
    let attained = attained.into_iter().filter_map(|(it, name)| Some(format!("{} ms {name}", it?)));
    let attained: Vec<String> = attained.collect();
    let needed = slo.reason.as_deref().unwrap_or("what it needs is not known (see SLOActive)");
    match &attained[..] {
        [] => needed.to_owned(),
        attained => format!("{needed}; in the last minute {}", attained.join(", ")),
    }
}

/// Returns a metric as it was at a time. The age that its samples had then is told from that of
/// fresh ones on.
fn metric_text(metric: &MetricStatus, then: DateTime<Utc>, fresh: TimeDelta) -> String {
    let MetricStatus { name, series, target, .. } = metric;
    let value = metric.current.as_deref().unwrap_or("unknown");
    let mut text = format!("{name} ({series}): {value} / {target}");
    if let Some(proposal) = metric.proposal {
        let _ = write!(text, " -> {proposal}");
    }
    if let Some(ReplicasStatus { used, missing, not_ready, stuck }) = metric.replicas {
        let noun = if used == 1 { "replica" } else { "replicas" };
        let _ = write!(
            text,
            "   from {used} {noun}, {missing} missing, {not_ready} not ready, {stuck} stuck"
        );
    }
    if let Some(source) = &metric.source {
        let age = metric.sampled_at.as_ref().map(|at| then - time::from_kubernetes(at));
        let age = age.filter(|age| *age > fresh);
        let age = age.map(|age| format!(", {} old", duration(age))).unwrap_or_default();
        let _ = write!(text, "   (by {source}{age})");
    }
    if let Some(error) = &metric.error {
        let _ = write!(text, "   {error}");
    }
    text
}

fn past_text(past: &PastDecision, now: DateTime<Utc>) -> String {
    let age = (now - time::from_kubernetes(&past.time)).num_seconds().max(0);
    let unchanged =
        || if past.from == past.to { "the size stays" } else { "no reason is recorded" };
    let reason = past.reason.as_deref().unwrap_or_else(unchanged);
    format!("{age:>6} s ago  {} -> {}  {} ({reason})", past.from, past.to, past.limited_by)
}

/// Returns the conditions that are worth pointing out to a person, one per line.
fn conditions_text(status: &LLMAutoscalerStatus) -> String {
    let mut text = String::new();
    for condition in status.conditions.iter().filter(|condition| is_unusual(condition)) {
        let separator = if text.is_empty() { "\n" } else { "" };
        let _ = writeln!(
            text,
            "{separator}{}={} {}: {}",
            condition.type_, condition.status, condition.reason, condition.message
        );
    }
    text
}

/// Returns whether a condition does not have its usual status. A condition of an unknown type, as a
/// later version may write it, is pointed out while it is `True`.
fn is_unusual(condition: &Condition) -> bool {
    let usual = ConditionType::parse(&condition.type_).is_some_and(ConditionType::usual_status);
    (condition.status == status_text(true)) != usual
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    pub(super) const OBJECT: &str = r#"{
        "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {"name": "qwen3", "generation": 2},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "qwen3"},
            "engine": "VLLM", "minReplicas": 1, "maxReplicas": 3,
            "metrics": [{"signal": "WaitingRequests",
                         "target": {"type": "AverageValue", "averageValue": "5"}}]
        },
        "status": {
            "observedGeneration": 2, "reference": "StatefulSet/qwen3",
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "Scaling", "message": "fine",
                 "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas",
                 "message": "more than the maximum", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            ],
            "targets": [{
                "name": "qwen3", "currentReplicas": 3, "readyReplicas": 2, "desiredReplicas": 3,
                "metrics": [{"name": "WaitingRequests", "series": "vllm:num_requests_waiting",
                             "current": "11", "target": "5", "proposal": 7,
                             "replicas": {"used": 2, "missing": 1, "notReady": 0},
                             "source": "scrape", "sampledAt": "2026-01-01T00:01:00Z"}],
                "decision": {"raw": 7, "stabilized": 7, "limited": 3,
                             "limitedBy": "TooManyReplicas", "applied": 3,
                             "reason": "pods metric vllm:num_requests_waiting above target"},
                "decisions": [{"time": "2026-01-01T00:00:00Z", "from": 1, "to": 3,
                               "limitedBy": "DesiredWithinRange",
                               "reason": "pods metric vllm:num_requests_waiting above target"}]
            }]
        }
    }"#;

    #[test]
    fn the_way_from_a_metric_to_a_size_is_printed() {
        let object: LLMAutoscaler = serde_json::from_str(OBJECT).unwrap();
        let now = DateTime::parse_from_rfc3339("2026-01-01T00:01:30Z").unwrap().to_utc();
        let expected = "\
qwen3 keeps StatefulSet/qwen3 between 1 and 3 replicas.

replicas   3 requested, 2 ready, 3 desired
metric     WaitingRequests (vllm:num_requests_waiting): 11 / 5 -> 7   \
from 2 replicas, 1 missing, 0 not ready, 0 stuck   (by scrape)
raw        7
stabilized 7
limited    3 (TooManyReplicas)
applied    3
because    pods metric vllm:num_requests_waiting above target

not more   the metrics ask for 7, and maxReplicas is 3
not fewer  WaitingRequests is 11 at a target of 5: 7 wanted
next       1 of 3 replicas have to get ready

decisions      90 s ago  1 -> 3  DesiredWithinRange \
(pods metric vllm:num_requests_waiting above target)

ScalingLimited=True TooManyReplicas: more than the maximum
";
        assert_eq!(render(&object, now), expected);
    }

    #[test]
    fn a_recommended_size_is_not_said_to_be_kept() {
        let mut object: LLMAutoscaler = serde_json::from_str(OBJECT).unwrap();
        object.spec.mode = ScalingMode::Recommend;
        let target = Arc::make_mut(&mut object.status.as_mut().unwrap().targets[0]);
        target.recommendation = Some(Box::default());
        target.metrics[0].replicas.as_mut().unwrap().used = 1;
        let text = render(&object, DateTime::UNIX_EPOCH);
        for expected in [
            "qwen3 writes nothing, and recommends sizes of StatefulSet/qwen3 between 1 and 3 replicas.",
            "3 requested, 2 ready, 3 recommended",
            "from 1 replica, 1 missing",
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_size_that_stays_is_not_said_to_be_right() {
        let decision = |raw, limited_by: &str| DecisionStatus {
            raw,
            stabilized: raw,
            limited: 4,
            limited_by: limited_by.to_owned(),
            applied: 4,
            reason: None,
        };
        // 64 of 32, at the maximum.
        let text = because(&decision(8, "TooManyReplicas"));
        assert_eq!(text, "the metrics ask for 8, and TooManyReplicas keeps 4");
        let text = because(&decision(4, "DesiredWithinRange"));
        assert_eq!(text, "the metrics ask for no other size");
        assert_eq!(because(&decision(4, "NoQuorum")), "NoQuorum keeps 4");
    }

    #[test]
    fn an_object_without_a_status_cannot_be_explained() {
        let mut object: LLMAutoscaler = serde_json::from_str(OBJECT).unwrap();
        object.status = None;
        assert_eq!(
            render(&object, DateTime::UNIX_EPOCH),
            "qwen3 has no status yet: is the operator running?\n"
        );
    }

    #[test]
    fn each_role_has_its_own_way() {
        let target = json!({
            "currentReplicas": 4, "readyReplicas": 4, "desiredReplicas": 4,
            "decision": {
                "raw": 9, "stabilized": 9, "limited": 8, "limitedBy": "SharedCeiling",
                "applied": 4, "reason": "pods metric above target",
            },
        });
        let named = |name: &str| {
            let mut target = target.clone();
            target["name"] = json!(name);
            target
        };
        let object = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
            "metadata": {"name": "pd", "generation": 1},
            "spec": {
                "scaleTargetRef": {
                    "apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": "RoleBasedGroup",
                    "name": "pd",
                },
                "engine": "VLLM", "maxReplicas": 10,
                "roles": [
                    {"name": "prefill", "maxReplicas": 8, "metrics": []},
                    {"name": "decode", "minReplicas": 2, "metrics": []},
                ],
            },
            "status": {
                "observedGeneration": 1, "reference": "RoleBasedGroup/pd",
                "conditions": [{
                    "type": "Draining", "status": "False", "reason": "Idle",
                    "message": "nothing has been removed yet",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
                "targets": [named("prefill"), named("decode")],
            },
        });
        let object: LLMAutoscaler = serde_json::from_value(object).unwrap();
        let way = "
replicas   4 requested, 4 ready, 4 desired
raw        9
stabilized 9
limited    8
applied    4 (SharedCeiling)
because    pods metric above target

not more   the metrics ask for 9; the roles together ask for more than their shared maximum
not fewer  the metrics ask for 9
next       nothing, if the metrics stay as they are
";
        let bounds = "at no more than 10 replicas in all: prefill 1 to 8, decode 2 to 10";
        let expected = format!("pd keeps RoleBasedGroup/pd {bounds}.\n\nprefill{way}\ndecode{way}");
        assert_eq!(render(&object, DateTime::UNIX_EPOCH), expected);
    }
}
