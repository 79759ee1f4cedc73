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

#[test]
fn input_that_cannot_be_read_is_an_error() {
    for (args, input, expected) in [
        (&["/no/such/file"][..], "", "reading /no/such/file"),
        (&[], "a: [", "reading standard input: "),
        (&[], "", "the input has no documents: give a file"),
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
