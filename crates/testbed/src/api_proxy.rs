//! A proxy in front of the API server that breaks chosen requests: it refuses them, is slow, or
//! never answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{FutureExt, stream};
use serde_json::json;
use tokio::net::TcpListener;

use crate::task::Task;

/// The largest body of a request, in bytes.
const BODY: usize = 4 << 20;

/// The fault of the requests that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiFault {
    /// They are refused with this status; 429 asks for another try after a second.
    Refused(u16),
    /// They are answered after this time.
    Slow(Duration),
    /// They are never answered, and watches that are there fall silent.
    Hang,
    /// Watches are told that their version is too old, so that all objects have to be listed.
    Expired,
    /// They reach the API server, and the connection ends before its answer has come.
    Lost,
}

/// The requests of one kind, and their fault.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The method, such as `PATCH`.
    pub method: &'static str,
    /// The end of the path, such as `/pods`.
    pub path: String,
    /// True for watches, false for all other requests.
    pub is_watch: bool,
    /// Their fault.
    pub fault: ApiFault,
}

/// The point at which the first write is held, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldWrite {
    /// It does not reach the API server.
    Before,
    /// The API server has done it, and the answer does not come back. Writes that it refuses are
    /// not held.
    After,
}

/// The proxy. Dropping it stops it.
#[derive(Debug)]
pub struct ApiProxy {
    url: String,
    state: Arc<Mutex<State>>,
    _task: Task,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    /// The requests so far.
    requests: Vec<Line>,
    /// Where the next write is held.
    hold: Option<HeldWrite>,
    /// A write is held.
    is_held: bool,
}

/// The first line of a request.
#[derive(Debug, Clone)]
struct Line {
    method: String,
    path: String,
    is_watch: bool,
}

impl ApiProxy {
    /// Starts a proxy of the API server with this URL.
    ///
    /// # Errors
    /// Fails if no port is free.
    pub async fn start(api_server: &str) -> Result<Self> {
        crate::install_crypto();
        // The API server's certificate signs itself, and connections never leave loopback.
        let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, api_server) = (state.clone(), api_server.to_owned());
        let app = Router::new().fallback(move |request: Request| {
            let proxied = proxy(client.clone(), api_server.clone(), shared.clone(), request);
            async move { proxied.await.unwrap_or_else(|error| bad_gateway(&error)) }
        });
        let task = Task::spawn(axum::serve(listener, app).into_future().map(drop));
        Ok(Self { url, state, _task: task })
    }

    /// Returns its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Breaks these requests from now on, and no others.
    pub fn break_requests(&self, rules: Vec<Rule>) {
        lock(&self.state).rules = rules;
    }

    /// Holds the next write for ever.
    pub fn hold_write(&self, at: HeldWrite) {
        lock(&self.state).hold = Some(at);
    }

    /// Returns whether a write is held.
    pub fn is_held(&self) -> bool {
        lock(&self.state).is_held
    }

    /// Returns the number of requests so far with this method and end of the path.
    pub fn count(&self, method: &str, path: &str, is_watch: bool) -> usize {
        let state = lock(&self.state);
        let matches = |line: &&Line| {
            line.method == method && line.path.ends_with(path) && line.is_watch == is_watch
        };
        state.requests.iter().filter(matches).count()
    }

    /// Returns the number of requests so far about single objects of a namespace.
    pub fn count_objects(&self, namespace: &str) -> usize {
        let below = format!("/namespaces/{namespace}/");
        let names_object = |line: &&Line| {
            line.path.split_once(&below).is_some_and(|(_, object)| object.contains('/'))
        };
        lock(&self.state).requests.iter().filter(names_object).count()
    }

    /// Returns the number of requests so far with one of these methods and a path with this part.
    pub fn count_below(&self, methods: &[&str], part: &str) -> usize {
        let state = lock(&self.state);
        let matches =
            |line: &&Line| methods.contains(&line.method.as_str()) && line.path.contains(part);
        state.requests.iter().filter(matches).count()
    }
}

impl Line {
    fn of(request: &Request) -> Self {
        Self {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            is_watch: request.uri().query().is_some_and(|query| query.contains("watch=true")),
        }
    }

    fn is_write(&self) -> bool {
        ["POST", "PUT", "PATCH", "DELETE"].contains(&self.method.as_str())
    }

    fn fault(&self, state: &Mutex<State>) -> Option<ApiFault> {
        let state = lock(state);
        let rule = state.rules.iter().find(|rule| {
            rule.method == self.method
                && self.path.ends_with(&rule.path)
                && rule.is_watch == self.is_watch
        });
        rule.map(|rule| rule.fault)
    }
}

async fn proxy(
    client: reqwest::Client,
    api_server: String,
    state: Arc<Mutex<State>>,
    request: Request,
) -> Result<Response> {
    let line = Line::of(&request);
    lock(&state).requests.push(line.clone());
    match line.fault(&state) {
        None | Some(ApiFault::Lost) => {}
        Some(ApiFault::Refused(code)) => return Ok(refused(code)),
        Some(ApiFault::Slow(time)) => tokio::time::sleep(time).await,
        Some(ApiFault::Hang) => std::future::pending().await,
        Some(ApiFault::Expired) => return Ok(expired()),
    }
    let hold_at = lock(&state).hold.filter(|_| line.is_write());
    if hold_at == Some(HeldWrite::Before) {
        return hold(&state).await;
    }
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut forwarded = client.request(head.method, format!("{api_server}{path}"));
    for (name, value) in &head.headers {
        if name != header::HOST && name != header::CONTENT_LENGTH {
            forwarded = forwarded.header(name, value);
        }
    }
    let body = axum::body::to_bytes(body, BODY).await?;
    let answer = forwarded.body(body).send().await?;
    if hold_at == Some(HeldWrite::After) && answer.status().is_success() {
        return hold(&state).await;
    }
    if line.fault(&state) == Some(ApiFault::Lost) {
        return lost();
    }
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if name != header::TRANSFER_ENCODING && name != header::CONTENT_LENGTH {
            response = response.header(name, value);
        }
    }
    let chunks = stream::try_unfold(answer, move |mut answer| {
        let (line, state) = (line.clone(), state.clone());
        async move {
            let chunk: Option<Bytes> = answer.chunk().await?;
            match line.fault(&state) {
                Some(ApiFault::Hang) => std::future::pending().await,
                Some(ApiFault::Expired | ApiFault::Refused(_)) => Ok(None),
                _ => Ok::<_, reqwest::Error>(chunk.map(|chunk| (chunk, answer))),
            }
        }
    });
    Ok(response.body(Body::from_stream(chunks))?)
}

/// Holds a write.
async fn hold(state: &Mutex<State>) -> Result<Response> {
    lock(state).is_held = true;
    std::future::pending().await
}

fn refused(code: u16) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": if code == 409 { "Conflict" } else { "Test" },
        "message": format!("refused with {code} by the test"),
    });
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (code, axum::Json(status)).into_response();
    if code == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Returns a response that promises a body and ends the connection without it.
fn lost() -> Result<Response> {
    let cut = stream::once(async { Err::<Bytes, _>(std::io::Error::other("lost by the test")) });
    let response = Response::builder().header(header::CONTENT_LENGTH, 1000);
    response.body(Body::from_stream(cut)).context("building a response without its body")
}

fn expired() -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
        "reason": "Expired", "message": "too old resource version",
    });
    let change = json!({"type": "ERROR", "object": status});
    ([(header::CONTENT_TYPE, "application/json")], format!("{change}\n")).into_response()
}

fn bad_gateway(error: &anyhow::Error) -> Response {
    (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
