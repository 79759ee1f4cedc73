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
fn a_case_of_an_unknown_mode_is_reported_by_its_line() {
    let good = r#"{"id": "good", "mode": "rules", "current": 5, "desired": 7, "min": 3, "max": 8}"#;
    let input = format!("{good}\n{{\"id\": \"x\", \"mode\": \"rulse\", \"current\": 5}}");
    for arguments in [&[][..], &["--explain"]] {
        let output = evaluate(arguments, &input);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let (text, errors) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(text);
        let expected = "line 2: there is no mode rulse; there are step, calc, timeline, rules";
        assert!(text.contains(expected), "{text}");
        assert!(errors.contains("1 of 2 cases could not be read"), "{errors}");
    }
}

#[test]
fn explain_prints_the_stages_of_a_decision() {
    let case = r#"{"id": "queue", "mode": "timeline", "timeline": {
        "initial_replicas": 1, "spec": {"maxReplicas": 3,
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

/// Returns whether `whole` has everything that `part` has: all fields of objects, all elements of
/// arrays.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| contains(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len()
                && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        (Value::Number(whole), Value::Number(part)) => whole.as_f64() == part.as_f64(),
        (whole, part) => whole == part,
    }
}

/// Returns the fenced blocks of JSON in a page.
fn json_blocks(page: &str) -> Vec<Value> {
    let blocks = page.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(|block| serde_json::from_str(block).unwrap()).collect()
}

#[test]
fn the_examples_of_the_docs_have_these_answers() {
    let page = include_str!("../../../docs/evaluate.md");
    let blocks = json_blocks(page);
    assert_eq!(blocks.len(), 6, "three cases, each with its answer");
    for pair in blocks.chunks(2) {
        let (case, part) = (&pair[0], &pair[1]);
        let output = evaluate(&[], &case.to_string());
        let answer = &answers(&output)[0];
        assert!(contains(answer, part), "{part:#}\n is not in\n{answer:#}");
    }
}

/// Each file has a case and its answer. A changed answer is printed as it would be in the file.
#[test]
fn the_cases_in_files_have_their_answers() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/evaluate");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = std::fs::read_to_string(&path).unwrap();
        let file: Value = serde_json::from_str(&file).unwrap();
        let output = evaluate(&[], &file["case"].to_string());
        assert!(output.status.success(), "{}", path.display());
        let answer = &answers(&output)[0];
        assert!(*answer == file["answer"], "{}: the answer is now\n{answer:#}", path.display());
        count += 1;
    }
    assert!(count >= 10, "{count} files");
}

#[test]
fn an_error_in_a_step_names_its_field_and_its_line() {
    let case = r#"{
        "id": "x", "mode": "step",
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "q"},
                 "engine": "VLLM", "maxReplicas": 3,
                 "metrics": [{"signal": "WaitingRequests",
                              "target": {"type": "AverageValue", "averageValue": "5"}}]},
        "steps": [{"t": 1, "roles": [{"scale": {"specReplicas": 1},
                   "pods": [{"name": "a",
                             "phase": "Running"}],
                   "sources": [{"metrics":
                                {"WaitingRequests": {"a":
                                                     1}}}]}]}]
    }"#;
    assert!(evaluate(&[], case).status.success());
    // a text and its replacement; the line of the error, the beginning of its text
    let table = [
        (r#""Running""#, r#""Walking""#, 9, "steps[0].roles[0].pods[0].phase: unknown variant"),
        (r#""phase""#, r#""phrase""#, 9, "steps[0].roles[0].pods[0].phrase: unknown field"),
        (r#""specReplicas""#, r#""replicas""#, 7, "steps[0].roles[0].scale.replicas: unknown"),
        (r#""t": 1"#, r#""t": -1"#, 7, "steps[0].t: -1 s is not between"),
        (
            "\n                                                     1",
            "{}",
            11,
            "steps[0].roles[0].sources[0].metrics.WaitingRequests.a: give exactly one of",
        ),
        (r#"{"scale": {"specReplicas": 1},"#, "{", 7, "steps[0].roles: the target has no scale"),
        (r#"[{"scale""#, r#"[{"name": "b", "scale""#, 7, "steps[0].roles[0].name: the spec has no"),
        (
            r#"{"WaitingRequests": {"a""#,
            r#"{"Waiting": {"a""#,
            11,
            "steps[0].roles[0].sources[0].metrics.Waiting: the spec has no signal or series",
        ),
        (
            "1}}}]",
            r#"{"buckets": {"1": 1, "+Inf": 1}}}}}]"#,
            12,
            "steps[0].roles[0].sources[0].metrics.WaitingRequests.a: vllm:num_requests_waiting",
        ),
        ("1}}}]", "1}}}, {}]", 12, "steps[0].roles[0].sources[1]: the spec has 1 sources"),
        (
            r#""averageValue": "5""#,
            r#""averageValue": "0""#,
            6,
            "spec.metrics[0].target.averageValue: 0 is not greater than 0",
        ),
        (r#""steps""#, r#""stairs""#, 7, "stairs: unknown field"),
    ];
    for (text, replacement, line, expected) in table {
        assert!(case.contains(text), "{text}");
        let good = r#"{"id": "good", "mode": "rules"}"#;
        let output = evaluate(&[], &format!("{good}\n{}", case.replacen(text, replacement, 1)));
        assert!(!output.status.success(), "{replacement}");
        let answers = answers(&output);
        let error = answers[1]["error"].as_str().unwrap();
        let begin = format!("line {}: not a case: {expected}", line + 1);
        assert!(error.starts_with(&begin), "{replacement}: {error}\n{begin}");
        assert_eq!(answers[1]["id"], "x");
    }
}

#[test]
fn explain_prints_the_waits_and_the_drains_of_a_step() {
    let file = include_str!("evaluate/one_role_in_doubt_and_one_draining.json");
    let file: Value = serde_json::from_str(file).unwrap();
    let output = evaluate(&["--explain"], &file["case"].to_string());
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "t=0 prefill: 2 replicas: raw 0 → stabilized 2",
        "held: Doubt",
        "waits for Requests until t=60",
        "drains decode-2",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn explain_names_the_replicas_whose_engines_are_halted() {
    let file = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let asleep = file(include_str!("evaluate/sleeping_engines_are_no_idle_capacity.json"));
    let wedged = file(include_str!("evaluate/a_wedged_engine_is_replaced_once.json"));
    let of_gateway = file(include_str!("evaluate/arrivals_at_a_gateway_wake_a_target.json"));
    let table = [
        (&asleep, "60 of 32 [1 ready, 2 halted] proposes 4\n  2 asleep: p-1, p-2\n"),
        (&wedged, "0 of 32 [1 halted] proposes 2\n  1 wedged: p-0\n"),
    ];
    let explained = |file: &Value| {
        let output = evaluate(&["--explain"], &file["case"].to_string());
        String::from_utf8(output.stdout).unwrap()
    };
    for (file, part) in table {
        let text = explained(file);
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    // Without any sample the reason why is shown too.
    let mut all = asleep.clone();
    let step = &mut all["case"]["steps"][0]["roles"][0];
    step["sources"][0]["awake"] = serde_json::json!({"*": 0});
    step["sources"][0]["asleep"] = serde_json::json!({"*": 1});
    let text = explained(&all);
    assert!(text.contains("\n  3 asleep: p-0, p-1, p-2\n"), "{text}");
    let text = explained(&of_gateway);
    assert!(!text.contains("[]"), "{text}");
}
