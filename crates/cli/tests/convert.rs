//! `convert`: where the input comes from, and what the exit status says.

#![allow(clippy::unwrap_used, reason = "clippy does not see that helper functions belong to tests")]

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

fn fixture(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/convert");
    folder.join(name).to_string_lossy().into_owned()
}

/// Runs `convert` with this text on standard input.
fn convert(args: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_llm-autoscaler"))
        .arg("convert")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read its input may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn files_and_standard_input_are_converted_alike() {
    let guide = fixture("guide.yaml");
    let (status, by_file, error) = convert(&[&guide], "");
    assert_eq!((status, &*error), (Some(0), ""));
    assert!(by_file.contains("\nkind: LLMAutoscaler\n"), "{by_file}");
    let text = fs::read_to_string(&guide).unwrap();
    for args in [&[][..], &["-"]] {
        let (status, printed, error) = convert(args, &text);
        assert_eq!((status, &*error), (Some(0), ""));
        // Comments name the input, and break their lines behind it.
        let objects = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        assert_eq!(objects(&printed), objects(&by_file));
        assert!(printed.contains("standard input"), "{printed}");
    }
}

#[test]
fn the_exit_status_tells_of_losses() {
    let other = fixture("other.yaml");
    let (status, printed, error) = convert(&[&other], "");
    assert_eq!(status, Some(3));
    assert!(printed.contains("\nkind: LLMAutoscaler\n"), "{printed}");
    let first =
        "other.yaml, document 1: Deployment chat: Not expressed: this kind is not converted";
    assert!(error.contains(first), "{error}");
    let (status, printed, error) = convert(&["--strict", &other], "");
    assert_eq!((status, &*printed), (Some(3), ""));
    assert!(error.contains("spec.dance") && error.contains("--strict"), "{error}");
    let (status, printed, _) = convert(&["--strict", &fixture("readme.yaml")], "");
    assert_eq!(status, Some(0));
    assert!(printed.contains("InFlightRequests"), "{printed}");
}

/// `kubectl get hpa` of another namespace prints an empty list, and that is no success.
#[test]
fn rules_without_an_autoscaler_are_an_error() {
    let guide = fs::read_to_string(fixture("guide.yaml")).unwrap();
    let rules = guide.split("\n---\n").nth(1).unwrap();
    let input = format!("{{kind: List, apiVersion: v1, items: []}}\n---\n{rules}");
    let (status, printed, error) = convert(&[], &input);
    assert_eq!(status, Some(1), "{error}");
    assert!(printed.contains("vllm:num_requests_waiting"), "{printed}");
    assert!(error.contains("the input has no autoscaler"), "{error}");
}

#[test]
fn input_that_cannot_be_read_is_an_error() {
    for (args, input, expected) in [
        (&["/no/such/file"][..], "", "reading /no/such/file"),
        (&[], "a: [", "reading standard input: "),
        (&[], "", "the input has no objects: give a file"),
        (&[], "{kind: List, apiVersion: v1, items: []}", "one namespace, which -n names"),
        (&[], "kind: {{ .Values.kind }}", "give what `helm template` prints"),
        (&["--engine", "ollama"], "", "unknown engine ollama"),
        (&["--adapter-config", "a/b"], "", "--cluster"),
    ] {
        let (status, printed, error) = convert(args, input);
        assert!(matches!(status, Some(1 | 2)), "{args:?}: {status:?}");
        assert_eq!(printed, "", "{args:?}");
        assert!(error.contains(expected), "{args:?}: {error}");
    }
}

#[test]
fn facts_that_are_not_in_the_input_are_options() {
    let file = fixture("hpa-zero.yaml");
    let (status, printed, _) = convert(&[&file], "");
    assert_eq!(status, Some(3));
    assert!(printed.contains("llmautoscaler.io/paused"), "{printed}");
    let url = "http://prometheus.monitoring:9090";
    let args = ["--prometheus-url", url, "--engine", "dynamo", &file];
    let (status, printed, error) = convert(&args, "");
    assert_eq!(status, Some(0), "{error}");
    assert!(printed.contains(&format!("- prometheus: {{url: \"{url}\"}}")), "{printed}");
    assert!(printed.contains("engine: Dynamo") && !printed.contains("paused"), "{printed}");
}

#[test]
fn a_check_compares_each_source_with_its_result() {
    let (status, printed, error) = convert(&["--check", &fixture("guide.yaml")], "");
    assert_eq!((status, &*error), (Some(0), ""));
    for part in [
        "This is a simulation and no measurement, on the profile q32-h100x2",
        "HorizontalPodAutoscaler llm-inference-hpa and LLMAutoscaler vllm-inference:",
        "HorizontalPodAutoscaler sgl-inference-hpa and LLMAutoscaler sgl-inference:",
        "the source is the HPA's arithmetic with its targets and behavior",
    ] {
        assert!(printed.contains(part), "{part:?} is not in:\n{printed}");
    }
    let hours = |name: &str| -> f64 {
        let row = printed.lines().find(|line| line.starts_with(name)).unwrap();
        row.split_whitespace().nth(5).unwrap().parse().unwrap()
    };
    // Between the bounds of 1 and 3 replicas for four hours.
    for name in ["source ", "LLMAutoscaler "] {
        assert!((4.0..=12.0).contains(&hours(name)), "{printed}");
    }
    assert!(!printed.contains("\nkind: LLMAutoscaler"), "{printed}");
}

#[test]
fn a_check_tells_what_it_cannot_compare_and_takes_a_trace() {
    let trace = "arrival_s,input_tokens,output_tokens\n0.5,100,20\n1.5,200,30\n900,100,10\n";
    let file = std::env::temp_dir().join(format!("trace-{}.csv", std::process::id()));
    fs::write(&file, trace).unwrap();
    let path = file.to_string_lossy().into_owned();
    let args = ["--check", "--trace", &path, "--profile", "q32-h100x2", &fixture("kthena.yaml")];
    let (status, printed, _) = convert(&args, "");
    assert_eq!(status, Some(3), "{printed}");
    assert!(printed.contains(&format!("The load is\n{path}.")), "{printed}");
    assert!(printed.contains("not compared: spec.metrics: "), "{printed}");
    fs::remove_file(file).unwrap();

    let missing = convert(&["--check", "--trace", "nowhere.csv", &fixture("guide.yaml")], "");
    assert!(missing.2.contains("reading nowhere.csv: "), "{missing:?}");
    let (status, _, error) = convert(&["--trace", "nowhere.csv"], "");
    assert_eq!(status, Some(2), "{error}");
}

#[test]
fn results_that_recommend_have_the_mode() {
    let (_, printed, _) = convert(&["--recommend", &fixture("guide.yaml")], "");
    assert_eq!(printed.matches("\n  mode: Recommend\n  scaleTargetRef:").count(), 2, "{printed}");
}
