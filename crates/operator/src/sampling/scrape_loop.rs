//! The loop that scrapes all pages: each when it is due, in a task that lasts no longer than the
//! scrape.

use std::{
    sync::{Arc, Once},
    time::Duration,
};

use llm_autoscaler_engines::exposition::{Extract, PageError, PageSummary, Scratch};
use tokio::{
    task::coop::consume_budget,
    time::{Instant, sleep_until},
};
use tracing::Instrument;

use crate::{
    clock::Clock,
    lanes::Lanes,
    sampling::{
        body::{Body, Buffers},
        credentials::CredentialStore,
        error::FetchError,
        measure_set::{MeasureSet, MeasureSets},
        memory::{MemoryBudget, NamespaceBudget},
        page_state::{Page, ScrapeResult, ScrapedPage},
        schedule::{Grid, Ticks},
        scrape::Scraper,
        scrape_queue::ScrapeQueue,
        scrapes::{Kept, KeptScraper},
        spares::Spares,
    },
    spans,
    supervise::{Panic, Supervisor},
    telemetry::Telemetry,
};

/// The first scrape of a page is within this time, at a moment of its own, so that the pages of
/// many new pods are not scraped at once.
const FIRST_WITHIN: Duration = Duration::from_millis(200);
/// The number of concurrent scrapes in one namespace. Pods that never respond delay the scrapes of
/// their own namespace only.
const CONCURRENCY: usize = 128;
/// The number of pages with much work that are parsed in one namespace at the same time.
const PARSED_AT_ONCE: usize = 2;
/// Bytes of a page times measures: more of these are much work. An engine's page has 80 kB.
const MUCH_WORK: usize = 4 << 20;
/// The size of a page, in bytes, from which even a few measures are much work.
const LARGE_PAGE: usize = 256 << 10;
/// The largest memory of the extracted values of a parser that is kept, in bytes.
const KEPT_VALUES: usize = 256 << 10;
/// The largest scratch memory of a parser that is kept, in bytes.
const KEPT_SCRATCH: usize = 1 << 20;

/// The tasks' name in the operator's metrics.
const NAME: &str = "page";

/// The pages that are scraped, and the resources that they share.
pub(crate) struct ScrapeContext {
    queue: ScrapeQueue,
    grid: Grid,
    /// Begins the loop with the first page.
    begun: Once,
    credentials: CredentialStore,
    permits: Lanes,
    parsing: Lanes,
    telemetry: Telemetry,
    buffers: Arc<Buffers>,
    parsers: Parsers,
    clock: Clock,
    supervisor: Supervisor,
    memory: MemoryBudget,
    sets: MeasureSets,
}

/// Memory of parsing that is reused: no more of it is needed than there are threads.
#[derive(Default)]
struct Parsers(Spares<Parser>);

/// The memory of parsing a page.
#[derive(Default)]
struct Parser {
    scratch: Scratch,
    extracts: Vec<Extract>,
}

impl Parser {
    /// Returns the memory of the extracted values, in bytes. That of the scratch depends on the
    /// page.
    fn memory(&self) -> usize {
        self.extracts.iter().map(|extract| extract.value.memory()).sum()
    }
}

impl Parsers {
    fn acquire(&self) -> Parser {
        self.0.acquire()
    }

    /// Takes memory back. That of very many buckets is given to the system.
    fn release(&self, parser: Parser) {
        if parser.memory() <= KEPT_VALUES && parser.scratch.memory() <= KEPT_SCRATCH {
            self.0.release(parser);
        }
    }
}

impl ScrapeContext {
    pub(crate) fn new(
        credentials: CredentialStore,
        telemetry: Telemetry,
        clock: Clock,
        memory: MemoryBudget,
    ) -> Self {
        let (permits, parsing) = (Lanes::new(CONCURRENCY), Lanes::new(PARSED_AT_ONCE));
        let (buffers, parsers) = (Arc::default(), Parsers::default());
        Self {
            queue: ScrapeQueue::default(),
            grid: Grid::new(Instant::now()),
            begun: Once::new(),
            credentials,
            permits,
            parsing,
            supervisor: Supervisor::new(telemetry.clone(), clock),
            telemetry,
            buffers,
            parsers,
            clock,
            memory,
            sets: MeasureSets::default(),
        }
    }

