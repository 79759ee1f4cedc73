//! One read of one metrics page.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use reqwest::{Client, StatusCode, header};

/// The largest page that is read. A real engine's page is 45 to 80 kB.
const LIMIT: usize = 4 << 20;

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
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::Status { .. } => "status",
            Self::TooLarge { .. } => "too_large",
            Self::NotMetrics { .. } => "not_metrics",
        }
    }
}

/// Reads pages: no proxy, no redirects, connections kept alive.
#[derive(Clone, Debug)]
pub struct Scraper {
    client: Client,
}

impl Scraper {
    /// A client for pods. Their certificates are not checked: a pod's address is in none.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn new() -> reqwest::Result<Self> {
        let mut headers = header::HeaderMap::new();
        // The plain format: no exemplars, no OpenMetrics suffix rules.
        headers.insert(header::ACCEPT, header::HeaderValue::from_static("text/plain;version=0.0.4"));
        let client = Client::builder()
            .default_headers(headers)
            .user_agent(concat!("llm-autoscaler/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .danger_accept_invalid_certs(true)
            .pool_idle_timeout(Duration::from_secs(90))
            .pool_max_idle_per_host(1)
            .build()?;
        Ok(Self { client })
    }

    /// Reads the page at `url` into `page`, which is emptied first and may be used again.
    ///
    /// # Errors
    /// See [`ScrapeError`].
    pub async fn read(&self, url: &str, timeout: Duration, page: &mut Vec<u8>) -> Result<(), ScrapeError> {
        page.clear();
        match tokio::time::timeout(timeout, self.fetch(url, page)).await {
            Ok(result) => result,
            Err(_) => Err(ScrapeError::Timeout { url: url.to_owned(), after: timeout }),
        }
    }

    async fn fetch(&self, url: &str, page: &mut Vec<u8>) -> Result<(), ScrapeError> {
        let unreachable = |error: reqwest::Error| ScrapeError::Unreachable {
            url: url.to_owned(),
            problem: innermost(&error.without_url()),
        };
        let mut response = self.client.get(url).send().await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(ScrapeError::Status { url: url.to_owned(), status: response.status().as_u16() });
        }
        let framed =
            response.content_length().is_some() || response.headers().contains_key(header::TRANSFER_ENCODING);
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if page.len() + chunk.len() > LIMIT {
                return Err(ScrapeError::TooLarge { url: url.to_owned() });
            }
            page.extend_from_slice(&chunk);
        }
        // The parser refuses a last line without an end, which may have been cut off. Where the answer says how
        // long it is, nothing was.
        if framed && page.last().is_some_and(|byte| *byte != b'\n') {
            page.push(b'\n');
        }
        Ok(())
    }
}

/// The cause that says most, such as "Connection refused (os error 111)".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
