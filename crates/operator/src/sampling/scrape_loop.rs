//! The loop that scrapes one page.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use llm_autoscaler_engines::exposition::{Extract, PageError, Scratch};
use tokio::time::{Instant, sleep_until};

use crate::{
    clock::Clock,
    lanes::Lanes,
    lock::lock,
    sampling::{
        credentials::CredentialStore,
        error::FetchError,
        feed::Feed,
        page_state::{PageKey, PageState, ScrapeResult, ScrapedPage},
        schedule::Schedule,
        scrape::Scraper,
    },
    supervise::{Panic, Supervisor},
    telemetry::Telemetry,
};

/// The first scrape of a page is within this time, at the page's phase, so that the pages of many
/// new pods are not scraped at the same moment.
const FIRST_WITHIN: Duration = Duration::from_millis(200);
/// The number of concurrent scrapes in one namespace. Pods that never respond delay the scrapes of
/// their own namespace only.
const CONCURRENCY: usize = 128;
/// The largest capacity of a page buffer that is kept, in bytes.
const KEPT_CAPACITY: usize = 1 << 20;

/// A page and its samples, which one task scrapes for all subscribers.
pub(crate) type ScrapeLoop = Feed<PageKey, PageState>;

/// The resources that all scrape loops share.
pub(crate) struct ScrapeContext {
    credentials: CredentialStore,
    permits: Lanes,
    telemetry: Telemetry,
    buffers: BufferPool,
    clock: Clock,
    supervisor: Supervisor,
}

/// The memory of one scrape. It is reused.
#[derive(Default)]
struct ScrapeBuffers {
    page: Vec<u8>,
    scratch: Scratch,
    extracts: Vec<Extract>,
}

/// The buffers that no scrape uses.
#[derive(Default)]
struct BufferPool(Mutex<Vec<ScrapeBuffers>>);

impl BufferPool {
    fn acquire(&self) -> ScrapeBuffers {
        lock(&self.0).pop().unwrap_or_default()
    }

    fn release(&self, mut buffers: ScrapeBuffers) {
        // An unusually large page must not occupy its memory forever.
        if buffers.page.capacity() > KEPT_CAPACITY {
            buffers.page = Vec::new();
        }
        lock(&self.0).push(buffers);
    }
}

impl ScrapeContext {
    pub(crate) fn new(credentials: CredentialStore, telemetry: Telemetry, clock: Clock) -> Self {
        let (permits, buffers) = (Lanes::new(CONCURRENCY), BufferPool::default());
        let supervisor = Supervisor::new(telemetry.clone(), clock);
        Self { credentials, permits, telemetry, buffers, clock, supervisor }
    }
}

/// Scrapes one page until the task is aborted. A panic is the error of a scrape.
pub(crate) async fn run(context: Arc<ScrapeContext>, page: Arc<ScrapeLoop>) {
    let start = || scrape_repeatedly(context.clone(), page.clone());
    context.supervisor.repeat("page", start, |panic| fail(&context, &page, panic)).await;
}

/// Records a panic, and wakes the subscribers.
fn fail(context: &ScrapeContext, page: &ScrapeLoop, panic: &Panic) {
    let error = FetchError::Internal(panic.clone());
    context.telemetry.record_scrape(error.kind());
    let (measures, at) = (page.state().measures(), context.clock.monotonic());
    record(page, ScrapeResult { measures, at, error: Some(error), page: None });
}

/// Records the result of a scrape, and wakes the subscribers.
fn record(page: &ScrapeLoop, result: ScrapeResult<'_>) {
    let subscribers = page.state().record_scrape(result);
    for subscriber in subscribers {
        subscriber.notify_one();
    }
}

