//! Random cases about one metric.

use serde_json::{Map, Value, json};

use super::random::Random;

/// Returns a case of mode `calc`.
pub(crate) fn calculator(random: &mut Random) -> Value {
    let kind = random.pick(&[
        "pods",
        "pods",
        "pods",
        "object_value",
        "object_average",
        "external_value",
        "external_average",
    ]);
    let target =
        if random.chance(5) { random.between(1, i64::MAX / 2) } else { random.between(1, 100_000) };
    let pods = pods(random, 12);
    let mut case = json!({
        "mode": "calc",
        "kind": kind,
        "current": if random.chance(15) { 0 } else { random.between(1, 15) },
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
    if random.chance(8) {
        at_an_end(random, &mut case);
    }
    case
}

/// Changes the case so that its metric is exactly at one end of its tolerance.
fn at_an_end(random: &mut Random, case: &mut Value) {
    let (current, target) = (random.between(0, 15), 1000 * random.between(1, 100));
    let tolerance = random.one_of(&[0, 50, 100, 200, 333, 1000]);
    let value = (1000 + random.one_of(&[-tolerance, tolerance])) * target / 1000;
    let total = if case["kind"].as_str().is_some_and(|kind| kind.ends_with("_average")) {
        value * current
    } else {
        value
    };
    case["current"] = current.into();
    case["target"] = target.into();
    case["object"] = total.into();
    case["external"] = json!([total - 1, 1]);
    for direction in ["tolerance_up", "tolerance_down"] {
        case[direction] = (tolerance as f64 / 1000.0).into();
    }
    for sample in case["pod_metrics"].as_object_mut().into_iter().flatten() {
        *sample.1 = value.into();
    }
}

fn tolerances(random: &mut Random, case: &mut Value) {
    for direction in ["tolerance_up", "tolerance_down"] {
        if random.chance(40) {
            case[direction] = random.one_of(&[0.0, 0.05, 0.1, 0.2, 0.333, 1.0]).into();
        }
    }
}

/// Returns pods in every phase and readiness. A few share a name.
pub(crate) fn pods(random: &mut Random, most: i64) -> Vec<Value> {
    let quiet = random.chance(50);
    random.list(most, |random, index| {
        let mut pod = json!({"name": format!("pod-{index}")});
        if !quiet || random.chance(5) {
            pod["phase"] = random
                .pick(&[
                    "Running",
                    "Running",
                    "Running",
                    "Pending",
                    "Failed",
                    "Succeeded",
                    "Unknown",
                ])
                .into();
            pod["ready"] = random.pick(&["True", "True", "False", "Unknown", "none"]).into();
            pod["deleted"] = random.chance(10).into();
            pod["stuck"] = random.chance(5).into();
            if random.chance(10) {
                pod["activity"] = random.pick(&["Answering", "Asleep", "Wedged"]).into();
            }
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
        for (index, stray) in
            random.list(3, |random, _| sample(random, target)).into_iter().enumerate()
        {
            samples.insert(format!("stray-{index}"), stray);
        }
    }
    samples.into()
}

fn sample(random: &mut Random, target: i64) -> Value {
    let value = value(random, target);
    if random.chance(20) { json!({"value": value, "ts_ago_s": 5}) } else { value.into() }
}

/// Returns a metric value: mostly near the target or at one end of its tolerance, sometimes
/// anything, including negative numbers and values near overflow.
pub(crate) fn value(random: &mut Random, target: i64) -> i64 {
    let part =
        |percent: i64| (i128::from(target) * i128::from(percent) / 100).min(i64::MAX.into()) as i64;
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

/// Returns the values of the series of an External metric.
pub(crate) fn external(random: &mut Random, target: i64) -> Vec<i64> {
    random.list(4, |random, _| value(random, target))
}
