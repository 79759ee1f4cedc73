//! The bill and `explain` name the same reason: a table that plans each step, and asks both.

use std::collections::BTreeSet;

use llm_autoscaler_api::{conditions::Reason, messages::Step};
use llm_autoscaler_core::{
    Config, Doubt, DrainObservation, Milli, Mode, Monotonic, Now, Observation, Outcome, Profile,
    Ratio, Reading, Replica, ReplicaCounts, ReplicaReason, ReplicaState, RoleConfig, RoleMemory,
    RoleObservation, RolePlan, Scale, SharedLimits, WriteBlock, plan,
};
use serde_json::{Value, json};

use super::*;

/// A target of 6 replicas, each with a waiting request where the target is 5.
const REPLICAS: usize = 6;

/// What a step finds beside the spec.
#[derive(Clone, Copy, Default)]
struct Found {
    /// The samples are in doubt.
    in_doubt: bool,
    /// The autoscaler is paused.
    paused: bool,
    /// Another role that keeps its six replicas needs as many of this one.
    ratio: bool,
}

fn now() -> Now {
    let noon = DateTime::parse_from_rfc3339("2026-01-01T12:00:00Z").unwrap().to_utc();
    Now { wall: noon, monotonic: Monotonic::default() }
}

fn object(spec: &Value, status: &Value) -> LLMAutoscaler {
    let metric = json!({"type": "AverageValue", "averageValue": "5"});
    let mut object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {"name": "qwen3", "namespace": "chat"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "qwen3"},
            "engine": "VLLM", "minReplicas": 1, "maxReplicas": 8,
            "metrics": [{"signal": "WaitingRequests", "target": metric}],
        },
        "status": status,
    });
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn observation(requests: i64, in_doubt: bool) -> Observation {
    let samples = vec![Some(Milli::whole(requests)); REPLICAS];
    Observation {
        scale: Scale { current: REPLICAS as i32, status: REPLICAS as i32 },
        replicas: vec![Replica::READY; REPLICAS],
        readings: vec![Reading::PerReplica { samples, strays: Vec::new() }],
        doubt: in_doubt.then_some(Doubt::Samples),
        ..Observation::default()
    }
}

/// Plans the first step of an autoscaler, as the operator does.
fn planned(spec: &Value, found: Found) -> (TargetConfig, RolePlan) {
    let parsed = parse_spec(&object(spec, &json!({})).spec, Profile::Default).unwrap();
    let config = parsed.roles.into_iter().next().unwrap().config;
    let role = RoleConfig {
        policy: config.policy.clone(),
        gpus: 1,
        drain_deadline: None,
        mode: Mode::Scale,
    };
    let one = Milli::whole(1);
    let ratio = Ratio { between: [0, 1], min: Some(one), max: Some(one) };
    let shared = SharedLimits { ratio: Some(ratio), max_replicas: 100, max_gpus: None };
    let roles = if found.ratio { 2 } else { 1 };
    let plan_of = Config { roles: vec![role; roles], shared: found.ratio.then_some(shared) };
    let usable = [observation(1, found.in_doubt), observation(5, false)];
    let states = [ReplicaState::Ready; REPLICAS];
    let of_role = |usable| RoleObservation {
        usable,
        beyond_doubt: None,
        states: &states,
        counts: ReplicaCounts { alive: 6, coming: 6, ..ReplicaCounts::default() },
        block: WriteBlock { paused: found.paused, ..WriteBlock::default() },
        drain: DrainObservation::default(),
    };
    let observed: Vec<_> = usable.iter().take(roles).map(of_role).collect();
    let memory = RoleMemory::default();
    let mut plan = plan(&plan_of, &vec![&memory; roles], &observed, now());
    (config, plan.roles.remove(0))
}

