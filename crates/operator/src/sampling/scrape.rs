//! The scrape of a metrics page.

use std::{sync::Arc, time::Duration};

use llm_autoscaler_api::Access;
use llm_autoscaler_engines::exposition::PageError;
use tokio::time::{Instant, timeout_at};

use crate::sampling::{
    body::Body,
    connection::{Address, Connection},
    credentials::{CredentialStore, Peer},
    error::{FetchError, FetchProblem},
    memory::NamespaceBudget,
    page_state::Timing,
};

/// The size of the largest page that is accepted. An engine's page has 45 to 80 kB.
const LIMIT: usize = 4 << 20;
/// The memory that is reserved for a page of unknown size, in bytes.
const UNKNOWN: usize = 64 << 10;
/// Parsing a page larger than this reserves as much memory as the page has.
const PARSED_BY_THE_WAY: usize = 256 << 10;

/// Connections are kept open between scrapes at a shorter interval than this: common servers close
/// idle connections after 5 s.
const KEPT_FOR: Duration = Duration::from_secs(4);

/// Returns the memory that reading and parsing a page of this many bytes takes.
fn needed(length: usize) -> usize {
    if length > PARSED_BY_THE_WAY { 2 * length } else { length }
}

/// Scrapes the page of one pod.
pub(crate) struct Scraper {
    credentials: CredentialStore,
    namespace: String,
    access: Arc<Access>,
    address: Address,
    url: String,
    connection: Connection,
    memory: NamespaceBudget,
    /// The memory that the next page will take, by what the latest one took.
    expected: usize,
}

impl Scraper {
    /// Returns a scraper of a page of a pod in `namespace`.
    pub(crate) fn new(
        credentials: CredentialStore,
        namespace: String,
        access: Arc<Access>,
        address: Address,
        memory: NamespaceBudget,
    ) -> Self {
        let (url, connection, expected) = (address.url(), Connection::default(), UNKNOWN);
        Self { credentials, namespace, access, address, url, connection, memory, expected }
    }

    /// Reads the page, into the memory of `buffer`. It waits for the share of the namespace in the
    /// budget of memory, within the timeout.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub(crate) async fn scrape(
        &mut self,
        timing: &Timing,
        buffer: Vec<u8>,
    ) -> Result<Body, FetchError> {
        let deadline = Instant::now() + timing.timeout;
        let Ok(memory) = timeout_at(deadline, self.memory.reserve(self.expected)).await else {
            return Err(self.error(FetchProblem::NoTurn(timing.timeout)));
        };
        let mut page = Body::new(buffer, LIMIT, memory);
        let keep = timing.interval < KEPT_FOR;
        let fetched = timeout_at(deadline, self.fetch(keep, &mut page)).await;
        let fetched =
            fetched.unwrap_or_else(|_| Err(self.error(FetchProblem::Timeout(timing.timeout))));
        let fetched = fetched.and_then(|()| self.reserve_parsing(&mut page));
        if fetched.is_err() {
            self.connection.close();
        }
        self.expected = match &fetched {
            Err(FetchError::Request { problem: FetchProblem::NoMemory(_), .. }) => {
                2 * page.memory().bytes()
            }
            _ => needed(page.bytes().len()) * 9 / 8,
        };
        self.expected = self.expected.clamp(UNKNOWN, 2 * LIMIT);
        fetched.map(|()| page)
    }

    /// Reserves the memory that parsing a large page takes beside it.
    fn reserve_parsing(&self, page: &mut Body) -> Result<(), FetchError> {
        let needed = needed(page.bytes().len());
        page.memory().grow_to(needed).map_err(|problem| self.error(problem.into()))
    }

    /// Returns the namespace's share of the budget of memory.
    pub(crate) fn memory(&self) -> &NamespaceBudget {
        &self.memory
    }

    /// Returns the error of a response that is not a valid page.
    pub(crate) fn invalid(&self, error: &PageError) -> FetchError {
        self.error(FetchProblem::Invalid(error.to_string()))
    }

    fn error(&self, problem: FetchProblem) -> FetchError {
        FetchError::Request { url: self.url.clone(), problem }
    }

    async fn fetch(&mut self, keep: bool, page: &mut Body) -> Result<(), FetchError> {
        let config = self.credentials.for_pods(&self.namespace, &self.access).await?;
        let response = self.connection.get(&self.address, &config, keep, page).await;
        if response.as_ref().is_err_and(FetchProblem::rejects_credentials) {
            self.credentials.invalidate(&self.namespace, &self.access, Peer::Pods).await;
        }
        response.map_err(|problem| self.error(problem))
    }
}
