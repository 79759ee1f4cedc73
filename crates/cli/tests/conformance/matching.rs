//! When an answer is what was expected: the rules of the oracle's own `-check`.

use serde_json::Value;

/// Whether `got` has everything that `want` names.
///
/// An expected `error` is a part of the text, and one that is not expected is a mismatch; other texts have to be
/// the same, and lists as long as expected.
pub fn matches(want: &Value, got: &Value) -> bool {
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
