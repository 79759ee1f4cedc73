//! The output of subcommands without a reader.

#![allow(clippy::unwrap_used, reason = "clippy does not see that helper functions belong to tests")]

use std::{
    fs,
    io::{BufRead, BufReader, Write, pipe},
    net::TcpListener,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
};

const PAGE: &str = "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting 3\n";

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-autoscaler"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command without a reader of its standard output. Returns the status, and the text on
/// standard error.
fn without_reader(mut command: Command) -> (ExitStatus, String) {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_subcommand_ends_quietly_when_its_reader_goes_away() {
    let page = file("page.txt", PAGE);
    let page = page.to_str().unwrap();
    let likely = file("likely.txt", "app_queue_length 4\n");
    let likely = likely.to_str().unwrap();
    let hpa = file(
        "hpa.yaml",
        "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: \
         {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: a}, maxReplicas: 2, \
         metrics: [{type: Pods, pods: {metric: {name: \"vllm:num_requests_running\"}, target: \
         {type: AverageValue, averageValue: 9}}}]}}",
    );
    let hpa = hpa.to_str().unwrap();
    for arguments in [
        &["crd"][..],
        &["engines"],
        &["engines", "SMG"],
        &["probe", page],
        &["probe", page, "-o", "json"],
        &["probe", page, "--series", "vllm:num_requests_waiting"],
        &["probe", page, "--series", "vllm:num_requests_waiting", "-o", "json"],
        &["probe", likely, "--engine", "Custom"],
        &["convert", hpa],
        &["--help"],
    ] {
        let (status, error) = without_reader(program(arguments));
        assert_eq!((status.code(), &*error), (Some(0), ""), "{arguments:?}");
    }
    for arguments in [&["evaluate"][..], &["evaluate", "--explain"]] {
        let case =
            r#"{"id": "a", "mode": "rules", "current": 5, "desired": 7, "min": 3, "max": 8}"#;
        let mut command = program(arguments);
        command.stdin(fs::File::open(file("case.json", case)).unwrap());
        let (status, error) = without_reader(command);
        assert_eq!((status.code(), &*error), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn explain_ends_quietly_when_its_reader_goes_away() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let config = format!(
        "{{apiVersion: v1, kind: Config, current-context: c, clusters: [{{name: c, cluster: \
         {{server: \"{server}\"}}}}], contexts: [{{name: c, context: {{cluster: c, user: u}}}}], \
         users: [{{name: u, user: {{}}}}]}}"
    );
    let object = r#"{"apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {"name": "q"}, "spec": {"maxReplicas": 3, "engine": "VLLM", "metrics": [],
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "q"}}}"#;
    let serve = move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{object}", object.len()).unwrap();
    };
    let handle = std::thread::spawn(serve);
    let mut command = program(&["explain", "q"]);
    command.env("KUBECONFIG", file("kubeconfig.yaml", &config));
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    let (status, error) = without_reader(command);
    assert_eq!((status.code(), &*error), (Some(0), ""));
    handle.join().unwrap();
}

#[test]
fn an_error_without_a_reader_is_no_panic() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut command = program(&["probe", "/no/such/page"]);
    let status = command.stdout(writer.try_clone().unwrap()).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_client_certificate_needs_its_key_and_no_error_quotes_it() {
    let file = file("key.pem", "-----BEGIN SECRET");
    let file = file.to_str().unwrap();
    let probe = ["probe", "https://127.0.0.1:1/", "--cert", file];
    for (more, status, expected) in [
        (&[][..], 2, "--key <FILE>"),
        (&["--key", file], 1, "are not a certificate and its private key as PEM"),
        (&["--key", "/no/such/file"], 1, "reading /no/such/file"),
    ] {
        let mut command = program(&[&probe[..], more].concat());
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{error}");
        assert!(error.contains(expected) && !error.contains("BEGIN"), "{error}");
    }
}

/// A full disk is not a reader that has gone away.
#[cfg(target_os = "linux")]
#[test]
fn text_that_cannot_be_written_is_an_error() {
    let mut command = program(&["crd"]);
    command.stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.starts_with("llm-autoscaler: writing to standard output: "), "{error}");
}
