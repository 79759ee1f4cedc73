//! The scrape of a metrics page.

use std::{sync::Arc, time::Duration};

use llm_autoscaler_api::Access;
use llm_autoscaler_engines::exposition::PageError;

use crate::sampling::{
    connection::{Address, Connection},
    credentials::{CredentialStore, Peer},
    error::{FetchError, FetchProblem},
    page_state::Timing,
};

/// The size of the largest page that is accepted. An engine's page has 45 to 80 kB.
const LIMIT: usize = 4 << 20;

/// Connections are kept open between scrapes at a shorter interval than this: common servers close
/// idle connections after 5 s.
const KEPT_FOR: Duration = Duration::from_secs(4);

/// Scrapes the page of one pod.
pub(crate) struct Scraper {
    credentials: CredentialStore,
    namespace: String,
    access: Arc<Access>,
    address: Address,
    url: String,
    connection: Connection,
}

impl Scraper {
    /// Returns a scraper of a page of a pod in `namespace`.
    pub(crate) fn new(
        credentials: CredentialStore,
        namespace: String,
        access: Arc<Access>,
        address: Address,
    ) -> Self {
        let url = address.url();
        Self { credentials, namespace, access, address, url, connection: Connection::default() }
    }

    /// Reads the page into `page`, which it clears first.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub(crate) async fn scrape(
        &mut self,
        timing: &Timing,
        page: &mut Vec<u8>,
    ) -> Result<(), FetchError> {
        page.clear();
        let keep = timing.interval < KEPT_FOR;
        let fetched = tokio::time::timeout(timing.timeout, self.fetch(keep, page)).await;
        if !matches!(fetched, Ok(Ok(()))) {
            self.connection.close();
        }
        fetched.unwrap_or_else(|_| Err(self.error(FetchProblem::Timeout(timing.timeout))))
    }

    /// Returns the error of a response that is not a valid page.
    pub(crate) fn invalid(&self, error: &PageError) -> FetchError {
        self.error(FetchProblem::Invalid(error.to_string()))
    }

    fn error(&self, problem: FetchProblem) -> FetchError {
        FetchError::Request { url: self.url.clone(), problem }
    }

    async fn fetch(&mut self, keep: bool, page: &mut Vec<u8>) -> Result<(), FetchError> {
        let config = self.credentials.for_pods(&self.namespace, &self.access).await?;
        let response = self.connection.get(&self.address, &config, keep, page, LIMIT).await;
        if response.as_ref().is_err_and(FetchProblem::rejects_credentials) {
            self.credentials.invalidate(&self.namespace, &self.access, Peer::Pods).await;
        }
        response.map_err(|problem| self.error(problem))
    }
}
