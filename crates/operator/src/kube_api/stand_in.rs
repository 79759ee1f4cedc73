//! An API server for tests, which answers as a test wants: refuses, hangs, falls silent.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{Response, StatusCode},
};
use futures::{StreamExt, stream};
use kube::Client;
use serde_json::{Value, json};

use crate::lock::lock;

/// A request that the stand-in has received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The method.
    pub method: String,
    /// The path and the query.
    pub path: String,
    /// The body; null without one.
    pub body: Value,
    /// The form that the answer is asked for in.
    accept: String,
}

impl Received {
    /// Returns true for a request for a watch.
    pub(crate) fn is_watch(&self) -> bool {
        self.path.contains("watch=true")
    }

    /// Returns true for a request that asks for the metadata of objects alone.
    pub(crate) fn is_for_metadata(&self) -> bool {
        self.accept.contains("as=PartialObjectMetadata")
    }

    /// Returns the number that a parameter of the query has.
    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        let query = self.path.split_once('?')?.1;
        let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")))?;
        value.parse().ok()
    }
}

/// The answer to a request.
pub(crate) enum Answer {
    /// A status and a body.
    Json(u16, Value),
    /// The changes of a watch, which then ends.
    Changes(Vec<Value>),
    /// The changes of a watch, which then falls silent.
    Silence(Vec<Value>),
    /// None, ever.
    Never,
}

impl Answer {
    /// A refusal with this status.
    pub(crate) fn refusal(code: u16) -> Self {
        let message = format!("refused with {code}");
        Self::Json(
            code,
            json!({"kind": "Status", "status": "Failure", "code": code,
            "message": message, "reason": "Test"}),
        )
    }
}

/// An API server for tests.
pub(crate) struct StandIn {
    /// A client of it.
    pub client: Client,
    received: Arc<Mutex<Vec<Received>>>,
}

impl StandIn {
    /// Starts it. It ends with the test's runtime.
    pub(crate) async fn start(
        answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (received, answer) = (Arc::<Mutex<Vec<Received>>>::default(), Arc::new(answer));
        let log = received.clone();
        let app = Router::new().fallback(move |request: Request| {
            let (log, answer) = (log.clone(), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let accept = head.headers.get("accept").map(|it| it.to_str().unwrap().to_owned());
                let request = Received {
                    accept: accept.unwrap_or_default(),
                    method: head.method.to_string(),
                    path: head.uri.to_string(),
                    body: serde_json::from_slice(&body).unwrap_or_default(),
                };
                lock(&log).push(request.clone());
                response(answer(&request)).await
            }
        });
        let serve = async move { axum::serve(listener, app).await.unwrap() };
        #[expect(clippy::disallowed_methods, reason = "a panic fails the test")]
        tokio::spawn(serve);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        Self { client: Client::try_from(config).unwrap(), received }
    }

    /// Returns the requests so far that match.
    pub(crate) fn received(&self, matches: impl Fn(&Received) -> bool) -> Vec<Received> {
        lock(&self.received).iter().filter(|request| matches(request)).cloned().collect()
    }
}

async fn response(answer: Answer) -> Response<Body> {
    let (code, body) = match answer {
        Answer::Json(code, value) => (code, Body::from(value.to_string())),
        Answer::Changes(changes) => (200, Body::from_stream(stream::iter(lines(&changes)))),
        Answer::Silence(changes) => {
            let silence = stream::iter(lines(&changes)).chain(stream::pending());
            (200, Body::from_stream(silence))
        }
        Answer::Never => std::future::pending().await,
    };
    let status = StatusCode::from_u16(code).unwrap();
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(body).unwrap()
}

fn lines(changes: &[Value]) -> Vec<Result<Bytes, std::io::Error>> {
    changes.iter().map(|change| Ok(format!("{change}\n").into())).collect()
}

/// Waits until something is true.
///
/// # Panics
/// It is not true within 10 s.
pub(crate) async fn until(what: &str, is_true: impl Fn() -> bool) {
    for _ in 0..2000 {
        if is_true() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("not in time: {what}");
}
