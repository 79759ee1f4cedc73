//! `llm-autoscaler replay` against a server that answers as Prometheus does, and that refuses what
//! it is told to refuse.

#![allow(clippy::unwrap_used, reason = "clippy does not see that helper functions belong to tests")]

mod support;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use axum::{
    Form, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::{Value, json};

/// The start of the recording, in seconds since 1970. It takes two hours.
const FROM: u64 = 1_796_000_000;
/// The interval of scrapes.
const STEP: usize = 15;

/// The ways in which the server refuses.
#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    /// The longest range in minutes.
    longest: Option<u64>,
    /// True if a regular expression for names is refused.
    regex: bool,
    /// The number of queries that fail in passing.
    passing: usize,
    /// True if a token is demanded.
    token: bool,
    /// The first query, counted from 1, that fails for ever.
    broken_from: Option<usize>,
}

#[derive(Debug, Default)]
struct Server {
    refusals: Refusals,
    queries: Mutex<Vec<String>>,
}

/// Requests that have ended at a time: 1 in each interval of scrapes, and none for the half hour in
/// the middle. The engine begins anew after an hour and a half.
fn ended(at: u64) -> u64 {
    let since = (at - FROM) / STEP as u64;
    if since >= 360 { since - 360 } else { 1_000 + since }
}

/// Returns true if the server scraped nothing then.
fn is_gap(at: u64) -> bool {
    (FROM + 1_800..FROM + 3_600).contains(&at)
}

/// A series: its name, and its value at a time.
type Metric = (&'static str, fn(u64) -> u64);

fn answer(names: &[&str], from: u64, to: u64) -> Value {
    let all: [Metric; 6] = [
        ("vllm:request_success_total", ended),
        ("vllm:prompt_tokens_total", |at| 500 * ended(at)),
        ("vllm:generation_tokens_total", |at| 50 * ended(at)),
        ("vllm:num_requests_running", |_| 0),
        ("vllm:num_requests_waiting", |_| 0),
        ("up", |_| 1),
    ];
    let wanted = all.iter().filter(|(name, _)| names.contains(name));
    let series = wanted.map(|(name, value)| {
        let times = (from.max(FROM)..=to).filter(|at| (at - FROM).is_multiple_of(STEP as u64));
        let values: Vec<Value> =
            times.filter(|at| !is_gap(*at)).map(|at| json!([at, value(at).to_string()])).collect();
        let labels = json!({"__name__": name, "pod": "qwen-0", "namespace": "models"});
        json!({"metric": labels, "values": values})
    });
    let series: Vec<Value> = series.collect();
    json!({"status": "success", "data": {"resultType": "matrix", "result": series}})
}

fn refusal(kind: &str, text: &str) -> String {
    json!({"status": "error", "errorType": kind, "error": text}).to_string()
}

async fn query(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> (StatusCode, String) {
    let number = {
        let mut queries = server.queries.lock().unwrap();
        queries.push(form["query"].clone());
        queries.len()
    };
    let Refusals { longest, regex, passing, token, broken_from } = server.refusals;
    if token && headers.get("authorization").is_none_or(|found| found != "Bearer secret") {
        return (StatusCode::UNAUTHORIZED, "no".to_owned());
    }
    if number <= passing {
        return (StatusCode::BAD_GATEWAY, String::new());
    }
    if broken_from.is_some_and(|from| number >= from) {
        return (StatusCode::UNPROCESSABLE_ENTITY, refusal("execution", "not now"));
    }
    let expression = &form["query"];
    let (selector, range) = expression.split_once('[').unwrap();
    let minutes: u64 = range.split_once('m').unwrap().0.parse().unwrap();
    if longest.is_some_and(|longest| minutes > longest) {
        let text = "query processing would load too many samples into memory";
        return (StatusCode::UNPROCESSABLE_ENTITY, refusal("execution", text));
    }
    let name = selector.trim_start_matches('{').split(',').next().unwrap();
    if regex && name.contains("=~") {
        return (StatusCode::BAD_REQUEST, refusal("bad_data", "no regex for names"));
    }
    let (_, names) = name.split_once('"').unwrap();
    let names: Vec<&str> = names.trim_end_matches('"').split('|').collect();
    let to = form["time"].parse::<f64>().unwrap() as u64;
    (StatusCode::OK, answer(&names, to - minutes * 60, to).to_string())
}

/// Starts the server, and returns its URL.
fn start(refusals: Refusals) -> (String, Arc<Server>) {
    let server = Arc::new(Server { refusals, queries: Mutex::default() });
    let router = Router::new().route("/team/api/v1/query", post(query)).with_state(server.clone());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/team/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
    });
    (url, server)
}

/// A folder for a recording, which is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("replay-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the subcommand. Returns its output, or its error.
fn replay(folder: &Folder, url: Option<&str>, arguments: &[&str]) -> Result<String, String> {
    let recording = folder.file("r");
    let mut all = vec!["replay", "--recording", &recording, "--seeds=2", "--sigma=0"];
    if let Some(url) = url {
        all.extend(["--prometheus", url, "--namespace=models", "--pods=qwen-.*"]);
        all.extend(["--from=2026-11-30T00:53:20Z", "--to=2026-11-30T02:53:20Z"]);
    }
    all.extend(arguments);
    support::run(&all)
}

fn json_of(folder: &Folder, url: Option<&str>, arguments: &[&str]) -> Value {
    let output = replay(folder, url, &[&["-o=json"], arguments].concat()).unwrap();
    serde_json::from_str(&output).unwrap()
}

