//! Random timelines: a spec, and metrics, pods and errors that change from step to step.

use serde_json::{Map, Value, json};

use super::{
    behavior::rules,
    calculator::{external, pods, value},
    random::Random,
};

/// The names of a timeline's metrics, in the order of the spec.
pub(crate) const NAMES: [&str; 3] = ["qps", "vllm:num_requests_waiting", "tokens"];

/// Returns a case of mode `timeline`.
pub(crate) fn timeline(random: &mut Random) -> Value {
    let mut timeline = json!({
        "spec": spec(random),
        "initial_replicas": random.between(0, 8),
        "steps": steps(random),
    });
    if random.chance(40) {
        timeline["new_pod_pending_s"] = random.between(0, 60).into();
        timeline["new_pod_ready_s"] = random.between(0, 120).into();
    }
    if random.chance(40) {
        timeline["initial_status"] = initial_status(random);
    }
    let mut case = json!({"mode": "timeline", "timeline": timeline});
    if random.chance(15) {
        case["scale_to_zero_gate"] = false.into();
    }
    if random.chance(20) {
        case["tolerance_up"] = random.one_of(&[0.0, 0.2, 0.05]).into();
    }
    if random.chance(30) {
        case["downscale_stabilization_s"] = random.one_of(&[0.0, 15.0, 60.0, 30.5]).into();
    }
    if random.chance(20) {
        // The Default profile keeps its recommendations oldest first, so the cases do, too.
        let mut ages = random.list(4, |random, _| random.between(0, 400));
        ages.sort_by_key(|age| -age);
        case["recommendations"] = ages
            .into_iter()
            .map(|age| json!({"replicas": random.between(0, 10), "ago_s": age}))
            .collect();
    }
    if random.chance(20) {
        case["scale_up_events"] =
            json!([{"change": random.between(1, 5), "ago_s": random.between(0, 90)}]);
    }
    case
}

fn spec(random: &mut Random) -> Value {
    let count = random.one_of(&[1, 1, 1, 2, 3]);
    let mut spec = json!({
        "maxReplicas": random.between(1, 20),
        "metrics": (0..count).map(|index| metric(random, NAMES[index])).collect::<Value>(),
    });
    if random.chance(70) {
        spec["minReplicas"] = random.one_of(&[0, 0, 1, 2, 4]).into();
    }
    if random.chance(60) {
        let mut behavior = json!({});
        for direction in ["scaleUp", "scaleDown"] {
            if random.chance(60) {
                behavior[direction] = rules(random);
            }
        }
        spec["behavior"] = behavior;
    }
    spec
}

fn metric(random: &mut Random, name: &str) -> Value {
    let mut id = json!({"name": name});
    match random.between(0, 3) {
        0 => id["selector"] = json!({}),
        1 => {
            id["selector"] = json!({
                "matchLabels": {"b": "2", "a": "1"},
                "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["x", "y"]},
                    {"key": "old", "operator": "DoesNotExist"},
                ],
            });
        }
        _ => {}
    }
    let quantity = random.pick(&["10", "15", "2500m", "1", "0.7", "20k", "333m"]);
    let average = json!({"type": "AverageValue", "averageValue": quantity});
    let total = json!({"type": "Value", "value": quantity});
    let target = match random.between(0, 19) {
        0 => json!({"type": "Value"}),
        1 => json!({"type": "Value", "averageValue": quantity}),
        2 => json!({"type": "AverageValue", "value": quantity}),
        3..=10 => total,
        _ => average.clone(),
    };
    match random.between(0, 2) {
        0 => json!({"type": "Pods", "pods": {"metric": id, "target": average}}),
        1 => json!({"type": "Object", "object": {"metric": id, "target": target,
            "describedObject":
                        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gateway"}}}),
        _ => json!({"type": "External", "external": {"metric": id, "target": target}}),
    }
}

fn initial_status(random: &mut Random) -> Value {
    let mut conditions = Vec::new();
    if random.chance(70) {
        conditions.push(scaled_to_zero(random.pick(&["True", "True", "False"])));
    }
    if random.chance(40) {
        conditions
            .push(json!({"type": "AbleToScale", "status": "False", "reason": "FailedGetScale",
            "message": "before", "lastTransitionTime": null}));
    }
    let mut status = json!({
        "currentReplicas": random.between(0, 5),
        "desiredReplicas": random.between(0, 5),
        "currentMetrics": null,
        "conditions": conditions,
    });
    if random.chance(30) {
        status["lastScaleTime"] = "1999-12-31T23:59:00Z".into();
        status["observedGeneration"] = 7.into();
    }
    status
}

/// Returns the condition by which the HPA recognises that it scaled the target to zero itself.
pub(crate) fn scaled_to_zero(status: &str) -> Value {
    json!({"type": "ScaledToZero", "status": status, "reason": "ScaledToZero", "message": "before",
        "lastTransitionTime": "1999-12-31T23:00:00Z"})
}

fn steps(random: &mut Random) -> Vec<Value> {
    let count = random.between(1, 14);
    let mut t = 0.0;
    (0..count)
        .map(|index| {
            let step = step(random, t, index == 0);
            t += random.one_of(&[15.0, 15.0, 15.0, 15.0, 1.0, 7.5, 60.0, 0.0, 300.0]);
            step
        })
        .collect()
}

/// Returns a step. Most of its fields are absent most of the time, so that little changes.
fn step(random: &mut Random, t: f64, first: bool) -> Value {
    let mut step = json!({"t": t});
    if first || random.chance(60) {
        let mut metrics = Map::new();
        for name in NAMES {
            if random.chance(if first { 95 } else { 50 }) {
                metrics.insert(name.to_owned(), metric_state(random));
            }
        }
        step["metrics"] = metrics.into();
    }
    if random.chance(8) {
        step["pods"] = pods(random, 10).into();
    }
    if random.chance(8) {
        step["set_replicas"] = random.between(0, 22).into();
    }
    if random.chance(8) {
        step["status_replicas"] = random.between(0, 12).into();
    }
    if random.chance(8) {
        step["selector"] =
            random.pick(&["", "app=kit", "app=other", "app in (kit, other)", "app!=kit"]).into();
    }
    for (key, text) in [("get_scale_error", "no scale"), ("update_scale_error", "no write")] {
        if random.chance(10) {
            step[key] = random.pick(&["", "", text]).into();
        }
    }
    if !first && random.chance(5) {
        step["spec"] = spec(random);
    }
    for (key, percent) in [("restart", 3), ("no_reconcile", 3)] {
        if random.chance(percent) {
            step[key] = true.into();
        }
    }
    step
}

fn metric_state(random: &mut Random) -> Value {
    let target = random.one_of(&[10_000, 15_000, 2500, 1000, 700]);
    let mut state = json!({"object": value(random, target), "external": external(random, target)});
    match random.between(0, 3) {
        0 => state["each"] = value(random, target).into(),
        1 => state["total"] = value(random, target * 4).into(),
        2 => state["per_pod"] = random.list(10, |random, _| value(random, target)).into(),
        _ => {}
    }
    if random.chance(12) {
        state["error"] = "it is broken".into();
    }
    if random.chance(8) {
        state["object"] = Value::Null;
    }
    state
}
