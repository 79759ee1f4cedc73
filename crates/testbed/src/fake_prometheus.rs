//! A server that implements Prometheus's query API and fails on demand.
//!
//! It serves series with values that a test sets, and answers the queries that the operator makes:
//! a selector with a range, and a series name alone. Tests that need PromQL use the real
//! Prometheus.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::task::Task;
use crate::tls::{self, Certificate, ClientAuthority};

/// The scrape interval in seconds that the timestamps of its samples show.
const SCRAPED_EVERY: i64 = 5;

/// The fault that the server simulates.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Fault {
    /// No fault.
    #[default]
    None,
    /// Connections are refused.
    Down,
    /// It has no series.
    Empty,
    /// Requests need this token.
    Token(String),
    /// Each answer takes this long.
    Slow(Duration),
    /// The last scrape was this long ago.
    Stale(Duration),
    /// The server's clock is this many seconds ahead (or behind, if negative).
    Clock(i64),
    /// Answers carry a warning that data is missing.
    Partial,
    /// Every answer has this status and text.
    Answer(u16, String),
    /// Each series was scraped by two jobs.
    TwoJobs,
    /// Each series was scraped at two addresses of its pod.
    TwoAddresses,
    /// It refuses what Google's managed Prometheus refuses: a regular expression for the name of a
    /// metric, and parameters that it does not know.
    GoogleManaged,
    /// Each series exists in two clusters. The matcher `cluster="a"` selects one of them.
    TwoClusters,
}

/// The fake server. Dropping it stops it.
#[derive(Debug)]
pub struct FakePrometheus {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    certificate: Option<Certificate>,
    server: Option<Task>,
}

#[derive(Debug, Default)]
struct Shared {
    fault: Fault,
    /// The faults of queries that contain a text.
    of_queries: Vec<(String, Fault)>,
    series: Vec<Series>,
    queries: Vec<(Instant, String)>,
}