async fn scrape_repeatedly(context: Arc<ScrapeContext>, page: Arc<ScrapeLoop>) {
    let PageKey { namespace, address, access, .. } = page.key.clone();
    let mut scraper = Scraper::new(context.credentials.clone(), namespace, access, address);
    let mut schedule = Schedule::new(Instant::now() + page.phase(FIRST_WITHIN));
    loop {
        tokio::select! {
            biased;
            () = sleep_until(schedule.next()) => {
                let ok = scrape(&context, &page, &mut scraper, schedule.next()).await;
                schedule.record_read(ok);
            }
            () = page.changed.notified() => {
                if schedule.has_begun() && page.state().has_new_measures() {
                    schedule.tick_now(Instant::now());
                    continue;
                }
            }
        }
        let interval = page.state().timing().interval;
        schedule.plan_next(interval, page.phase(interval), Instant::now());
    }
}

/// Scrapes one page once, and wakes its subscribers. Returns true if the page is valid.
async fn scrape(
    context: &ScrapeContext,
    page: &ScrapeLoop,
    scraper: &mut Scraper,
    due: Instant,
) -> bool {
    let _permit = context.permits.enter(&page.key.namespace).await;
    context.telemetry.record_lateness(due.elapsed());
    let (measures, timing) = {
        let mut state = page.state();
        (state.measures(), state.timing())
    };
    let mut buffers = context.buffers.acquire();
    let ScrapeBuffers { page: bytes, scratch, extracts } = &mut buffers;
    let response = scraper.scrape(&timing, bytes).await;
    let at = context.clock.monotonic();
    let (is_valid, error) = match response {
        Err(error) => (false, Some(error)),
        Ok(()) => match measures.extractor.read(bytes, scratch, extracts) {
            Ok(_) => (true, None),
            // A bad line does not invalidate the quantities that do not need it.
            Err(error) => {
                let is_valid = matches!(error, PageError::BadLine { .. });
                (is_valid, Some(scraper.invalid(&error)))
            }
        },
    };
    context.telemetry.record_scrape(error.as_ref().map_or("ok", FetchError::kind));
    let valid = is_valid.then_some(ScrapedPage { bytes, extracts });
    record(page, ScrapeResult { measures, at, error, page: valid });
    context.buffers.release(buffers);
    is_valid
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use llm_autoscaler_api::Access;
    use llm_autoscaler_engines::{Kind, Measure, Recipe};
    use tokio::sync::Notify;

    use super::*;
    use crate::{
        kube_api::stand_in::{Answer, Received, StandIn},
        sampling::{
            connection::Address, egress::Egress, feed::FeedRegistry, page_state::PageSubscription,
        },
    };

    #[tokio::test]
    async fn a_page_whose_task_panics_has_an_error_and_tells_its_subscribers() {
        let api = StandIn::start(|_: &Received| Answer::Never).await;
        let (telemetry, clock) = (Telemetry::default(), Clock::start());
        let credentials = CredentialStore::new(api.client.clone(), Egress::default()).unwrap();
        let context = ScrapeContext::new(credentials, telemetry.clone(), clock);
        let address =
            Address { ip: [10, 0, 0, 7].into(), port: 1, tls: false, path: "/m".to_owned() };
        let key = PageKey {
            namespace: "ns".to_owned(),
            pod_uid: "1".to_owned(),
            address,
            access: Arc::new(Access::default()),
        };
        let (wake, second) = (Arc::new(Notify::new()), Duration::from_secs(1));
        let recipe = Recipe::series(Kind::Gauge, "q", []);
        let measures = [Arc::new(Measure { recipe, window: Duration::ZERO })].into();
        let subscription =
            PageSubscription { interval: second, timeout: second, measures, wake: wake.clone() };
        let registry = FeedRegistry::<PageKey, PageState>::default();
        let never = |_| std::future::pending();
        let page = registry.subscribe(registry.new_subscriber(), &key, subscription, never);

        let panic = Supervisor::impatient().call("page", || panic!("index out of bounds"));
        fail(&context, &page, &panic.unwrap_err());
        let error = page.state().error().map(ToString::to_string).unwrap();
        assert!(
            error.contains("index out of bounds") && error.contains("InternalError"),
            "{error}"
        );
        assert!(page.state().valid_at().is_none() && !page.state().is_latest());
        assert!(wake.notified().now_or_never().is_some());
        assert!(telemetry.page().contains("scrapes_total{result=\"internal\"} 1\n"));
    }
}
