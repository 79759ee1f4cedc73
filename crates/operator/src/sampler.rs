//! Sampling: every pod's page is read once per interval, whoever looks at it.
//!
//! A probe is a task that reads one page; its key is (pod, scheme, port, path). Autoscalers subscribe to
//! probes with the recipes that they need; the shortest interval of the subscribers counts, one pass over
//! the page serves all recipes, and each subscriber is woken when a fresh result is there.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use llm_autoscaler_core::Milli;
use llm_autoscaler_engines::{
    Recipe,
    exposition::{Extractor, PageError},
};
use tokio::{
    sync::{Notify, Semaphore},
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::{
    scrape::{Address, ScrapeError, Scraper},
    telemetry::Telemetry,
};

/// How many pages of one namespace are read at the same time: pods that never answer are their own
/// namespace's trouble.
const CONCURRENCY: usize = 128;
/// The first read of a pod comes soon, yet not all pods' at once.
const FIRST_WITHIN: Duration = Duration::from_millis(200);

/// What one probe is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbeKey {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's UID: a pod that is made again is another pod, also at the same address.
    pub pod_uid: String,
    /// Where its page is.
    pub address: Address,
}

/// Somebody who wants samples; one per autoscaler.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// How often.
    pub interval: Duration,
    /// After how long a read is given up.
    pub timeout: Duration,
    /// What is to be found on the page.
    pub recipes: Arc<[Recipe]>,
    /// Woken at each fresh result.
    pub wake: Arc<Notify>,
}

/// What the last reads of a page gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The last page that could be read.
    pub page: Option<Found>,
    /// What was wrong with the latest read, if something was.
    pub error: Option<ScrapeError>,
    /// Whether a read with all recipes of the subscriber has been tried.
    pub tried: bool,
}

/// What was found on a page, for one subscriber.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// When it was read.
    pub at: Instant,
    /// Whether it is the latest; if not, the reads since have failed.
    pub latest: bool,
    /// In the order of the subscriber's recipes.
    pub values: Vec<Option<Milli>>,
}

/// All probes.
#[derive(Clone)]
pub struct Sampler(Arc<Shared>);

struct Shared {
    probes: Mutex<HashMap<ProbeKey, Arc<Probe>>>,
    scraper: Scraper,
    permits: Mutex<HashMap<String, Arc<Semaphore>>>,
    telemetry: Telemetry,
    owners: AtomicU64,
}

struct Probe {
    key: ProbeKey,
    state: Mutex<ProbeState>,
    /// Woken when the subscribers have changed, so that a shorter interval counts at once.
    changed: Notify,
}

#[derive(Default)]
struct ProbeState {
    subscribers: HashMap<u64, Subscription>,
    wanted: Arc<Wanted>,
    page: Option<Page>,
    /// The recipes of the latest read, and what was wrong with it.
    latest: Option<(Arc<Wanted>, Option<ScrapeError>)>,
    page_is_latest: bool,
    task: Option<AbortHandle>,
}

/// What was found on a page.
struct Page {
    at: Instant,
    wanted: Arc<Wanted>,
    values: Vec<Option<Milli>>,
}

/// The recipes of all subscribers, and the reader that finds them in one pass.
#[derive(Default)]
struct Wanted {
    recipes: Vec<Recipe>,
    extractor: Extractor,
}

impl Sampler {
    /// Reads pages with `scraper`.
    pub fn new(scraper: Scraper, telemetry: Telemetry) -> Self {
        let (probes, permits, owners) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
        Self(Arc::new(Shared { probes, scraper, permits, telemetry, owners }))
    }

    /// A number that no other subscriber has.
    pub fn new_owner(&self) -> u64 {
        self.0.owners.fetch_add(1, Ordering::Relaxed)
    }

    /// Subscribes `owner` to a page, or changes its subscription.
    pub fn subscribe(&self, owner: u64, key: &ProbeKey, subscription: Subscription) {
        let mut probes = self.probes();
        let probe = probes.entry(key.clone()).or_insert_with(|| Probe::new(key.clone())).clone();
        let mut state = probe.lock();
        state.subscribers.insert(owner, subscription);
        state.unite();
        if state.task.is_none() {
            let task = tokio::spawn(run(self.0.clone(), probe.clone()));
            state.task = Some(task.abort_handle());
        }
        probe.changed.notify_one();
    }

    /// Ends the subscription of `owner` to a page; the last one ends the probe.
    pub fn unsubscribe(&self, owner: u64, key: &ProbeKey) {
        let mut probes = self.probes();
        let Some(probe) = probes.get(key).cloned() else { return };
        let mut state = probe.lock();
        state.subscribers.remove(&owner);
        state.unite();
        if state.subscribers.is_empty() {
            if let Some(task) = state.task.take() {
                task.abort();
            }
            probes.remove(key);
        }
    }

