//! The input and the output of `llm-autoscaler evaluate`.
//!
//! Its answers are compared with the HPA's own code in `tests/conformance`.

#![allow(clippy::unwrap_used, reason = "clippy does not see that helper functions belong to tests")]

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

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

#[test]
fn cases_may_be_lines_or_pretty_printed_or_in_an_array() {
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
fn a_malformed_case_is_reported_by_its_line_and_the_others_are_answered() {
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
fn explain_prints_the_stages_of_a_decision() {
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
