//! `behavior` of autoscaling/v2, which is the same in an LLMAutoscaler.

use serde_json::{Map, Value, json};

use crate::field::Field;

/// The window of a scale-down that the HPA has by default, in seconds.
pub(crate) const SCALE_DOWN_WINDOW: i64 = 300;

/// Reads `behavior`. What is not understood stays unread.
pub(crate) fn behavior(field: &Field) -> Map<String, Value> {
    let mut found = Map::new();
    for direction in ["scaleUp", "scaleDown"] {
        let rules = rules(&field.get(direction));
        if !rules.is_empty() {
            found.insert(direction.to_owned(), Value::Object(rules));
        }
    }
    found
}

fn rules(field: &Field) -> Map<String, Value> {
    let mut found = Map::new();
    if let Some(window) = field.get("stabilizationWindowSeconds").within(0..=3600) {
        found.insert("stabilizationWindowSeconds".to_owned(), json!(window));
    }
    let select = field.get("selectPolicy");
    if ["Max", "Min", "Disabled"].contains(&select.peek().unwrap_or_default()) {
        found.insert("selectPolicy".to_owned(), json!(select.text()));
    }
    let policies: Vec<Value> = field.get("policies").items().iter().filter_map(policy).collect();
    if !policies.is_empty() {
        found.insert("policies".to_owned(), Value::Array(policies));
    }
    if let Some(tolerance) = field.get("tolerance").text() {
        found.insert("tolerance".to_owned(), json!(tolerance));
    }
    found
}

fn policy(field: &Field) -> Option<Value> {
    let unit = field.get("type");
    if !["Pods", "Percent"].contains(&unit.peek()?) {
        return None;
    }
    let value = field.get("value").within(1..=i64::from(i32::MAX))?;
    let period = field.get("periodSeconds").within(1..=1800)?;
    Some(json!({"type": unit.text()?, "value": value, "periodSeconds": period}))
}

/// Returns a rule that forbids a direction.
pub(crate) fn disable(behavior: &mut Map<String, Value>, direction: &str) {
    let rules = behavior.entry(direction).or_insert_with(|| json!({}));
    rules["selectPolicy"] = json!("Disabled");
}

/// Returns the window of scale-downs.
pub(crate) fn scale_down_window(behavior: &Map<String, Value>) -> i64 {
    let window = behavior.get("scaleDown").and_then(|it| it.get("stabilizationWindowSeconds"));
    window.and_then(Value::as_i64).unwrap_or(SCALE_DOWN_WINDOW)
}