    /// What is known of a page, as `recipes` see it.
    pub fn reading(&self, key: &ProbeKey, recipes: &[Recipe]) -> Reading {
        let Some(probe) = self.probes().get(key).cloned() else { return Reading::default() };
        let state = probe.lock();
        // A read that did not look for all of the recipes says nothing about them.
        let covers = |wanted: &Wanted| recipes.iter().all(|recipe| wanted.recipes.contains(recipe));
        let latest = state.latest.as_ref().filter(|(wanted, _)| covers(wanted));
        let page =
            state.page.as_ref().filter(|page| covers(&page.wanted)).map(|Page { at, wanted, values }| {
                let value =
                    |recipe: &Recipe| values[wanted.recipes.iter().position(|known| known == recipe)?];
                let latest = state.page_is_latest;
                Found { at: *at, latest, values: recipes.iter().map(value).collect() }
            });
        Reading { page, error: latest.and_then(|(_, error)| error.clone()), tried: latest.is_some() }
    }

    fn probes(&self) -> MutexGuard<'_, HashMap<ProbeKey, Arc<Probe>>> {
        self.0.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe {
    fn new(key: ProbeKey) -> Arc<Self> {
        Arc::new(Self { key, state: Mutex::default(), changed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, ProbeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The interval, the timeout and the recipes that serve every subscriber.
    fn demand(&self) -> (Duration, Duration, Arc<Wanted>) {
        let state = self.lock();
        let shortest = state.subscribers.values().map(|s| s.interval).min();
        let longest = state.subscribers.values().map(|s| s.timeout).max();
        let interval = shortest.unwrap_or(Duration::from_secs(15));
        (interval, longest.unwrap_or(interval), state.wanted.clone())
    }

    /// Whether somebody wants what the latest read did not look for.
    fn lacks_recipes(&self) -> bool {
        let state = self.lock();
        state.latest.as_ref().is_some_and(|(wanted, _)| !Arc::ptr_eq(wanted, &state.wanted))
    }

    /// A share of the interval that is the pod's own, so that pods are not all read at the same moment.
    fn phase(&self, interval: Duration) -> Duration {
        use std::hash::{Hash, Hasher};
        let mut hasher = std::hash::DefaultHasher::new();
        self.key.hash(&mut hasher);
        interval.mul_f64((hasher.finish() % 4096) as f64 / 4096.0)
    }
}

impl ProbeState {
    /// Unites the recipes of all subscribers, if they are not the same as before.
    fn unite(&mut self) {
        let mut recipes: Vec<Recipe> = Vec::new();
        for recipe in self.subscribers.values().flat_map(|subscription| subscription.recipes.iter()) {
            if !recipes.contains(recipe) {
                recipes.push(recipe.clone());
            }
        }
        let same = recipes.len() == self.wanted.recipes.len()
            && recipes.iter().all(|recipe| self.wanted.recipes.contains(recipe));
        if !same {
            let extractor = Extractor::new(&recipes);
            self.wanted = Arc::new(Wanted { recipes, extractor });
        }
    }
}

/// Reads one page for ever; ended from outside.
async fn run(shared: Arc<Shared>, probe: Arc<Probe>) {
    let url = probe.key.address.url();
    let mut next = Instant::now() + probe.phase(FIRST_WITHIN);
    let mut last = None;
    let mut settled = false;
    loop {
        tokio::select! {
            biased;
            () = sleep_until(next) => {
                last = Some(next);
                sample(&shared, &probe, &url).await;
            }
            () = probe.changed.notified() => {
                if last.is_some() && probe.lacks_recipes() {
                    next = Instant::now();
                    continue;
                }
            }
        }
        // The rhythm is kept whatever a read takes; a read that was missed is not made up for.
        let (interval, _, _) = probe.demand();
        if let Some(last) = last {
            // The second read moves the probe to its own phase.
            next = last + if settled { interval } else { probe.phase(interval) };
            settled = true;
            while next <= Instant::now() {
                next += interval;
            }
        }
    }
}

async fn sample(shared: &Shared, probe: &Probe, url: &str) {
    let permits = shared.permits(&probe.key.namespace);
    let Ok(_permit) = permits.acquire().await else { return };
    let (_, timeout, wanted) = probe.demand();
    let mut page = Vec::new();
    let read = shared.scraper.read(url, timeout, &mut page).await;
    let at = Instant::now();
    let mut values = Vec::with_capacity(wanted.recipes.len());
    let mut readable = read.is_ok();
    let result = read.and_then(|()| {
        let parsed = wanted.extractor.read(&page, &mut values);
        // One bad line leaves the numbers that do not need it as they are.
        readable = matches!(parsed, Ok(_) | Err(PageError::BadLine { .. }));
        parsed.map_err(|error| ScrapeError::NotMetrics { url: url.to_owned(), problem: error.to_string() })
    });
    shared.telemetry.scraped(result.as_ref().err());
    let wake: Vec<Arc<Notify>> = {
        let mut state = probe.lock();
        state.latest = Some((wanted.clone(), result.err()));
        state.page_is_latest = readable;
        if readable {
            state.page = Some(Page { at, wanted, values });
        }
        state.subscribers.values().map(|subscription| subscription.wake.clone()).collect()
    };
    for wake in wake {
        wake.notify_one();
    }
}

impl Shared {
    fn permits(&self, namespace: &str) -> Arc<Semaphore> {
        let mut permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(CONCURRENCY));
        permits.entry(namespace.to_owned()).or_insert_with(new).clone()
    }
}
