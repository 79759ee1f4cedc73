//! The HPA's own test tables, answered by `llm-autoscaler evaluate`.
//!
//! The tables hold resource metrics too, which an inference autoscaler has none of; those have to say so.
//! Comparisons with the HPA's own code on random cases are in `tests/conformance/run.sh`.

#![allow(
    clippy::unwrap_used,
    reason = "what is outside of the test functions is of tests all the same"
)]

#[path = "conformance/matching.rs"]
mod matching;

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

const TABLES: [(&str, &str); 3] = [
    (
        "replica calculator",
        include_str!("../../../tests/conformance/cases/replica_calculator.json"),
    ),
    ("behavior", include_str!("../../../tests/conformance/cases/behavior.json")),
    ("reconcile", include_str!("../../../tests/conformance/cases/reconcile.json")),
];

fn evaluate(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_llm-autoscaler"))
        .arg("evaluate")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input.as_bytes()).unwrap());
        child.wait_with_output().unwrap()
    })
}

fn answers(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A case is relevant unless it is about a resource metric, or about pods by CPU readiness.
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
        let output = evaluate(&[], text);
        let answers = answers(&output);
        assert!(output.status.success(), "{table}");
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
        "{relevant} cases of the HPA's own tables agree; the {others} others are about CPU and memory"
    );
    assert_eq!((relevant, others), (82, 62));
}

#[test]
fn cases_come_a_line_each_over_several_lines_or_in_an_array() {
    let case = r#"{"id": "ID", "mode": "rules", "current": 5, "desired": 7, "min": 3, "max": 8}"#;
    let case = |id: &str| case.replace("ID", id);
    let pretty =
        serde_json::to_string_pretty(&serde_json::from_str::<Value>(&case("c")).unwrap()).unwrap();
    let table = [
        (
            format!("{}\n\n{}\r\n{pretty}\n{}", case("a"), case("b"), case("d")),
            vec!["a", "b", "c", "d"],
        ),
        (format!("[{},\n{pretty}]", case("a")), vec!["a", "c"]),
        (String::new(), vec![]),
        ("[]".to_owned(), vec![]),
    ];
    for (input, ids) in table {
        let output = evaluate(&[], &input);
        assert!(output.status.success(), "{input}");
        let found: Vec<_> = answers(&output).iter().map(|answer| answer["id"].clone()).collect();
        assert_eq!(found, ids, "{input}");
    }
}

#[test]
fn what_is_no_case_is_named_by_its_line_and_the_rest_goes_on() {
    let good = r#"{"id": "good", "mode": "rules", "current": 5, "desired": 7, "min": 3, "max": 8}"#;
    let table = [
        (format!("{good}\nnonsense\n{good}"), "line 2: "),
        (format!("{good}\n{{\"id\": \"good\", \n{good}"), "line 2: "),
        (format!("{good}\n{{\"current\": \"five\"}}\n{good}"), "line 2: "),
        (format!("{good}\n{{\n  \"id\": \"x\",\n  \"current\": \"five\"\n}}\n{good}"), "line 4: "),
        (format!("[{good},\n{{\"current\": \"five\"}},\n{good}]"), "line 2: "),
    ];
    for (input, place) in table {
        let output = evaluate(&[], &input);
        assert!(!output.status.success(), "{input}");
        let answers = answers(&output);
        let errors: Vec<_> = answers.iter().filter_map(|answer| answer["error"].as_str()).collect();
        assert!(matches!(errors[..], [error] if error.starts_with(place)), "{input}: {errors:?}");
        assert_eq!(answers.iter().filter(|answer| answer["replicas"] == 7).count(), 2, "{input}");
    }
}

#[test]
fn explain_says_how_a_number_came_about() {
    let case = r#"{"id": "queue", "mode": "timeline", "timeline": {"initial_replicas": 1, "spec": {"maxReplicas": 3,
        "metrics": [{"type": "Pods", "pods": {"metric": {"name": "vllm:num_requests_waiting"},
        "target": {"type": "AverageValue", "averageValue": "5"}}}]},
        "steps": [{"t": 0, "metrics": {"vllm:num_requests_waiting": {"each": 11000}}}]}}"#;
    let output = evaluate(&["--explain"], &case.replace('\n', " "));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "raw 3 → stabilized 3 → limited 3 → 3",
        "pods metric vllm:num_requests_waiting above target",
        "11 of 5 [1 ready] proposes 3",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

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
        assert_eq!(matching::matches(&want, &got), expected, "{want} {got}");
    }
}
