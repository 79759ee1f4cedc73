//! One read of one metrics page.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use llm_autoscaler_api::Access;
use reqwest::{StatusCode, header};

use crate::{
    access::{AccessError, Gate},
    http::{self, BodyError, innermost},
};

/// The largest page that is read. A real engine's page is 45 to 80 kB.
const LIMIT: usize = 4 << 20;
/// The plain format: no exemplars, no suffix rules. `OpenMetrics` is understood too, where an exporter knows nothing else;
/// it is not named here, because many exporters prefer it wherever it stands.
const ACCEPT: &str = "text/plain;version=0.0.4, */*;q=0.1";

/// Where a page is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The pod's address.
    pub ip: IpAddr,
    /// The port number.
    pub port: u16,
    /// Whether over TLS.
    pub tls: bool,
    /// The path.
    pub path: String,
}

impl Address {
    /// The address as a URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", SocketAddr::new(self.ip, self.port), self.path)
    }
}

/// Why a page could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScrapeError {
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
    /// The answer was not a page.
    #[error("{url}: answered with HTTP {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The status code.
        status: u16,
    },
    /// The page does not end.
    #[error("{url}: the page is larger than {LIMIT} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
    },
    /// The page is not in Prometheus's text format.
    #[error("{url}: {problem}")]
    NotMetrics {
        /// What was asked.
        url: String,
        /// The parser's words.
        problem: String,
    },
}

impl ScrapeError {
    /// A word for a counter.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Access(_) => "access",
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::Status { .. } => "status",
            Self::TooLarge { .. } => "too_large",
            Self::NotMetrics { .. } => "not_metrics",
        }
    }
}

/// Reads pages.
#[derive(Clone)]
pub struct Scraper {
    gate: Gate,
}

impl Scraper {
    /// Is let in to pods by `gate`.
    pub fn new(gate: Gate) -> Self {
        Self { gate }
    }

    /// Reads the page at `url`, of a pod of `namespace`, into `page`, which is emptied first and may be used again.
    ///
    /// # Errors
    /// See [`ScrapeError`].
    pub async fn read(
        &self,
        url: &str,
        (namespace, access): (&str, &Arc<Access>),
        timeout: Duration,
        page: &mut Vec<u8>,
    ) -> Result<(), ScrapeError> {
        page.clear();
        match tokio::time::timeout(timeout, self.fetch(url, (namespace, access), page)).await {
            Ok(result) => result,
            Err(_) => Err(ScrapeError::Timeout { url: url.to_owned(), after: timeout }),
        }
    }

    async fn fetch(
        &self,
        url: &str,
        (namespace, access): (&str, &Arc<Access>),
        page: &mut Vec<u8>,
    ) -> Result<(), ScrapeError> {
        let unreachable = |error: reqwest::Error| ScrapeError::Unreachable {
            url: url.to_owned(),
            problem: innermost(&error.without_url()),
        };
        let admission = self.gate.admission(namespace, access, true).await?;
        let request = admission.client.get(url).header(header::ACCEPT, ACCEPT);
        let mut response = request.headers(admission.headers.clone()).send().await.map_err(unreachable)?;
        let status = response.status();
        if status != StatusCode::OK {
            if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                self.gate.refused(namespace, access, true).await;
            }
            return Err(ScrapeError::Status { url: url.to_owned(), status: status.as_u16() });
        }
        // An answer that says how long it is, in whatever way, is complete when it ends.
        let headers = response.headers();
        let framed = headers.contains_key(header::CONTENT_LENGTH)
            || headers.contains_key(header::TRANSFER_ENCODING)
            || response.content_length().is_some();
        match http::read_body(&mut response, page, LIMIT).await {
            Ok(()) => {}
            Err(BodyError::TooLarge) => return Err(ScrapeError::TooLarge { url: url.to_owned() }),
            Err(BodyError::Broken(error)) => return Err(unreachable(error)),
        }
        // The parser refuses a last line without an end, which may have been cut off. Where the answer says how
        // long it is, nothing was.
        if framed && page.last().is_some_and(|byte| *byte != b'\n') {
            page.push(b'\n');
        }
        Ok(())
    }
}
