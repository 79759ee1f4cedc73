//! Timelines for situations that wholly random ones rarely produce: metrics that agree, a target
//! that goes to zero and back, and many changes of size under policies with long periods.

use serde_json::{Map, Value, json};

use super::{
    random::Random,
    timelines::{NAMES, scaled_to_zero},
};

/// The target of every metric, in thousandths.
const TARGET: i64 = 10_000;

/// Returns a timeline of a target that goes to zero and back.
pub(crate) fn zero(random: &mut Random) -> Value {
    let kinds: &[&str] = if random.chance(10) { &["Pods"] } else { &["Object", "External"] };
    let metrics = metrics(random, kinds);
    let mut spec = json!({
        "minReplicas": random.one_of(&[0, 2]),
        "maxReplicas": random.between(3, 20),
        "metrics": metrics,
    });
    if random.chance(50) {
        spec["behavior"] = json!({});
    }
    json!({
        "mode": "timeline",
        "scale_to_zero_gate": random.chance(80),
        "downscale_stabilization_s": random.one_of(&[0, 15]),
        "timeline": {
            "spec": spec,
            "initial_replicas": random.one_of(&[0, 0, 1, 3]),
            "initial_status": {"currentReplicas": 0, "desiredReplicas": 0, "currentMetrics": null,
                "conditions": [scaled_to_zero("True")]},
            "steps": steps(random, &[0, 0, 0, 100, 150, 300]),
        },
    })
}

/// Returns a timeline of a load that never fits the size, under policies with long periods.
pub(crate) fn restless(random: &mut Random) -> Value {
    let mut behavior = json!({});
    for direction in ["scaleUp", "scaleDown"] {
        let policy = json!({
            "type": random.pick(&["Pods", "Percent"]),
            "value": random.between(1, 60),
            "periodSeconds": random.one_of(&[15, 60, 600, 1800]),
        });
        behavior[direction] = json!({"stabilizationWindowSeconds": 0, "policies": [policy]});
    }
    let metrics = metrics(random, &["Pods", "Object"]);
    json!({
        "mode": "timeline",
        "timeline": {
            "spec": {"maxReplicas": 50, "metrics": metrics, "behavior": behavior},
            "initial_replicas": random.between(1, 20),
            "steps": steps(random, &[30, 50, 80, 100, 130, 200]),
        },
    })
}

fn metrics(random: &mut Random, kinds: &[&'static str]) -> Value {
    let count = random.one_of(&[1, 1, 2, 3]);
    let metric = |name: &str| {
        let (average, value) = (
            json!({"type": "AverageValue", "averageValue": "10"}),
            json!({"type": "Value", "value": "10"}),
        );
        let outside = if random.chance(50) { &average } else { &value };
        let metric = json!({"name": name});
        match random.pick(kinds) {
            "Pods" => json!({"type": "Pods", "pods": {"metric": metric, "target": average}}),
            "Object" => json!({"type": "Object", "object": {"metric": metric, "target": outside,
                "describedObject":
                        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gateway"}}}),
            _ => json!({"type": "External", "external": {"metric": metric, "target": outside}}),
        }
    };
    NAMES[..count].iter().copied().map(metric).collect()
}

/// Returns steps at which all metrics are at the same percentage of their targets.
fn steps(random: &mut Random, percentages: &[i64]) -> Vec<Value> {
    let count = random.between(4, 14);
    let mut t = 0;
    (0..count)
        .map(|_| {
            let replicas = random.between(1, 4);
            let each = TARGET * random.one_of(percentages) / 100;
            let total = if random.chance(50) { each } else { each * replicas };
            let state = json!({"each": each, "object": total, "external": [total]});
            let metrics: Map<_, _> =
                NAMES.iter().map(|name| ((*name).to_owned(), state.clone())).collect();
            let mut step = json!({"t": t, "metrics": metrics});
            if random.chance(20) {
                step["status_replicas"] = replicas.into();
            }
            if random.chance(5) {
                step["set_replicas"] = random.between(0, 60).into();
            }
            if random.chance(10) {
                step["restart"] = true.into();
            }
            t += random.one_of(&[15, 15, 60, 120]);
            step
        })
        .collect()
}
