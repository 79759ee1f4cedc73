//! The pages that are scraped: each once per interval, for all of its subscribers.
//!
//! A page's key is its pod, scheme, port, path and credentials. Autoscalers subscribe to pages with
//! the measures that they need. The shortest interval of the subscribers counts, one pass over the
//! page extracts all measures, and each scrape wakes every subscriber.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use llm_autoscaler_engines::Measure;

use crate::{
    clock::Clock,
    lock::lock,
    sampling::{
        credentials::CredentialStore,
        feed::{Change, FeedRegistry, SubscriberId},
        memory::MemoryBudget,
        page_state::{Page, PageKey, PageState, PageSubscription},
        scrape_loop::ScrapeContext,
    },
    telemetry::Telemetry,
};

/// The number of measures that are added before the unused ones are looked for.
const MEASURES_WITHOUT_SWEEP: usize = 64;

/// All pages that have subscribers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ScrapePool(Arc<PoolState>);

struct PoolState {
    pages: FeedRegistry<PageKey, PageState>,
    measures: Mutex<Interned>,
    context: Arc<ScrapeContext>,
}

/// The measures that are shared.
#[derive(Default)]
struct Interned {
    measures: HashSet<Arc<Measure>>,
    /// The number of measures from which the unused ones are forgotten.
    sweep_at: usize,
}

impl ScrapePool {
    /// Returns a pool without pages.
    pub(crate) fn new(
        credentials: CredentialStore,
        telemetry: Telemetry,
        clock: Clock,
        memory: MemoryBudget,
    ) -> Self {
        Self(Arc::new(PoolState {
            pages: FeedRegistry::default(),
            measures: Mutex::default(),
            context: Arc::new(ScrapeContext::new(credentials, telemetry, clock, memory)),
        }))
    }

    /// Returns the ID of a new subscriber.
    pub(crate) fn new_subscriber(&self) -> SubscriberId {
        self.0.pages.new_subscriber()
    }

    /// Returns the number of pages that are scraped.
    pub(crate) fn page_count(&self) -> usize {
        self.0.pages.count()
    }

    /// Returns the one shared copy of a measure, so that its address identifies it.
    pub(crate) fn intern(&self, measure: &Measure) -> Arc<Measure> {
        let Interned { measures, sweep_at } = &mut *lock(&self.0.measures);
        if let Some(known) = measures.get(measure) {
            return known.clone();
        }
        if measures.len() >= *sweep_at {
            measures.retain(|known| Arc::strong_count(known) > 1);
            *sweep_at = 2 * measures.len() + MEASURES_WITHOUT_SWEEP;
        }
        let measure = Arc::new(measure.clone());
        measures.insert(measure.clone());
        measure
    }

    /// Subscribes to a page, or changes the subscription.
    pub(crate) fn subscribe(
        &self,
        subscriber: SubscriberId,
        key: &PageKey,
        subscription: PageSubscription,
    ) -> Arc<Page> {
        let context = &self.0.context;
        let tell = |page: &Arc<Page>, change| match change {
            Change::Begun => context.begin(page),
            Change::Changed => context.note_change(page),
        };
        self.0.pages.subscribe(subscriber, key, subscription, tell)
    }

    /// Has a page scraped at once if its state asks for that.
    pub(crate) fn hasten(&self, page: &Arc<Page>) {
        self.0.context.note_change(page);
    }

    /// Ends the subscription to a page.
    pub(crate) fn unsubscribe(&self, subscriber: SubscriberId, key: &PageKey) {
        self.0.pages.unsubscribe(subscriber, key, |page| self.0.context.end(page));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::{Duration, Instant},
    };

    use llm_autoscaler_engines::{Kind, Recipe};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        sync::Notify,
    };

    use super::*;
    use crate::{
        kube_api::stand_in::{Answer, Received, StandIn},
        sampling::{
            connection::Address,
            egress::{Egress, EgressRules},
        },
    };

    /// Serves a small page. Returns its address, and the number of times that it was read.
    async fn page() -> (PageKey, Arc<AtomicU32>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, reads) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU32::new(0)));
        let counter = reads.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                while matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {
                    counter.fetch_add(1, Ordering::Relaxed);
                    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nq 1\n";
                    let _ = stream.write_all(response).await;
                }
            }
        });
        let address = Address { ip: [127, 0, 0, 1].into(), port, tls: false, path: "/m".into() };
        let (namespace, pod_uid) = ("ns".into(), "1".into());
        (PageKey { namespace, pod_uid, address, access: Arc::default() }, reads)
    }

    /// One read serves all subscribers, and the schedule is one: that of the shortest interval.
    #[tokio::test]
    async fn a_page_is_read_once_for_all_of_its_subscribers() {
        let api = StandIn::start(|_: &Received| Answer::Never).await;
        let loopback = Egress::new(EgressRules { loopback: true, ..EgressRules::default() });
        let credentials = CredentialStore::new(api.client.clone(), loopback).unwrap();
        let (telemetry, clock) = (Telemetry::default(), Clock::start());
        let pool = ScrapePool::new(credentials, telemetry, clock, MemoryBudget::plenty());
        let (key, reads) = page().await;
        let subscription = |name: &str, interval| {
            let recipe = Recipe::series(Kind::Gauge, name, []);
            let measure = pool.intern(&Measure { recipe, window: Duration::ZERO });
            let (timeout, wake) = (Duration::from_secs(9), Arc::new(Notify::new()));
            PageSubscription { interval, timeout, measures: [measure].into(), wake }
        };
        let hour = Duration::from_hours(1);
        let all = ["q", "q", "p"].map(|name| subscription(name, hour));
        let subscribers = all.each_ref().map(|it| {
            let subscriber = pool.new_subscriber();
            pool.subscribe(subscriber, &key, it.clone());
            subscriber
        });
        for subscription in &all {
            subscription.wake.notified().await;
        }
        assert_eq!((reads.load(Ordering::Relaxed), pool.page_count()), (1, 1));

        let (began, interval) = (Instant::now(), Duration::from_millis(200));
        for subscriber in subscribers {
            pool.subscribe(subscriber, &key, subscription("q", interval));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let most = 3 + (began.elapsed().as_millis() / interval.as_millis()) as u32;
        let read = reads.load(Ordering::Relaxed);
        assert!((2..=most).contains(&read), "{read} times, at most {most}");
        for subscriber in subscribers {
            pool.unsubscribe(subscriber, &key);
        }
        assert_eq!(pool.page_count(), 0);
    }
}
