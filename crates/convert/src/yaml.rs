//! Objects as YAML, in the order and the form in which the documentation writes them.

use std::fmt::Write;

use serde_json::{Map, Value};

/// The width of comments, and of maps that are written in one line.
const WIDTH: usize = 96;

/// Keys in the order of the documentation; others follow by their names.
const ORDER: [&str; 43] = [
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    "name",
    "namespace",
    "annotations",
    "mode",
    "scaleTargetRef",
    "replicaPods",
    "engine",
    "minReplicas",
    "scaleToZero",
    "maxReplicas",
    "metrics",
    "sources",
    "podMonitor",
    "behavior",
    "fallback",
    "signal",
    "series",
    "query",
    "windowSeconds",
    "percentile",
    "type",
    "averageValue",
    "target",
    "selector",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "scrape",
    "prometheus",
    "url",
    "scaleUp",
    "scaleDown",
    "stabilizationWindowSeconds",
    "selectPolicy",
    "policies",
    "tolerance",
    "value",
];

/// Returns an object as a document.
pub(crate) fn document(object: &Value) -> String {
    let mut text = String::new();
    block(object, 0, &mut text);
    text
}

/// Returns a text as lines of a comment.
pub(crate) fn comment(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if is_printable(c) || c == '\n' { c } else { ' ' }).collect();
    let (mut lines, mut line) = (String::new(), String::from("#"));
    for word in text.split_whitespace() {
        if line.len() + word.len() >= WIDTH && !line.trim_start_matches(['#', ' ']).is_empty() {
            let _ = writeln!(lines, "{line}");
            line = String::from("#  ");
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(lines, "{line}");
    lines
}

fn in_order(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let rank = |key: &str| ORDER.iter().position(|name| *name == key).unwrap_or(ORDER.len());
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by(|(a, _), (b, _)| (rank(a), a).cmp(&(rank(b), b)));
    entries
}

fn block(value: &Value, indent: usize, text: &mut String) {
    let pad = " ".repeat(indent);
    let Value::Object(map) = value else {
        let _ = writeln!(text, "{pad}{}", flow(value));
        return;
    };
    for (key, value) in in_order(map) {
        let _ = write!(text, "{pad}{}:", scalar(key));
        entry(key, value, indent, text);
    }
}

/// Writes the value of a key, in its line if it is short.
fn entry(key: &str, value: &Value, indent: usize, text: &mut String) {
    let short = flow(value);
    let is_top = ["metadata", "spec", "metrics", "sources"].contains(&key);
    let fits = !is_top && indent + key.len() + short.len() + 2 <= WIDTH;
    match value {
        Value::Object(map) if !(map.is_empty() || fits && is_plain(value)) => {
            text.push('\n');
            block(value, indent + 2, text);
        }
        Value::Array(list) if !(list.is_empty() || fits && list.iter().all(Value::is_string)) => {
            text.push('\n');
            for item in list {
                list_item(item, indent, text);
            }
        }
        _ => {
            let _ = writeln!(text, " {short}");
        }
    }
}

/// Writes an entry of a list: a map begins in the line of the dash.
fn list_item(item: &Value, indent: usize, text: &mut String) {
    let short = flow(item);
    let pad = " ".repeat(indent);
    let is_nested = item.as_object().is_some_and(|map| map.values().any(Value::is_object));
    if !is_nested && is_plain(item) && indent + short.len() + 2 <= WIDTH {
        let _ = writeln!(text, "{pad}- {short}");
        return;
    }
    let mut inner = String::new();
    block(item, indent + 2, &mut inner);
    let rest = inner.get(indent + 2..).unwrap_or_default();
    let _ = write!(text, "{pad}- {rest}");
}

/// Returns whether a map has at most one map below it, so that one line is easy to read.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().all(|value| match value {
            Value::Object(inner) => map.len() <= 2 && inner.values().all(|it| !it.is_object()),
            Value::Array(list) => list.iter().all(Value::is_string),
            _ => true,
        }),
        Value::Array(_) => false,
        _ => true,
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries = in_order(map).into_iter();
            let entries: Vec<String> =
                entries.map(|(key, value)| format!("{}: {}", scalar(key), flow(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(list) => {
            let list: Vec<String> = list.iter().map(flow).collect();
            format!("[{}]", list.join(", "))
        }
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// Returns a text as a scalar of YAML: bare if no reader can take it for something else.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 8] = ["true", "false", "null", "yes", "no", "on", "off", "y"];
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let begins = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
    let is_word = WORDS.contains(&text.to_ascii_lowercase().as_str()) || text == "n" || text == "N";
    if begins && !is_word && text.chars().all(is_name) {
        return text.to_owned();
    }
    let escaped = |c: char| match u32::from(c) {
        _ if is_printable(c) => c.to_string(),
        code @ 0..=0xffff => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    };
    Value::String(text.to_owned()).to_string().chars().map(escaped).collect()
}

/// Returns whether a text of YAML may have a character as it is.
fn is_printable(c: char) -> bool {
    let is_mark = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    !c.is_control() && !is_mark && u32::from(c) & 0xfffe != 0xfffe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_written_as_the_documentation_writes_them() {
        let object = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
            "metadata": {"name": "qwen3"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "qwen3"},
                "engine": "VLLM", "minReplicas": 1, "maxReplicas": 8,
                "metrics": [{
                    "signal": "InFlightRequests",
                    "target": {"type": "AverageValue", "averageValue": "32"},
                }],
                "sources": [{"prometheus": {"url": "http://a:9090"}}],
            },
        });
        let expected = "apiVersion: llmautoscaler.io/v1alpha1\n\
            kind: LLMAutoscaler\n\
            metadata:\n  name: qwen3\n\
            spec:\n  scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: qwen3}\n  \
            engine: VLLM\n  minReplicas: 1\n  maxReplicas: 8\n  metrics:\n  \
            - signal: InFlightRequests\n    \
            target: {type: AverageValue, averageValue: \"32\"}\n  sources:\n  \
            - prometheus: {url: \"http://a:9090\"}\n";
        assert_eq!(document(&object), expected);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            "[a-zA-Z0-9.:/~-]{1,120}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let key = prop_oneof!["[a-z]{1,6}", ".{1,4}", Just("metrics".to_owned())];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in values()) {
            let object = json!({"spec": value});
            let text = document(&object);
            let read: Value = serde_saphyr::from_str(&text).unwrap();
            prop_assert_eq!(read, object, "{}", text);
        }

        #[test]
        fn a_comment_stays_one(text in ".{0,300}") {
            for line in comment(&text).lines() {
                prop_assert!(line.starts_with('#'), "{line:?}");
            }
        }
    }
}