#[derive(Debug, Clone)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl FakePrometheus {
    /// Starts the server on loopback, without any series.
    ///
    /// # Errors
    /// Fails if it cannot listen.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::default();
        let server = serve(listener, None, &shared);
        Ok(Self { address, shared, certificate: None, server: Some(server) })
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Starts again with TLS, and accepts only clients with a certificate of `clients`. Its own
    /// certificate stays the same. Open connections are closed.
    ///
    /// # Errors
    /// Fails if it cannot listen on its port again.
    pub async fn demand_certificates(&mut self, clients: &ClientAuthority) -> Result<()> {
        let certificate = match self.certificate.take() {
            Some(certificate) => certificate,
            None => Certificate::new("127.0.0.1")?,
        };
        self.certificate.insert(certificate).demand(clients)?;
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        self.fail(Fault::None).await
    }

    /// Returns its certificate as PEM, if it has one.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_ref().map(|certificate| &*certificate.pem)
    }

    /// Sets the value of a series, which is identified by its name and labels.
    pub fn set(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut shared = self.lock();
        shared.series.retain(|series| (&*series.name, &series.labels) != (name, &labels));
        shared.series.push(Series { name: name.to_owned(), labels, value });
    }

    /// Removes all series of a name.
    pub fn remove(&self, name: &str) {
        self.lock().series.retain(|series| series.name != name);
    }

    /// Sets the fault.
    ///
    /// # Errors
    /// Fails if the server cannot listen on its port again.
    pub async fn fail(&mut self, fault: Fault) -> Result<()> {
        if fault == Fault::Down {
            self.server = None;
        } else if self.server.is_none() {
            let listener = TcpListener::bind(self.address).await?;
            self.server = Some(serve(listener, self.certificate.as_ref(), &self.shared));
        }
        self.lock().fault = fault;
        Ok(())
    }

    /// Gives the queries that contain this text a fault of their own: [`Fault::Slow`] or
    /// [`Fault::Answer`].
    pub fn fail_queries(&self, text: &str, fault: Fault) {
        self.lock().of_queries.push((text.to_owned(), fault));
    }

    /// Returns the queries that it has received so far.
    pub fn queries(&self) -> Vec<String> {
        self.lock().queries.iter().map(|(_, query)| query.clone()).collect()
    }

    /// Returns the times at which it has received the queries that contain this text.
    pub fn times(&self, text: &str) -> Vec<Instant> {
        let shared = self.lock();
        let chosen = shared.queries.iter().filter(|(_, query)| query.contains(text));
        chosen.map(|(at, _)| *at).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(
    listener: TcpListener,
    certificate: Option<&Certificate>,
    shared: &Arc<Mutex<Shared>>,
) -> Task {
    let app = Router::new().route("/api/v1/query", post(query)).with_state(shared.clone());
    // `serve` never returns.
    match certificate {
        None => Task::spawn(async move { drop(axum::serve(listener, app).await) }),
        Some(certificate) => {
            let listener = tls::Listener::new(listener, certificate);
            Task::spawn(async move { drop(axum::serve(listener, app).await) })
        }
    }
}

async fn query(
    State(shared): State<Arc<Mutex<Shared>>>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> Response {
    let text = form.get("query").map(String::as_str).unwrap_or_default();
    let (fault, series) = {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.queries.push((Instant::now(), text.to_owned()));
        let own = shared.of_queries.iter().find(|(part, _)| text.contains(part));
        let fault = own.map_or(&shared.fault, |(_, fault)| fault);
        (fault.clone(), shared.series.clone())
    };
    let ahead = if let Fault::Clock(seconds) = fault { seconds } else { 0 };
    let now = Utc::now() + TimeDelta::seconds(ahead);
    match &fault {
        Fault::Token(token) => {
            let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            if sent != Some(&*format!("Bearer {token}")) {
                return (StatusCode::UNAUTHORIZED, "wrong or missing token").into_response();
            }
        }
        Fault::Slow(time) => tokio::time::sleep(*time).await,
        Fault::Answer(status, text) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return (status, text.clone()).into_response();
        }
        Fault::GoogleManaged => {
            if let Some(refusal) = google_refusal(&form) {
                return (StatusCode::BAD_REQUEST, refusal.to_string()).into_response();
            }
        }
        _ => {}
    }
    let body = answer(text, &series, &fault, now);
    let date = now.to_rfc2822().replace("+0000", "GMT");
    (
        [(header::DATE, date), (header::CONTENT_TYPE, "application/json".to_owned())],
        body.to_string(),
    )
        .into_response()
}

/// Returns the body by which Google's managed Prometheus refuses a request. The texts are those of
/// issues 1054 and 1601 of GoogleCloudPlatform/prometheus-engine.
fn google_refusal(form: &BTreeMap<String, String>) -> Option<Value> {
    let known = ["query", "time", "timeout"];
    if let Some(name) = form.keys().find(|name| !known.contains(&&***name)) {
        let message = format!(
            "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. \
             Field '{name}' could not be found in request message."
        );
        let error = json!({"code": 400, "message": message, "status": "INVALID_ARGUMENT"});
        return Some(json!({"error": error}));
    }
    let has_regex = form.get("query").is_some_and(|query| query.contains("__name__=~"));
    has_regex.then(|| {
        json!({
            "status": "error",
            "errorType": "bad_data",
            "error": "invalid parameter \"query\": substitute queries failed: convert vector \
                      selector failed: =~ is an unsupported matchtype for the __name__ label: \
                      invalid argument",
        })
    })
}

/// Evaluates a selector with a range, or a series name.
fn answer(query: &str, series: &[Series], fault: &Fault, now: DateTime<Utc>) -> Value {
    let copies: &[(&str, &str)] = match fault {
        Fault::Empty => &[],
        Fault::TwoJobs => &[("job", "a"), ("job", "b")],
        Fault::TwoAddresses => &[("instance", "10.0.0.1:1"), ("instance", "10.0.0.1:2")],
        Fault::TwoClusters if query.contains(r#"cluster="a""#) => &[("cluster", "a")],
        Fault::TwoClusters => &[("cluster", "a"), ("cluster", "b")],
        _ => &[("job", "pods")],
    };
    let age = if let Fault::Stale(age) = fault { age.as_secs().cast_signed() } else { 1 };
    let chosen = series.iter().filter(|series| selects(query, series));
    let copies = chosen.flat_map(|series| copies.iter().map(move |copy| (series, copy)));
    // Series of one page have the times of its scrapes in common, in each of several answers too.
    let scraped = match fault {
        Fault::GoogleManaged => (now.timestamp() / SCRAPED_EVERY * SCRAPED_EVERY) as f64,
        _ => now.timestamp_millis() as f64 / 1000.0,
    };
    let at = |back: i64| scraped - back as f64;
    let value = |series: &Series| series.value.to_string();
    let is_range = query.ends_with(']');
    let result: Vec<Value> = copies
        .map(|(series, (name, label))| {
            let mut metric = series.labels.clone();
            metric.insert("__name__".to_owned(), series.name.clone());
            metric.insert((*name).to_owned(), (*label).to_owned());
            if is_range {
                let times = (0..6).rev().map(|n| age + n * SCRAPED_EVERY);
                let values: Vec<Value> =
                    times.map(|back| json!([at(back), value(series)])).collect();
                json!({"metric": metric, "values": values})
            } else {
                json!({"metric": metric, "value": [at(0), value(series)]})
            }
        })
        .collect();
    let kind = if is_range { "matrix" } else { "vector" };
    let warnings: Vec<&str> =
        if *fault == Fault::Partial { vec!["a store did not answer"] } else { Vec::new() };
    json!({
        "status": "success",
        "data": {"resultType": kind, "result": result},
        "warnings": warnings,
    })
}

/// Returns true if the query selects the series: the query must contain its name and its namespace.
fn selects(query: &str, series: &Series) -> bool {
    let listed = |label: &str, value: &str| {
        let start = query.find(&format!("{label}=")).map(|at| at + label.len() + 1);
        let Some(rest) = start.map(|at| query[at..].trim_start_matches('~')) else { return false };
        let values = rest.split('"').nth(1).unwrap_or_default();
        values.split('|').any(|listed| listed.replace('\\', "") == value)
    };
    if !query.contains("__name__") {
        return query == series.name;
    }
    let namespace = series.labels.get("namespace").map(String::as_str).unwrap_or_default();
    listed("__name__", &series.name) && listed("namespace", namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_namespaces_select() {
        let series = Series {
            name: "a:b".to_owned(),
            labels: BTreeMap::from([("namespace".to_owned(), "models".to_owned())]),
            value: 1.0,
        };
        let table = [
            (r#"{__name__="a:b",namespace="models"}[1m]"#, true),
            (r#"{__name__=~"x|a:b",namespace=~"other|models"}[1m]"#, true),
            (r#"{__name__="a:bc",namespace="models"}[1m]"#, false),
            (r#"{__name__="a:b",namespace="other"}[1m]"#, false),
            ("a:b", true),
            ("sum(a:b)", false),
        ];
        for (query, expected) in table {
            assert_eq!(selects(query, &series), expected, "{query}");
        }
    }
}
