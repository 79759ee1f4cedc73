//! The scrape of a metrics page.

use std::{sync::Arc, time::Duration};

use llm_autoscaler_engines::exposition::PageError;
use tokio::time::{Instant, timeout_at};

use crate::sampling::{
    body::{Body, Buffers},
    credentials::{CredentialStore, Peer},
    error::{FetchError, FetchProblem},
    memory::NamespaceBudget,
    page_state::{PageKey, Timing},
    scrapes::{KeptScraper, UNKNOWN},
};

/// The size of the largest page that is accepted. An engine's page has 45 to 80 kB.
const LIMIT: usize = 4 << 20;
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
pub(crate) struct Scraper<'a> {
    page: &'a PageKey,
    memory: &'a NamespaceBudget,
    kept: &'a mut KeptScraper,
}

impl<'a> Scraper<'a> {
    /// Returns a scraper of a page.
    pub(crate) fn new(
        page: &'a PageKey,
        memory: &'a NamespaceBudget,
        kept: &'a mut KeptScraper,
    ) -> Self {
        Self { page, memory, kept }
    }

    /// Reads the page, into one of these buffers. It waits for the share of the namespace in the
    /// budget of memory, within the timeout.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub(crate) async fn scrape(
        &mut self,
        credentials: &CredentialStore,
        timing: &Timing,
        buffers: &Arc<Buffers>,
    ) -> Result<Body, FetchError> {
        let deadline = Instant::now() + timing.timeout;
        let Ok(memory) = timeout_at(deadline, self.memory.reserve(self.kept.expected)).await else {
            // The page may be smaller by now, and the share may never be that large again.
            self.kept.expected = (self.kept.expected / 2).max(UNKNOWN);
            return Err(self.error(FetchProblem::NoTurn(timing.timeout)));
        };
        let mut page = Body::new(buffers, LIMIT, memory);
        let keep = timing.interval < KEPT_FOR;
        let fetched = timeout_at(deadline, self.fetch(credentials, keep, &mut page)).await;
        let fetched =
            fetched.unwrap_or_else(|_| Err(self.error(FetchProblem::Timeout(timing.timeout))));
        let fetched = fetched.and_then(|()| self.reserve_parsing(&mut page));
        if fetched.is_err() {
            self.kept.connection.close();
        }
        self.kept.expected = match &fetched {
            Err(FetchError::Request { problem: FetchProblem::NoMemory(_), .. }) => {
                2 * page.memory().bytes()
            }
            _ => needed(page.bytes().len()) * 9 / 8,
        };
        self.kept.expected = self.kept.expected.clamp(UNKNOWN, 2 * LIMIT);
        fetched.map(|()| page)
    }

    /// Reserves the memory that parsing a large page takes beside it.
    fn reserve_parsing(&self, page: &mut Body) -> Result<(), FetchError> {
        let needed = needed(page.bytes().len());
        page.memory().grow_to(needed).map_err(|problem| self.error(problem.into()))
    }

    /// Returns the error of a response that is not a valid page.
    pub(crate) fn invalid(&self, error: &PageError) -> FetchError {
        self.error(FetchProblem::Invalid(error.to_string()))
    }

    fn error(&self, problem: FetchProblem) -> FetchError {
        FetchError::Request { url: self.page.address.url(), problem }
    }

    async fn fetch(
        &mut self,
        credentials: &CredentialStore,
        keep: bool,
        page: &mut Body,
    ) -> Result<(), FetchError> {
        let PageKey { namespace, address, access, .. } = self.page;
        let config = credentials.for_pods(namespace, access).await?;
        let response = self.kept.connection.get(address, &config, keep, page).await;
        if response.as_ref().is_err_and(FetchProblem::rejects_credentials) {
            credentials.invalidate(namespace, access, Peer::Pods).await;
        }
        response.map_err(|problem| self.error(problem))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        kube_api::stand_in::{Answer, Received, StandIn},
        sampling::{
            connection::Address,
            egress::{Egress, EgressRules},
            memory::MemoryBudget,
        },
        telemetry::Telemetry,
    };

    /// Serves one small page again and again. Returns the port.
    async fn small_page() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let response = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nq 1\n";
                let _ = stream.write_all(response).await;
            }
        });
        port
    }

    /// It used to wait for the memory of its former size for ever.
    #[tokio::test]
    async fn a_page_that_was_large_needs_less_memory_once_it_has_waited_for_it() {
        let api = StandIn::start(|_: &Received| Answer::Never).await;
        let loopback = Egress::new(EgressRules { loopback: true, ..EgressRules::default() });
        let credentials = CredentialStore::new(api.client.clone(), loopback).unwrap();
        let (ip, port) = ([127, 0, 0, 1].into(), small_page().await);
        let page = PageKey {
            namespace: "ns".into(),
            pod_uid: "1".into(),
            address: Address { ip, port, tls: false, path: "/m".into() },
            access: Arc::default(),
        };
        let budget = MemoryBudget::new(16 << 20, Telemetry::default());
        let memory = budget.of("ns");
        let mut kept = KeptScraper { expected: 2 * LIMIT, ..KeptScraper::default() };
        let mut scraper = Scraper::new(&page, &memory, &mut kept);
        let _windows = memory.reserve(1 << 20).await;
        let timing =
            Timing { interval: Duration::from_secs(9), timeout: Duration::from_millis(500) };
        let first = scraper.scrape(&credentials, &timing, &Arc::default()).await.err();
        let told = first.map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains("had all of its share of --memory-budget"), "{told}");
        let second = scraper.scrape(&credentials, &timing, &Arc::default()).await;
        assert_eq!(second.unwrap().bytes(), b"q 1\n");
    }
}
