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
        feed::{FeedRegistry, SubscriberId},
        memory::MemoryBudget,
        page_state::{PageKey, PageState, PageSubscription},
        scrape_loop::{self, ScrapeContext, ScrapeLoop},
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
    ) -> Arc<ScrapeLoop> {
        let context = &self.0.context;
        let run = |page| scrape_loop::run(context.clone(), page);
        self.0.pages.subscribe(subscriber, key, subscription, run)
    }

    /// Ends the subscription to a page.
    pub(crate) fn unsubscribe(&self, subscriber: SubscriberId, key: &PageKey) {
        self.0.pages.unsubscribe(subscriber, key);
    }
}
