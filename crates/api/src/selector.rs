//! Label selectors as text, which is how a scale subresource contains them: `app=qwen3,tier in
//! (a,b)`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::{Expression, Selector};

/// A selector that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot parse the selector {selector:?} of the scale subresource at {part:?}: expected KEY=VALUE, \
     KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY or !KEY"
)]
pub struct SelectorError {
    selector: String,
    part: String,
}

/// Parses a selector. The empty text gives a selector of everything, so callers have to handle it.
///
/// ```
/// use kube::core::SelectorExt;
/// use llm_autoscaler_api::selector;
///
/// let selector = selector::parse("app=qwen3,tier in (a,b)")?;
/// let labels = [("app", "qwen3"), ("tier", "b")];
/// let pod = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
/// assert!(selector.matches(&pod));
/// # Ok::<(), selector::SelectorError>(())
/// ```
///
/// # Errors
/// Names the part that cannot be parsed.
pub fn parse(text: &str) -> Result<Selector, SelectorError> {
    requirements(text)
        .map(|part| {
            requirement(part.trim()).ok_or_else(|| SelectorError {
                selector: text.to_owned(),
                part: part.trim().to_owned(),
            })
        })
        .collect()
}

/// Returns a selector that selects no pod.
pub fn nothing() -> Selector {
    Expression::In("llmautoscaler.io/nothing".to_owned(), std::collections::BTreeSet::new()).into()
}

/// Splits at the commas outside of parentheses.
fn requirements(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

fn requirement(text: &str) -> Option<Expression> {
    if let Some(name) = text.strip_prefix('!') {
        return key(name).map(Expression::DoesNotExist);
    }
    if let Some((name, value)) = text.split_once("!=") {
        return Some(Expression::NotEqual(key(name)?, literal(value)?));
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(Expression::Equal(key(name)?, literal(value)?));
    }
    let Some((name, rest)) = text.split_once([' ', '\t']) else {
        return key(text).map(Expression::Exists);
    };
    let name = key(name)?;
    let (operator, set) = rest.trim().split_once('(')?;
    let values =
        set.trim_end().strip_suffix(')')?.split(',').map(literal).collect::<Option<_>>()?;
    match operator.trim() {
        "in" => Some(Expression::In(name, values)),
        "notin" => Some(Expression::NotIn(name, values)),
        _ => None,
    }
}

fn key(text: &str) -> Option<String> {
    let text = text.trim();
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    (!text.is_empty() && text.chars().all(valid)).then(|| text.to_owned())
}

/// Parses a label's value, which may be empty.
fn literal(text: &str) -> Option<String> {
    let text = text.trim();
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.chars().all(valid).then(|| text.to_owned())
}

/// Converts a selector to the form that a PodMonitor has.
pub fn to_label_selector(selector: &Selector) -> LabelSelector {
    let mut labels = BTreeMap::new();
    let mut expressions = Vec::new();
    for expression in selector.clone() {
        let (key, operator, values) = match expression {
            Expression::Equal(key, value) => {
                labels.insert(key, value);
                continue;
            }
            Expression::NotEqual(key, value) => (key, "NotIn", vec![value]),
            Expression::In(key, values) => (key, "In", values.into_iter().collect()),
            Expression::NotIn(key, values) => (key, "NotIn", values.into_iter().collect()),
            Expression::Exists(key) => (key, "Exists", Vec::new()),
            Expression::DoesNotExist(key) => (key, "DoesNotExist", Vec::new()),
        };
        let values = (!values.is_empty()).then_some(values);
        expressions.push(LabelSelectorRequirement { key, operator: operator.to_owned(), values });
    }
    LabelSelector {
        match_labels: (!labels.is_empty()).then_some(labels),
        match_expressions: (!expressions.is_empty()).then_some(expressions),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::SelectorExt;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn every_operator_is_parsed() {
        type Labels = &'static [(&'static str, &'static str)];
        let table: &[(&str, Labels, bool)] = &[
            ("app=a", &[("app", "a")], true),
            ("app==a", &[("app", "a")], true),
            ("app=a", &[("app", "b")], false),
            ("app=", &[("app", "")], true),
            ("app!=a", &[], true),
            ("app!=a", &[("app", "a")], false),
            ("app in (a,b),tier=x", &[("app", "b"), ("tier", "x")], true),
            ("app in (a, b)", &[("app", "c")], false),
            ("app notin (a,b)", &[("app", "b")], false),
            ("app", &[("app", "anything")], true),
            ("!app", &[("app", "anything")], false),
            (
                "rbg.workloads.x-k8s.io/role-name=decode , app",
                &[("rbg.workloads.x-k8s.io/role-name", "decode"), ("app", "")],
                true,
            ),
        ];
        for (text, pod, matches) in table {
            let selector = parse(text).unwrap();
            assert_eq!(selector.matches(&labels(pod)), *matches, "{text} {pod:?}");
        }
    }

    #[test]
    fn the_selector_of_nothing_selects_no_pod() {
        assert!(!nothing().matches(&labels(&[("llmautoscaler.io/nothing", "")])));
        assert!(!nothing().matches(&labels(&[])));
    }

    #[test]
    fn an_error_contains_the_selector() {
        for text in [",app=a", "app=a,", "app in a,b", "app near (a)", "a b=c", "app>1"] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.selector, text);
        }
    }

    #[test]
    fn a_selector_becomes_a_label_selector() {
        let selector = to_label_selector(&parse("app=a,tier in (x,y),!old,v!=1").unwrap());
        assert_eq!(
            serde_json::to_value(selector).unwrap(),
            serde_json::json!({
                "matchLabels": {"app": "a"},
                "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["x", "y"]},
                    {"key": "old", "operator": "DoesNotExist"},
                    {"key": "v", "operator": "NotIn", "values": ["1"]},
                ],
            })
        );
    }
}