    /// Begins to scrape a page.
    pub(crate) fn begin(self: &Arc<Self>, page: &Arc<Page>) {
        self.begun.call_once(|| {
            let context = self.clone();
            self.supervisor.spawn(NAME, async move {
                let start = || look_at_pages(context.clone());
                context.supervisor.repeat(NAME, start, |_| {}).await;
            });
        });
        self.queue.begin(page, Instant::now() + FIRST_WITHIN.mul_f64(page.phase_hash.fraction()));
    }

    /// Takes note that the subscriptions of a page have changed, or that a scrape at once was asked
    /// for.
    pub(crate) fn note_change(&self, page: &Arc<Page>) {
        self.queue.note_change(page);
    }

    /// Ends the scrapes of a page.
    pub(crate) fn end(&self, page: &Arc<Page>) {
        self.queue.end(page);
    }
}

/// Looks at each page at its moment, for the life of the process.
async fn look_at_pages(context: Arc<ScrapeContext>) {
    loop {
        let Some((at, page)) = context.queue.first() else {
            context.queue.sooner().await;
            continue;
        };
        // Of the pages that are due at one tick, only the first one needs a timer.
        if at <= Instant::now() {
            consume_budget().await;
        } else {
            tokio::select! {
                biased;
                () = sleep_until(at) => {}
                () = context.queue.sooner() => continue,
            }
        }
        context.queue.look_at(at, &page, |kept, has_changed| {
            let look = look_at(context.clone(), page.clone(), kept, has_changed);
            context.supervisor.spawn(NAME, look)
        });
    }
}

/// Scrapes a page if it is due, and plans its next scrape. A panic is the error of a scrape; the
/// page begins again after a while.
async fn look_at(context: Arc<ScrapeContext>, page: Arc<Page>, mut kept: Kept, has_changed: bool) {
    // In a box, so that the supervision costs no memory of the size of its own.
    let scraped = Box::pin(scrape_if_due(&context, &page, &mut kept, has_changed));
    if let Err(panic) = context.supervisor.attempt(NAME, scraped).await {
        // A second panic is counted, and changes nothing.
        let _ = context.supervisor.call(NAME, || fail(&context, &page, &panic));
        let restarts = kept.restarts.take();
        let mut restarts = restarts.unwrap_or_else(|| Box::new(context.supervisor.restarts()));
        kept = Kept::new(Instant::now() + restarts.wait());
        restarts.record_start();
        kept.restarts = Some(restarts);
    }
    context.queue.put_back(&page, kept);
}

/// Records a panic, and wakes the subscribers.
fn fail(context: &ScrapeContext, page: &Page, panic: &Panic) {
    let error = FetchError::Internal(panic.clone());
    context.telemetry.record_scrape(error.kind());
    let memory = context.memory.of(page.key.namespace.clone());
    let (measures, at) = (page.state().measures(&memory, &context.sets), context.clock.monotonic());
    record(page, ScrapeResult { measures, at, error: Some(error), page: None });
}

/// Records the result of a scrape, and wakes the subscribers.
fn record(page: &Page, result: ScrapeResult<'_>) {
    let subscribers = page.state().record_scrape(result);
    for subscriber in subscribers {
        subscriber.notify_one();
    }
}

