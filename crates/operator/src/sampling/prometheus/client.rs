//! One query to one server.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use llm_autoscaler_engines::prometheus::{QueryResponse, ResponseError, duration};
use reqwest::{StatusCode, header};

use crate::sampling::prometheus::ServerKey;
use crate::sampling::{
    connection::innermost,
    credentials::{AccessError, Gate},
    http_client::{self, BodyError},
};

/// The largest answer that is read.
const LIMIT: usize = 64 << 20;

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// What would let us in cannot be had.
    #[error("{0}")]
    Access(#[from] AccessError),
    /// Nothing listens there, or the connection broke.
    #[error("{url}: {problem}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What the network said.
        problem: String,
    },
    /// There was no complete answer in time.
    #[error("{url}: no answer within {} s", .after.as_secs())]
    Timeout {
        /// What was asked.
        url: String,
        /// The timeout.
        after: Duration,
    },
    /// The server does not let us in, or has no such path.
    #[error("{url}: answered with HTTP {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The status code.
        status: u16,
    },
    /// The answer does not end.
    #[error("{url}: the answer is larger than {LIMIT} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
    },
    /// The answer is none.
    #[error("{url}: {problem}")]
    Answer {
        /// What was asked.
        url: String,
        /// Why.
        problem: ResponseError,
    },
}

impl QueryError {
    /// A word for a counter.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Access(_) => "access",
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::Status { .. } => "status",
            Self::TooLarge { .. } => "too_large",
            Self::Answer { .. } => "answer",
        }
    }
}

/// A query.
pub(super) struct Question {
    pub(super) query: String,
    /// How old a sample may be, where the query itself does not say.
    pub(super) lookback: Option<Duration>,
    pub(super) timeout: Duration,
}

/// An answer.
pub(super) struct Answered {
    pub(super) answer: QueryResponse,
    /// The server's time, in seconds since 1970; ours if it does not say.
    pub(super) now: f64,
    /// How far it is ahead of ours, if the server says.
    pub(super) ahead: Option<f64>,
}

/// Asks servers.
pub(super) struct Asker {
    gate: Gate,
}

impl Asker {
    pub(super) fn new(gate: Gate) -> Self {
        Self { gate }
    }

    pub(super) async fn ask(
        &self,
        server: &ServerKey,
        question: &Question,
    ) -> Result<Answered, QueryError> {
        let url = format!("{}/api/v1/query", server.url);
        match tokio::time::timeout(question.timeout, self.fetch(&url, server, question)).await {
            Ok(result) => result,
            Err(_) => Err(QueryError::Timeout { url, after: question.timeout }),
        }
    }

    async fn fetch(
        &self,
        url: &str,
        server: &ServerKey,
        question: &Question,
    ) -> Result<Answered, QueryError> {
        let unreachable = |error: reqwest::Error| QueryError::Unreachable {
            url: url.to_owned(),
            problem: innermost(&error.without_url()),
        };
        let namespace = server.namespace.as_deref().unwrap_or_default();
        let admission = self.gate.to_server(namespace, &server.access).await?;
        let request = admission.client.post(url).headers(admission.headers.clone());
        let mut response = request.form(&form(question)).send().await.map_err(unreachable)?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            self.gate.refused(namespace, &server.access, false).await;
        }
        let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        let mut body = Vec::new();
        match http_client::read_body(&mut response, &mut body, LIMIT).await {
            Ok(()) => {}
            Err(BodyError::TooLarge) => return Err(QueryError::TooLarge { url: url.to_owned() }),
            Err(BodyError::Broken(error)) => return Err(unreachable(error)),
        }
        let ours = Utc::now().timestamp_millis() as f64 / 1000.0;
        // A date is of whole seconds: on average half of one has gone by since.
        let theirs = date.map(|date| date.timestamp() as f64 + 0.5);
        match QueryResponse::parse(&body) {
            Ok(answer) if status.is_success() => Ok(Answered {
                answer,
                now: theirs.unwrap_or(ours),
                ahead: theirs.map(|theirs| theirs - ours),
            }),
            // Prometheus explains its refusals in its own format, whatever the status.
            Err(problem @ ResponseError::Rejected { .. }) => {
                Err(QueryError::Answer { url: url.to_owned(), problem })
            }
            Err(problem) if status.is_success() => {
                Err(QueryError::Answer { url: url.to_owned(), problem })
            }
            _ => Err(QueryError::Status { url: url.to_owned(), status: status.as_u16() }),
        }
    }
}

/// The parameters of an instant query. `lookback_delta` is how long Prometheus takes a sample for current: by itself five
/// minutes, in which a dead pod lives on. Servers that do not know the parameter pass it over.
fn form(question: &Question) -> BTreeMap<&'static str, String> {
    let mut form = BTreeMap::from([
        ("query", question.query.clone()),
        ("timeout", duration(question.timeout)),
    ]);
    if let Some(lookback) = question.lookback {
        form.insert("lookback_delta", duration(lookback));
    }
    form
}
