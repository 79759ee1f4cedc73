//! One read of one metrics page.

use std::{sync::Arc, time::Duration};

use llm_autoscaler_api::Access;

use crate::sampling::{
    connection::{Address, Connection, Failure},
    credentials::{AccessError, Gate},
};

/// The largest page that is read. A real engine's page is 45 to 80 kB.
const LIMIT: usize = 4 << 20;

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

/// Connections are kept between reads that are less apart than this: common servers close them after 5 s.
const KEPT_FOR: Duration = Duration::from_secs(4);

/// Reads the page of one pod, again and again.
pub struct Scraper {
    gate: Gate,
    namespace: String,
    access: Arc<Access>,
    address: Address,
    url: String,
    connection: Connection,
}

impl Scraper {
    /// Is let in to a pod of `namespace` by `gate`.
    pub fn new(gate: Gate, namespace: String, access: Arc<Access>, address: Address) -> Self {
        let url = address.url();
        Self { gate, namespace, access, address, url, connection: Connection::default() }
    }

    /// Reads the page into `page`, which is emptied first. The next read is planned in `interval`.
    ///
    /// # Errors
    /// See [`ScrapeError`].
    pub async fn read(
        &mut self,
        timeout: Duration,
        interval: Duration,
        page: &mut Vec<u8>,
    ) -> Result<(), ScrapeError> {
        page.clear();
        let keep = interval < KEPT_FOR;
        let read = tokio::time::timeout(timeout, self.fetch(keep, page)).await;
        if !matches!(read, Ok(Ok(()))) {
            self.connection.close();
        }
        read.unwrap_or_else(|_| Err(ScrapeError::Timeout { url: self.url.clone(), after: timeout }))
    }

    /// The page's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn fetch(&mut self, keep: bool, page: &mut Vec<u8>) -> Result<(), ScrapeError> {
        let manner = self.gate.to_pods(&self.namespace, &self.access).await?;
        let url = || self.url.clone();
        match self.connection.read(&self.address, &manner, keep, page, LIMIT).await {
            Ok(()) => Ok(()),
            Err(Failure::Network(problem)) => Err(ScrapeError::Unreachable { url: url(), problem }),
            Err(Failure::TooLarge) => Err(ScrapeError::TooLarge { url: url() }),
            Err(Failure::Status(status)) => {
                if matches!(status, 401 | 403) {
                    self.gate.refused(&self.namespace, &self.access, true).await;
                }
                Err(ScrapeError::Status { url: url(), status })
            }
        }
    }
}