async fn scrape_if_due(context: &ScrapeContext, page: &Page, kept: &mut Kept, has_changed: bool) {
    #[cfg(test)]
    tests::panic_if_asked(page, kept);
    let memory = context.memory.of(page.key.namespace.clone());
    let schedule = &mut kept.schedule;
    if has_changed && schedule.has_begun() {
        let mut state = page.state();
        let is_asked_for = state.take_demand();
        if is_asked_for || state.has_new_measures(&memory, &context.sets) {
            schedule.tick_now(Instant::now());
        }
    }
    let due = schedule.next();
    if due <= Instant::now() {
        // A scrape is in a box, so that a page has the memory of one only while it runs, and not
        // while it waits for its turn.
        let turn = context.permits.enter(&page.key.namespace).await;
        let ok = Box::pin(scrape(context, page, (&memory, &mut kept.scraper), due)).await;
        drop(turn);
        schedule.record_read(ok);
    }
    let interval = page.state().timing().interval;
    schedule.plan_next(interval, Ticks::OnGrid(context.grid, page.phase()), Instant::now());
}

/// Scrapes one page once, in its turn, and wakes its subscribers. Returns true if it is valid.
async fn scrape(
    context: &ScrapeContext,
    page: &Page,
    kept: (&NamespaceBudget, &mut KeptScraper),
    due: Instant,
) -> bool {
    context.telemetry.record_scrape_lateness(due.elapsed());
    let (began, address) = (context.clock.monotonic(), &page.key.address);
    let span = spans::scrape(&page.key.namespace, address.ip, address.port);
    let (is_valid, result) = scrape_once(context, page, kept).instrument(span.clone()).await;
    spans::record_result(&span, result);
    context.telemetry.record_scrape(result);
    context.telemetry.record_scrape_duration(context.clock.monotonic().since(began));
    is_valid
}

/// Scrapes one page. Returns true if it is valid, and the result as the metrics name it.
async fn scrape_once(
    context: &ScrapeContext,
    page: &Page,
    (memory, kept): (&NamespaceBudget, &mut KeptScraper),
) -> (bool, &'static str) {
    let (measures, timing) = {
        let mut state = page.state();
        (state.measures(memory, &context.sets), state.timing())
    };
    let mut scraper = Scraper::new(&page.key, memory, kept);
    let response = scraper.scrape(&context.credentials, &timing, &context.buffers).await;
    let at = context.clock.monotonic();
    let body = match response {
        Ok(body) => body,
        Err(error) => {
            let result = error.kind();
            record(page, ScrapeResult { measures, at, error: Some(error), page: None });
            return (false, result);
        }
    };
    let (body, parser, result) = parse(context, &page.key.namespace, measures.clone(), body).await;
    let (is_valid, error) = match result {
        Ok(_) => (true, None),
        // A bad line does not invalidate the quantities that do not need it.
        Err(error) => {
            let is_valid = matches!(error, PageError::BadLine { .. });
            (is_valid, Some(scraper.invalid(&error)))
        }
    };
    let result = error.as_ref().map_or("ok", FetchError::kind);
    let (bytes, extracts) = (body.bytes(), &*parser.extracts);
    let valid = is_valid.then_some(ScrapedPage { bytes, extracts });
    record(page, ScrapeResult { measures, at, error, page: valid });
    context.buffers.release(body.into_parts().0);
    context.parsers.release(parser);
    (is_valid, result)
}

/// The result of parsing a page, with the memory that it needed.
type Parsed = (Body, Parser, Result<PageSummary, PageError>);

