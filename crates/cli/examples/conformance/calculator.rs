//! Random cases about one metric, and about the parts after the recommendation.

use serde_json::{Map, Value, json};

use super::random::Random;

/// A case of mode `calc`.
pub fn calculator(random: &mut Random) -> Value {
    let kind = random.pick(&[
        "pods",
        "pods",
        "pods",
        "object_value",
        "object_average",
        "external_value",
        "external_average",
    ]);
    let target = if random.chance(5) { random.between(1, i64::MAX / 2) } else { random.between(1, 100_000) };
    let pods = pods(random, 12);
    let mut case = json!({
        "mode": "calc",
        "kind": kind,
        "current": if random.chance(10) { 0 } else { random.between(1, 15) },
        "target": target,
        "pods": pods,
    });
    if random.chance(3) {
        case["current"] = random.between(i64::from(i32::MAX) - 3, i32::MAX.into()).into();
    }
    if random.chance(3) {
        case["metric_error"] = "it is broken".into();
    }
    match kind {
        "pods" => case["pod_metrics"] = samples(random, &pods, target),
        "object_value" | "object_average" if random.chance(97) => {
            case["object"] = value(random, target).into();
        }
        "external_value" | "external_average" => case["external"] = external(random, target).into(),
        _ => {}
    }
    tolerances(random, &mut case);
    case
}

fn tolerances(random: &mut Random, case: &mut Value) {
    for direction in ["tolerance_up", "tolerance_down"] {
        if random.chance(40) {
            case[direction] = random.one_of(&[0.0, 0.05, 0.1, 0.2, 0.333, 1.0]).into();
        }
    }
}

/// Pods in every state, some of them under the same name.
pub fn pods(random: &mut Random, most: i64) -> Vec<Value> {
    let quiet = random.chance(50);
    random.list(most, |random, index| {
        let mut pod = json!({"name": format!("pod-{index}")});
        if !quiet || random.chance(5) {
            pod["phase"] = random
                .pick(&["Running", "Running", "Running", "Pending", "Failed", "Succeeded", "Unknown"])
                .into();
            pod["ready"] = random.pick(&["True", "True", "False", "Unknown", "none"]).into();
            pod["deleted"] = random.chance(10).into();
        }
        if random.chance(2) {
            pod["name"] = "pod-0".into();
        }
        pod
    })
}

fn samples(random: &mut Random, pods: &[Value], target: i64) -> Value {
    let complete = random.chance(50);
    let mut samples = Map::new();
    for pod in pods {
        if complete || random.chance(75) {
            let name = pod["name"].as_str().unwrap_or_default().to_owned();
            samples.insert(name, sample(random, target));
        }
    }
    if random.chance(10) {
        for (index, stray) in random.list(3, |random, _| sample(random, target)).into_iter().enumerate() {
            samples.insert(format!("stray-{index}"), stray);
        }
    }
    samples.into()
}

fn sample(random: &mut Random, target: i64) -> Value {
    let value = value(random, target);
    if random.chance(20) { json!({"value": value, "ts_ago_s": 5}) } else { value.into() }
}

/// Mostly near the target, or at an end of its tolerance; sometimes anything.
pub fn value(random: &mut Random, target: i64) -> i64 {
    let part = |percent: i64| (i128::from(target) * i128::from(percent) / 100).min(i64::MAX.into()) as i64;
    match random.between(0, 19) {
        0 => 0,
        1 => random.between(-1000, 1000),
        2 => random.between(i64::MAX - 1000, i64::MAX - 1),
        3 => random.between(-i64::MAX / 2, i64::MAX / 2),
        4 => target,
        5 | 6 => part(random.one_of(&[90, 110, 95, 105, 80, 120, 100, 200])),
        7..=12 => part(random.between(0, 130)),
        _ => part(random.between(0, 500)),
    }
}

pub fn external(random: &mut Random, target: i64) -> Vec<i64> {
    random.list(4, |random, _| value(random, target))
}

/// A case of one of the modes about limits, windows and scale events.
pub fn behavior(random: &mut Random) -> Value {
    let mode = random.pick(&[
        "rules",
        "rate",
        "rate",
        "limit_up",
        "limit_down",
        "stabilize",
        "stabilize_behavior",
        "store_event",
    ]);
    let mut case = json!({
        "mode": mode,
        "current": random.between(0, 120),
        "desired": random.between(0, 150),
        "min": random.between(0, 10),
        "max": random.between(10, 200),
        "scale_up_events": events(random),
        "scale_down_events": events(random),
        "recommendations": random.list(8, |random, _| {
            json!({"replicas": random.between(0, 150), "ago_s": ago(random)})
        }),
        "up_window_s": window(random),
        "down_window_s": window(random),
        "direction": random.pick(&["up", "down"]),
        "prev": random.between(0, 50),
        "next": random.between(0, 50),
    });
    if random.chance(5) {
        case["current"] = random.between(i64::from(i32::MAX) - 10, i32::MAX.into()).into();
        case["max"] = i32::MAX.into();
    }
    for direction in ["scale_up_rules", "scale_down_rules"] {
        if random.chance(80) {
            case[direction] = rules(random);
        }
    }
    if random.chance(30) {
        case["downscale_stabilization_s"] = window(random).into();
    }
    if random.chance(20) {
        case["scale_up_limit_factor"] = random.one_of(&[1.5, 2.0, 8.0]).into();
    }
    case
}

fn window(random: &mut Random) -> i64 {
    random.one_of(&[0, 1, 15, 30, 60, 300, 600, 3600])
}

/// Often exactly at the edge of a window or period.
fn ago(random: &mut Random) -> f64 {
    match random.between(0, 2) {
        0 => random.one_of(&[0.0, 1.0, 15.0, 30.0, 60.0, 300.0, 600.0]),
        1 => random.one_of(&[14.999_999_999, 15.000_000_001, 59.5, 60.25, 299.999, 300.001]),
        _ => random.between(0, 700_000) as f64 / 1000.0,
    }
}

fn events(random: &mut Random) -> Vec<Value> {
    random.list(5, |random, _| {
        let change =
            if random.chance(3) { random.between(1, i32::MAX.into()) } else { random.between(1, 20) };
        json!({"change": change, "ago_s": ago(random), "outdated": random.chance(10)})
    })
}

/// The rules of one direction, with or without each of its fields.
pub fn rules(random: &mut Random) -> Value {
    let mut rules = json!({});
    if random.chance(70) {
        let count = random.between(1, 3);
        rules["policies"] = (0..count).map(|_| policy(random)).collect();
    }
    if random.chance(50) {
        rules["selectPolicy"] = random.pick(&["Max", "Min", "Max", "Min", "Disabled"]).into();
    }
    if random.chance(60) {
        rules["stabilizationWindowSeconds"] = window(random).into();
    }
    if random.chance(20) {
        rules["tolerance"] = random.pick(&["0", "0.05", "100m", "0.3", "15m", "1"]).into();
    }
    rules
}

fn policy(random: &mut Random) -> Value {
    let value = if random.chance(3) { random.between(1, i32::MAX.into()) } else { random.between(1, 150) };
    json!({
        "type": random.pick(&["Pods", "Percent"]),
        "value": value,
        "periodSeconds": random.one_of(&[1, 15, 30, 60, 120, 600, 1800]),
    })
}
