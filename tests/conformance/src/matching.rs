//! Compares an answer with the expected one, by the rules of the oracle's own `-check`.

use serde_json::Value;

/// Returns true if `got` has every field that `want` names, with equal values.
///
/// An expected `error` must be contained in the error of the answer, and an unexpected error is a
/// mismatch. Lists must have the same length.
pub(crate) fn matches(want: &Value, got: &Value) -> bool {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            let unexpected_error = got.contains_key("error") && !want.contains_key("error");
            !unexpected_error
                && want.iter().all(|(key, want)| {
                    let got = got.get(key).unwrap_or(&Value::Null);
                    if key == "error" { contains(want, got) } else { matches(want, got) }
                })
        }
        (Value::Array(want), Value::Array(got)) => {
            want.len() == got.len() && want.iter().zip(got).all(|(want, got)| matches(want, got))
        }
        (Value::Number(want), Value::Number(got)) => {
            let is_float = want.is_f64() || got.is_f64();
            want == got || (is_float && want.as_f64() == got.as_f64())
        }
        _ => want == got,
    }
}

fn contains(want: &Value, got: &Value) -> bool {
    let (want, got) = (want.as_str().unwrap_or_default(), got.as_str().unwrap_or_default());
    !got.is_empty() && got.contains(want)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unexpected_error_and_a_missing_field_are_mismatches() {
        let table = [
            (r#"{"replicas": 3}"#, r#"{"replicas": 3, "usage": 1}"#, true),
            (r#"{"replicas": 3}"#, r#"{"replicas": 3, "error": "x"}"#, false),
            (r#"{"error": "metric"}"#, r#"{"error": "no metric found"}"#, true),
            (r#"{"error": ""}"#, r#"{"replicas": 3}"#, false),
            (r#"{"usage": 9223372036854775807}"#, r#"{"usage": 9223372036854775806}"#, false),
            (r#"{"t": 15}"#, r#"{"t": 15.0}"#, true),
            (r#"{"steps": [{}]}"#, r#"{"steps": []}"#, false),
        ];
        for (want, got, expected) in table {
            let [want, got] = [want, got].map(|text| serde_json::from_str::<Value>(text).unwrap());
            assert_eq!(matches(&want, &got), expected, "{want} {got}");
        }
    }
}