#[test]
fn the_range_is_that_of_the_server() {
    let time = chrono::DateTime::from_timestamp(i64::try_from(FROM).unwrap(), 0).unwrap();
    assert_eq!(time.to_rfc3339(), "2026-11-30T00:53:20+00:00", "FROM and --from differ");
}

#[test]
fn a_recording_is_the_same_whatever_a_server_refuses() {
    let token = Folder::new("token");
    std::fs::write(token.file("token"), "secret\n").unwrap();
    let with_token = format!("--token-file={}", token.file("token"));
    let nothing = Refusals::default();
    let mut found: Vec<(Value, Value)> = Vec::new();
    for (name, refusals, arguments) in [
        ("nothing", nothing, vec![]),
        ("chunks", nothing, vec!["--chunk=7m"]),
        ("long", Refusals { longest: Some(20), ..nothing }, vec!["--chunk=2h"]),
        ("regex", Refusals { regex: true, ..nothing }, vec![]),
        ("passing", Refusals { passing: 2, ..nothing }, vec![]),
        ("token", Refusals { token: true, ..nothing }, vec![with_token.as_str()]),
    ] {
        let (folder, (url, _)) = (Folder::new(name), start(refusals));
        let json = json_of(&folder, Some(&url), &arguments);
        let measured = json["measured"].clone();
        let requests = measured["requests"].as_f64().unwrap();
        assert!((requests - 478.0).abs() < 1e-6, "{name}: {requests}");
        let trace = std::fs::read_to_string(folder.0.join("r/trace.csv")).unwrap();
        assert!(trace.lines().count().abs_diff(479) <= 1, "{name}");
        assert!(trace.lines().skip(1).all(|line| line.ends_with(",500,50")), "{name}");
        found.push((measured, json["gaps"].clone()));
    }
    for other in &found[1..] {
        for name in ["requests", "promptTokens", "outputTokens", "servingHours"] {
            let (one, other) = (found[0].0[name].as_f64(), other.0[name].as_f64());
            assert!((one.unwrap() - other.unwrap()).abs() < 1e-6, "{name}: {one:?} {other:?}");
        }
    }
    let [gap] = &found[0].1.as_array().unwrap()[..] else { panic!("{}", found[0].1) };
    assert_eq!((gap["from"].as_f64(), gap["to"].as_f64()), (Some(1_785.0), Some(3_600.0)));
    assert!((gap["requests"].as_f64().unwrap() - 121.0).abs() < 1.0, "{gap}");
}

#[test]
fn an_interrupted_recording_goes_on_and_is_simulated_without_a_server() {
    let (folder, (url, _)) =
        (Folder::new("goes-on"), start(Refusals { broken_from: Some(3), ..Refusals::default() }));
    let error = replay(&folder, Some(&url), &["--chunk=30m"]).unwrap_err();
    assert!(error.contains("not now"), "{error}");
    let text = std::fs::read_to_string(folder.0.join("r/recording.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 3, "a header and two chunks");
    let error = replay(&folder, None, &[]).unwrap_err();
    assert!(error.contains("2 of its 4 chunks") && error.contains("--prometheus"), "{error}");

    // The server is back, at the same address.
    let (other, server) = start(Refusals::default());
    let renamed = text.replace(url.trim_end_matches('/'), other.trim_end_matches('/'));
    std::fs::write(folder.0.join("r/recording.jsonl"), renamed).unwrap();
    let resumed = json_of(&folder, Some(&other), &["--chunk=30m"]);
    // The latest chunk with samples was read again, and then the two that lacked.
    assert_eq!(server.queries.lock().unwrap().len(), 3);
    let whole = Folder::new("whole");
    let whole = json_of(&whole, Some(&other), &["--chunk=30m"]);
    assert_eq!(resumed["measured"], whole["measured"]);
    let sample = "--autoscaler=config/samples/in_flight.yaml";
    let table = replay(&folder, None, &[sample, "--policy=static=2"]).unwrap();
    for expected in [
        "478 requests arrived, with 500 prompt tokens and 50 generated ones",
        "in 1 gaps",
        "gap at 2026-11-30 01:23:05 UTC of 1815 s: 121 requests",
        "engines began anew 1 times",
        "today, measured",
        "today, simulated",
        "qwen3",
        "static=2",
        "highest of 2 draws",
    ] {
        assert!(table.contains(expected), "{expected}: {table}");
    }
    let html = format!("--html={}", folder.file("page.html"));
    replay(&folder, None, &[sample, &html]).unwrap();
    let page = std::fs::read_to_string(folder.0.join("page.html")).unwrap();
    assert!(page.contains("What was measured") && page.contains("today, simulated"));
}

#[test]
fn errors_say_what_to_do() {
    let (url, _) = start(Refusals { token: true, ..Refusals::default() });
    let elsewhere = url.replace("/team/", "/other");
    for (url, arguments, expected) in [
        (Some(&*url), &[][..], "--token-file"),
        (Some(&*elsewhere), &[], "the URL is to end before /api/v1"),
        (Some("prometheus:9090"), &[], "http://HOST:9090"),
        (Some(&*url), &["--engine=Custom"], "does not report what a trace needs"),
        (Some(&*url), &["--engine=SMG"], "is a gateway"),
        (Some(&*url), &["--token-file=/nowhere/token"], "reading /nowhere/token"),
        (None, &[], "name a Prometheus with --prometheus"),
        (None, &["--min=5", "--max=2"], "lower --min"),
    ] {
        let folder = Folder::new("errors");
        let error = replay(&folder, url, arguments).unwrap_err();
        assert!(error.contains(expected), "{url:?} {arguments:?}: {error}");
    }
}
