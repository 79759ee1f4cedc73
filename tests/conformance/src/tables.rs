//! Answers the HPA's own test tables by `evaluate`.
//!
//! The tables hold resource metrics too, which an inference autoscaler does not have; `evaluate`
//! must answer that it does not support them.

use llm_autoscaler::evaluate::evaluate;
use llm_autoscaler_core::Profile;
use serde_json::Value;

use crate::matching;

const TABLES: [(&str, &str); 3] = [
    ("replica calculator", include_str!("../cases/replica_calculator.json")),
    ("behavior", include_str!("../cases/behavior.json")),
    ("reconcile", include_str!("../cases/reconcile.json")),
];

/// Returns true unless the case is about a resource metric, or about pods by CPU readiness.
fn is_relevant(case: &Value) -> bool {
    if let Some(metrics) = case["timeline"]["spec"]["metrics"].as_array() {
        return metrics
            .iter()
            .all(|metric| matches!(metric["type"].as_str(), Some("Pods" | "Object" | "External")));
    }
    case["mode"] != "group_pods"
        && !case["kind"].as_str().is_some_and(|kind| kind.starts_with("resource"))
}

#[test]
fn the_hpas_own_tables_are_answered_as_expected() {
    let (mut relevant, mut others) = (0, 0);
    let mut wrong = Vec::new();
    for (table, text) in TABLES {
        let cases: Vec<Value> = serde_json::from_str(text).unwrap();
        let mut output = Vec::new();
        let summary = evaluate(text.as_bytes(), &mut output, Profile::HpaExact, false).unwrap();
        assert_eq!(summary.malformed, 0, "{table}");
        let output = String::from_utf8(output).unwrap();
        let answers: Vec<Value> =
            output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), cases.len(), "{table}");
        for (case, answer) in cases.iter().zip(&answers) {
            assert_eq!(case["id"], answer["id"]);
            let is_right = if is_relevant(case) {
                relevant += 1;
                matching::matches(&case["expected"], answer)
            } else {
                others += 1;
                println!("{table}, not ours: {}", case["id"].as_str().unwrap());
                answer["error"].as_str().is_some_and(|error| error.starts_with("not supported: "))
            };
            if !is_right {
                wrong.push(format!("{}\n  want {}\n  got  {answer}", case["id"], case["expected"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {relevant} cases differ:\n{}", wrong.len(), wrong.join("\n"));
    println!(
        "{relevant} cases of the HPA's own tables agree; \
         the {others} others are about CPU and memory"
    );
    assert_eq!((relevant, others), (82, 62));
}
