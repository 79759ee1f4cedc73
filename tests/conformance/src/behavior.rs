//! Random cases about the stages after the recommendation: windows, limits and scale events.

use serde_json::{Value, json};

use super::random::Random;

/// Returns a case of one of the modes about limits, windows and scale events.
pub(crate) fn behavior(random: &mut Random) -> Value {
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
        "current": if random.chance(20) { random.between(0, 3) } else { random.between(0, 120) },
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
    if random.chance(10) {
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
    match random.between(0, 9) {
        0 => case["desired"] = case["current"].clone(),
        1 => at_a_whole_percentage(random, &mut case),
        _ => {}
    }
    if random.chance(20) {
        case["scale_up_limit_factor"] = random.one_of(&[1.5, 2.0, 8.0]).into();
    }
    case
}

/// Changes the case to a percentage policy with a whole number as its exact result. There the order
/// of the float operations decides whether rounding adds a replica.
fn at_a_whole_percentage(random: &mut Random, case: &mut Value) {
    let percent = random.one_of(&[10, 10, 80, 90]);
    let policy = json!({"type": "Percent", "value": percent, "periodSeconds": 60});
    case["current"] = (20 * random.between(1, 10)).into();
    case["scale_up_events"] = json!([]);
    case["scale_down_events"] = json!([]);
    case["scale_up_rules"] = json!({"policies": [policy]});
    case["scale_down_rules"] = case["scale_up_rules"].clone();
}

fn window(random: &mut Random) -> i64 {
    random.one_of(&[0, 1, 15, 30, 60, 300, 600, 3600])
}

/// Returns an age in seconds, often exactly at the edge of a window or period.
fn ago(random: &mut Random) -> f64 {
    match random.between(0, 2) {
        0 => random.one_of(&[0.0, 1.0, 15.0, 30.0, 60.0, 300.0, 600.0]),
        1 => random.one_of(&[14.999_999_999, 15.000_000_001, 59.5, 60.25, 299.999, 300.001]),
        _ => random.between(0, 700_000) as f64 / 1000.0,
    }
}

fn events(random: &mut Random) -> Vec<Value> {
    random.list(5, |random, _| {
        let change = if random.chance(3) {
            random.between(1, i32::MAX.into())
        } else {
            random.between(1, 20)
        };
        json!({"change": change, "ago_s": ago(random), "outdated": random.chance(10)})
    })
}

/// Returns the scaling rules of one direction; each field is present at random.
pub(crate) fn rules(random: &mut Random) -> Value {
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
    let value =
        if random.chance(8) { random.between(1, i32::MAX.into()) } else { random.between(1, 150) };
    json!({
        "type": random.pick(&["Pods", "Percent"]),
        "value": value,
        "periodSeconds": random.one_of(&[1, 15, 30, 60, 120, 600, 1800]),
    })
}
