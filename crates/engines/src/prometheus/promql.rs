//! PromQL expressions as text.

use std::{fmt::Write, time::Duration};

/// Returns a range vector selector for the raw samples of all series with one of these names in one
/// of these namespaces. `range` is the time up to now that it covers, and `matchers` are labels
/// and values that all of the series must have.
///
/// A single query serves every autoscaler that needs any of the series, so selectors by other
/// labels are applied to the response.
///
/// ```
/// use std::time::Duration;
///
/// use llm_autoscaler_engines::prometheus::range_selector;
///
/// let (range, cluster) = (Duration::from_secs(60), [("cluster", "eu-1")]);
/// let query = range_selector(["a", "b"], "namespace", ["models"], cluster, range);
/// assert_eq!(query, r#"{__name__=~"a|b",namespace="models",cluster="eu-1"}[1m]"#);
/// ```
pub fn range_selector<'a>(
    names: impl IntoIterator<Item = &'a str>,
    namespace_label: &str,
    namespaces: impl IntoIterator<Item = &'a str>,
    matchers: impl IntoIterator<Item = (&'a str, &'a str)>,
    range: Duration,
) -> String {
    let own = [label_matcher("__name__", names), label_matcher(namespace_label, namespaces)];
    let others = matchers.into_iter().map(|(label, value)| label_matcher(label, [value]));
    let all: Vec<String> = own.into_iter().chain(others).collect();
    format!("{{{}}}[{}]", all.join(","), duration(range))
}

/// Returns a label matcher for one of these values: `namespace="models"`, or `namespace=~"a|b"`.
pub fn label_matcher<'a>(label: &str, values: impl IntoIterator<Item = &'a str>) -> String {
    let values: Vec<&str> = values.into_iter().collect();
    let label = if is_plain(label) { label.to_owned() } else { quote(label) };
    match &values[..] {
        [value] => format!("{label}={}", quote(value)),
        values => {
            let values: Vec<String> = values.iter().map(|value| escape(value)).collect();
            format!("{label}=~{}", quote(&values.join("|")))
        }
    }
}

/// Returns a label matcher for the values that a regular expression (RE2) matches as a whole.
///
/// ```
/// use llm_autoscaler_engines::prometheus::regex_matcher;
///
/// assert_eq!(regex_matcher("pod", r"qwen\d-.*"), r#"pod=~"qwen\\d-.*""#);
/// ```
pub fn regex_matcher(label: &str, pattern: &str) -> String {
    let label = if is_plain(label) { label.to_owned() } else { quote(label) };
    format!("{label}=~{}", quote(pattern))
}

/// Returns a duration in PromQL's syntax: `1m30s`, `250ms`.
pub fn duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let (minutes, rest) = (milliseconds / 60_000, milliseconds % 60_000);
    let mut text = String::new();
    for (amount, unit) in [(minutes, "m"), (rest / 1000, "s"), (rest % 1000, "ms")] {
        if amount > 0 {
            // Writing to a string does not fail.
            let _ = write!(text, "{amount}{unit}");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Returns a regular expression (RE2) that matches this text and nothing else.
fn escape(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() && c != '_' && c != ':' && c != '-' {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn is_plain(label: &str) -> bool {
    let mut bytes = label.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_selector_covers_several_families_and_namespaces() {
        let query = range_selector(
            ["vllm:num_requests_waiting"],
            "namespace",
            ["models"],
            [],
            Duration::from_secs(75),
        );
        assert_eq!(query, r#"{__name__="vllm:num_requests_waiting",namespace="models"}[1m15s]"#);
        let matchers = [("cluster", "eu\"1"), ("k8s.env", "")];
        let query = range_selector(
            ["a:b", "c"],
            "k8s.ns",
            ["x", "y"],
            matchers,
            Duration::from_millis(1500),
        );
        let expected =
            r#"{__name__=~"a:b|c","k8s.ns"=~"x|y",cluster="eu\"1","k8s.env"=""}[1s500ms]"#;
        assert_eq!(query, expected);
    }

    #[test]
    fn values_are_quoted_and_escaped() {
        assert_eq!(label_matcher("a", ["x\"} or vector(1)\n"]), r#"a="x\"} or vector(1)\n""#);
        assert_eq!(label_matcher("a", ["x.y|z", "w"]), r#"a=~"x\\.y\\|z|w""#);
    }

    #[test]
    fn durations_have_no_empty_units() {
        let table = [(0, "0s"), (15_000, "15s"), (60_000, "1m"), (3_690_250, "61m30s250ms")];
        for (milliseconds, text) in table {
            assert_eq!(duration(Duration::from_millis(milliseconds)), text);
        }
    }
}
