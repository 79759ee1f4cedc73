//! No number and no quantity of a spec, a sample or a size makes a step panic: in the operator that
//! would be the end of one autoscaler's step, again and again.
//!
//! The cases of `tests/evaluate` are answered with some of their leaves replaced by extremes.

#![allow(clippy::unwrap_used, reason = "clippy does not see that helper functions belong to tests")]

use std::{fs, panic, path::Path};

use llm_autoscaler::evaluate;
use llm_autoscaler_core::Profile;
use serde_json::{Value, json};

/// The number of variants of each case.
const VARIANTS: u64 = 150;

/// A sequence of numbers that is the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        // The constants are Knuth's, from MMIX.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

fn extreme_numbers() -> Vec<Value> {
    vec![
        json!(0),
        json!(-1),
        json!(1),
        json!(i32::MAX),
        json!(i32::MIN),
        json!(u32::MAX),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e19),
        json!(1e300),
        json!(-1e300),
        json!(5e-324),
        json!(0.5),
        json!(999_999_999),
        Value::Null,
    ]
}

fn extreme_quantities() -> Vec<Value> {
    let texts = [
        "0",
        "1n",
        "-1",
        "1e18",
        "9223372036854775807",
        "9.3E",
        "1e-9",
        "0.000000001",
        "1e400",
        "",
        "-9223372036854775808",
        "18446744073709551615",
        "é",
        "1Ki",
    ];
    texts.iter().map(|text| json!(text)).collect()
}

/// Collects the pointers to all numbers, and to all texts that begin like a number.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                leaves(field, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                leaves(item, &format!("{path}/{index}"), found);
            }
        }
        Value::Number(_) => found.push(path.to_owned()),
        Value::String(text) if text.starts_with(|c: char| c.is_ascii_digit()) => {
            found.push(path.to_owned());
        }
        _ => {}
    }
}

fn variant(case: &Value, leaves: &[String], random: &mut Random) -> Value {
    let mut case = case.clone();
    for _ in 0..=random.below(3) {
        let leaf = case.pointer_mut(&leaves[random.below(leaves.len())]).unwrap();
        let is_text = leaf.is_string();
        let choices = if is_text { extreme_quantities() } else { extreme_numbers() };
        *leaf = choices[random.below(choices.len())].clone();
    }
    case
}

#[test]
fn no_extreme_value_makes_a_step_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evaluate");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let (mut random, mut answered, mut decided) = (Random(16), 0, 0);
    let mut panicked = Vec::new();
    for file in files {
        let text: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let case = &text["case"];
        let mut found = Vec::new();
        leaves(case, "", &mut found);
        for _ in 0..VARIANTS {
            let input = variant(case, &found, &mut random).to_string();
            let mut output = Vec::new();
            let answer =
                || evaluate::evaluate(input.as_bytes(), &mut output, Profile::Default, false);
            let summary = panic::catch_unwind(panic::AssertUnwindSafe(answer));
            let Ok(summary) = summary else {
                panicked.push(format!("{}: {input}", file.display()));
                continue;
            };
            assert_eq!(summary.unwrap().cases, 1, "{input}");
            let output: Value = serde_json::from_slice(&output).unwrap();
            answered += 1;
            decided += u32::from(output.get("error").is_none());
        }
    }
    assert!(panicked.is_empty(), "{} panicked, such as {}", panicked.len(), panicked[0]);
    // Many variants get as far as a decision, or this shows nothing.
    assert!(decided > answered / 4, "{decided} of {answered}");
}