/// Parses a page. Much work is done beside the tasks of others, and in turn within a namespace.
async fn parse(
    context: &ScrapeContext,
    namespace: &str,
    measures: Arc<MeasureSet>,
    body: Body,
) -> Parsed {
    let bytes = body.bytes().len();
    let is_much = bytes > LARGE_PAGE || bytes * measures.len() > MUCH_WORK;
    let turn = if is_much { context.parsing.enter(namespace).await } else { None };
    let parse = move |mut parser: Parser| {
        // The turn lasts as long as the work, even if the page is not scraped any more.
        let _turn = turn;
        let Parser { scratch, extracts } = &mut parser;
        let result = measures.extractor.read(body.bytes(), scratch, extracts);
        (body, parser, result)
    };
    // A page that waits for its turn needs no parser.
    let parser = context.parsers.acquire();
    if !is_much {
        return parse(parser);
    }
    let parsed = tokio::task::spawn_blocking(move || parse(parser)).await;
    // A panic goes on in the task of the page, which is started again.
    parsed.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_api::Access;
    use llm_autoscaler_engines::{Buckets, Kind, Measure, Recipe, exposition::Value};
    use tokio::sync::Notify;

    use super::*;
    use crate::{
        kube_api::stand_in::{Answer, Received, StandIn},
        sampling::{
            connection::Address,
            egress::Egress,
            feed::FeedRegistry,
            page_state::{PageKey, PageState, PageSubscription},
        },
    };

    /// The path of a page that makes its first scrape panic.
    const PANICS: &str = "/panics";

    /// 32 of them used to take half a gigabyte, in no budget.
    #[test]
    fn the_memory_of_many_histograms_is_not_kept() {
        let buckets = || {
            let bounds = (1..500).map(f64::from).chain([f64::INFINITY]);
            Value::Buckets(Buckets::new(bounds.map(|bound| (bound, 1.0))).unwrap())
        };
        let parser = |histograms: usize| {
            let extract = || Extract { value: buckets(), ..Extract::default() };
            let extracts = std::iter::repeat_with(extract).take(histograms).collect();
            Parser { extracts, ..Parser::default() }
        };
        for (histograms, expected) in [(16, 1), (2048, 0)] {
            let parsers = Parsers::default();
            parsers.release(parser(histograms));
            assert_eq!(parsers.0.count(), expected, "{histograms}");
        }
    }

    /// Panics for a page that asks for it, once.
    pub(super) fn panic_if_asked(page: &Page, kept: &Kept) {
        let is_asked = &*page.key.address.path == PANICS && kept.restarts.is_none();
        assert!(!is_asked, "index out of bounds");
    }

    /// A page used to be scraped no more.
    #[tokio::test]
    async fn a_page_whose_scrape_panics_has_an_error_and_is_scraped_again() {
        let api = StandIn::start(|_: &Received| Answer::Never).await;
        let (telemetry, clock) = (Telemetry::default(), Clock::start());
        let credentials = CredentialStore::new(api.client.clone(), Egress::default()).unwrap();
        let memory = MemoryBudget::plenty();
        let mut context = ScrapeContext::new(credentials, telemetry.clone(), clock, memory);
        // The first error is seen before the next one.
        context.supervisor = Supervisor::waiting(Duration::from_millis(50));
        let context = Arc::new(context);
        // Nothing may be called, so that a scrape has another error than a panic.
        let address =
            Address { ip: [127, 0, 0, 1].into(), port: 1, tls: false, path: PANICS.into() };
        let key = PageKey {
            namespace: "ns".into(),
            pod_uid: "1".into(),
            address,
            access: Arc::new(Access::default()),
        };
        let (wake, hour) = (Arc::new(Notify::new()), Duration::from_hours(1));
        let recipe = Recipe::series(Kind::Gauge, "q", []);
        let measures = [Arc::new(Measure { recipe, window: Duration::ZERO })].into();
        let subscription =
            PageSubscription { interval: hour, timeout: hour, measures, wake: wake.clone() };
        let registry = FeedRegistry::<PageKey, PageState>::default();
        let subscriber = registry.new_subscriber();
        let page =
            registry.subscribe(subscriber, &key, subscription, |page, _| context.begin(page));
        let next_error = async || {
            wake.notified().await;
            assert!(page.state().valid_at().is_none() && !page.state().is_latest());
            page.state().error().map(ToString::to_string).unwrap()
        };
        let error = next_error().await;
        let is_told = error.contains("index out of bounds") && error.contains("InternalError");
        assert!(is_told, "{error}");
        assert!(telemetry.open_metrics().contains("scrapes_total{result=\"internal\"} 1\n"));
        let error = next_error().await;
        assert!(error.contains("loopback"), "{error}");
    }
}