/// Returns the status that the operator writes of a step.
fn status(config: &TargetConfig, plan: &RolePlan, paused: bool) -> Value {
    let decision = &plan.decision;
    let step = Step { policy: &config.policy, decision, metrics: &[], selector: None };
    let mut target = json!({
        "name": "qwen3", "uid": "u", "currentReplicas": 6, "readyReplicas": 6,
        "desiredReplicas": decision.desired().unwrap_or(6),
    });
    if let Outcome::Computed(derivation) = &decision.outcome {
        target["decision"] = json!({
            "raw": derivation.raw, "stabilized": derivation.stabilized,
            "limited": derivation.limited,
            "limitedBy": step.limited_by().map_or("", Reason::as_str),
            "applied": decision.desired().unwrap_or(derivation.desired),
        });
    }
    let paused = json!({
        "type": "Paused", "status": if paused { "True" } else { "False" },
        "reason": "PausedByAnnotation", "message": "it is left alone",
        "lastTransitionTime": "2026-01-01T11:00:00Z",
    });
    json!({"reference": "StatefulSet/qwen3", "conditions": [paused], "targets": [target]})
}

/// Returns the reason of the last replica, by the bill and by `explain`, which says why there are
/// not fewer with this text.
fn asked_both(spec: &Value, found: Found, text: &str) -> [Option<ReplicaReason>; 2] {
    let (config, plan) = planned(spec, found);
    let object = object(spec, &status(&config, &plan, found.paused));
    let status = object.status.as_ref().unwrap();
    let target = &status.targets[0];
    let view = View { object: &object, status, target, config: Some(config), now: now().wall };
    let fewer = view.fewer();
    assert!(fewer.contains(text), "{fewer}: {spec} {:?}", plan.decision);
    [plan.reasons.last().copied(), view.kept_by()]
}

#[test]
fn the_bill_and_explain_name_the_same_reason() {
    const FOUND: Found = Found { in_doubt: false, paused: false, ratio: false };
    let at_once = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    let never = json!({"scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled"}});
    // the spec, what is found; the reason of the last replica, and how `explain` says it
    let table = [
        (json!({}), FOUND, ReplicaReason::HeldByWindow, "the scale-down window of 5 min keeps"),
        (
            json!({"minReplicas": 6}),
            FOUND,
            ReplicaReason::HeldByWindow,
            "keeps the highest recommendation, 6; after that minReplicas, 6, does",
        ),
        (
            json!({"minReplicas": 6, "behavior": at_once}),
            FOUND,
            ReplicaReason::Floor,
            "and minReplicas is 6",
        ),
        (json!({"behavior": never}), FOUND, ReplicaReason::HeldByWindow, "policies allow 6"),
        (
            json!({"behavior": at_once}),
            Found { in_doubt: true, ..FOUND },
            ReplicaReason::HeldByDoubt,
            "the samples are in doubt",
        ),
        (
            json!({"minReplicas": 6, "behavior": at_once}),
            Found { in_doubt: true, ..FOUND },
            ReplicaReason::HeldByDoubt,
            "the samples are in doubt; after that minReplicas, 6, does",
        ),
        (
            json!({"behavior": at_once}),
            Found { ratio: true, ..FOUND },
            ReplicaReason::Ratio,
            "the size keeps the ratio of the roles",
        ),
        (json!({}), Found { ratio: true, ..FOUND }, ReplicaReason::HeldByWindow, "window of 5 min"),
        (
            json!({"behavior": at_once}),
            Found { paused: true, ..FOUND },
            ReplicaReason::Manual,
            "the metrics ask for 2, and nothing is written: it is left alone",
        ),
        (
            json!({}),
            Found { paused: true, ..FOUND },
            ReplicaReason::HeldByWindow,
            "recommendation, 6, and nothing is written: it is left alone",
        ),
        (
            json!({"maxReplicas": 4}),
            FOUND,
            ReplicaReason::AboveCeiling,
            "maxReplicas is 4, and the target with 6 is being scaled to it",
        ),
        (
            json!({"maxReplicas": 4}),
            Found { paused: true, ..FOUND },
            ReplicaReason::Manual,
            "maxReplicas is 4, and nothing is written: it is left alone",
        ),
    ];
    let mut seen = BTreeSet::new();
    for (spec, found, expected, text) in table {
        let [billed, kept_by] = asked_both(&spec, found, text);
        assert_eq!(billed, Some(expected), "the bill: {spec} {text}");
        assert_eq!(kept_by, Some(expected), "explain: {spec} {text}");
        seen.insert(expected);
    }
    assert_eq!(seen.len(), 6, "a reason of replicas that serve has no row");
}
