//! One page that is read again and again, and what it has said to each of its subscribers.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use llm_autoscaler_api::Access;
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{
    Engine, Measure, Track,
    exposition::{Extract, Extractor, PageError, Scratch},
    recognize,
};
use llm_autoscaler_observe::samples::Found;
use tokio::{
    sync::{Notify, Semaphore},
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::{
    clock::Clock,
    sampling::{
        connection::Address,
        credentials::Gate,
        schedule::Rhythm,
        scrape::{ScrapeError, Scraper},
    },
    telemetry::Telemetry,
};

/// The first read of a pod comes soon, yet not all pods' at once.
const FIRST_WITHIN: Duration = Duration::from_millis(200);
/// How many pages of one namespace are read at the same time: pods that never answer are their own
/// namespace's trouble.
const CONCURRENCY: usize = 128;
/// How many intervals a sample outlives.
pub const STALE_INTERVALS: u32 = 3;

/// What one probe is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbeKey {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's UID: a pod that is made again is another pod, also at the same address.
    pub pod_uid: String,
    /// Where its page is.
    pub address: Address,
    /// What lets us in.
    pub access: Arc<Access>,
}

/// Somebody who wants samples; one per autoscaler and source.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// How often.
    pub interval: Duration,
    /// After how long a read is given up.
    pub timeout: Duration,
    /// What is to be found on the page.
    pub measures: Arc<[Arc<Measure>]>,
    /// Woken at each fresh result.
    pub wake: Arc<Notify>,
}

/// A page, and the task that reads it.
pub struct Probe {
    /// What it is about.
    pub key: ProbeKey,
    state: Mutex<State>,
    /// Woken when the subscribers have changed, so that a shorter interval counts at once.
    pub(crate) changed: Notify,
}

/// What is known of a page.
#[derive(Default)]
pub struct State {
    pub(crate) subscribers: HashMap<u64, Subscription>,
    wanted: Arc<Wanted>,
    /// Of each wanted measure.
    tracks: Vec<Track>,
    /// Of each wanted measure, how it was found on the last page.
    extracts: Vec<Found>,
    /// When the last page that could be read was read.
    at: Option<Monotonic>,
    /// The measures that the latest read looked for.
    looked_for: Option<Arc<Wanted>>,
    /// What was wrong with the latest read.
    error: Option<ScrapeError>,
    /// Whether the last page that could be read is of the latest read.
    is_latest: bool,
    /// The engine whose page it looks like; only found out where something was absent.
    looks_like: Option<Engine>,
    pub(crate) task: Option<AbortHandle>,
}

/// The measures of all subscribers, and the reader that finds them in one pass.
#[derive(Default)]
struct Wanted {
    measures: Vec<Arc<Measure>>,
    extractor: Extractor,
}

/// What all loops share.
pub(crate) struct Shared {
    gate: Gate,
    permits: Mutex<HashMap<String, Arc<Semaphore>>>,
    telemetry: Telemetry,
    benches: Benches,
    clock: Clock,
}

impl Shared {
    pub(crate) fn new(gate: Gate, telemetry: Telemetry, clock: Clock) -> Self {
        Self { gate, permits: Mutex::default(), telemetry, benches: Benches::default(), clock }
    }

    fn permits(&self, namespace: &str) -> Arc<Semaphore> {
        let mut permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(CONCURRENCY));
        permits.entry(namespace.to_owned()).or_insert_with(new).clone()
    }
}

/// Memory for reading a page; used again and again.
#[derive(Default)]
pub(crate) struct Bench {
    page: Vec<u8>,
    scratch: Scratch,
    out: Vec<Extract>,
}

impl Probe {
    pub(crate) fn new(key: ProbeKey) -> Arc<Self> {
        Arc::new(Self { key, state: Mutex::default(), changed: Notify::new() })
    }

    /// What is known of the page.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A share of the interval that is the pod's own, so that pods are not all read at the same moment.
    fn phase(&self, interval: Duration) -> Duration {
        let mut hasher = DefaultHasher::new();
        self.key.hash(&mut hasher);
        interval.mul_f64((hasher.finish() % 4096) as f64 / 4096.0)
    }
}

impl State {
    /// When the last page was read that could be.
    pub fn at(&self) -> Option<Monotonic> {
        self.at
    }

    /// Whether that was the latest read.
    pub fn is_latest(&self) -> bool {
        self.is_latest
    }

    /// Whether a read that looked for a measure has been tried.
    pub fn has_tried(&self, measure: &Arc<Measure>) -> bool {
        self.looked_for.as_ref().is_some_and(|wanted| wanted.index(measure).is_some())
    }

    /// What was wrong with the latest read.
    pub fn error(&self) -> Option<&ScrapeError> {
        self.error.as_ref()
    }

    /// Whose page it looks like, where something that was wanted is not on it.
    pub fn looks_like(&self) -> Option<Engine> {
        self.looks_like
    }

    /// What the pages so far say of a measure, and how it was found on the last one. A page that was read before anybody
    /// wanted it says nothing about it.
    pub fn look(&self, measure: &Arc<Measure>) -> Option<(&Track, Found)> {
        let index = self.wanted.index(measure)?;
        self.at.and_then(|_| Some((self.tracks.get(index)?, *self.extracts.get(index)?)))
    }

    /// Unites the measures of all subscribers, if they are not the same as before. Their past is kept.
    pub(crate) fn unite(&mut self) {
        let mut measures: Vec<Arc<Measure>> = Vec::new();
        for measure in
            self.subscribers.values().flat_map(|subscription| subscription.measures.iter())
        {
            if !measures.iter().any(|known| Arc::ptr_eq(known, measure)) {
                measures.push(measure.clone());
            }
        }
        let before = &self.wanted.measures;
        let same = measures.len() == before.len()
            && measures.iter().all(|measure| self.wanted.index(measure).is_some());
        if same {
            return;
        }
        let gap = self.longest_interval() * STALE_INTERVALS;
        let old = |measure: &Arc<Measure>| self.wanted.index(measure);
        let new = |measure: &Arc<Measure>| Track::new(measure.recipe.kind(), measure.window, gap);
        let tracks = measures.iter().map(|measure| match old(measure) {
            Some(index) => self.tracks[index].clone(),
            None => new(measure),
        });
        let tracks: Vec<Track> = tracks.collect();
        let extracts = measures
            .iter()
            .map(|measure| old(measure).map_or(Found::default(), |index| self.extracts[index]));
        let extracts: Vec<Found> = extracts.collect();
        let recipes: Vec<_> = measures.iter().map(|measure| measure.recipe.clone()).collect();
        self.wanted = Arc::new(Wanted { measures, extractor: Extractor::new(&recipes) });
        (self.tracks, self.extracts) = (tracks, extracts);
    }

    fn longest_interval(&self) -> Duration {
        self.subscribers
            .values()
            .map(|subscription| subscription.interval)
            .max()
            .unwrap_or_default()
    }

    /// The interval and the timeout that serve every subscriber.
    fn demand(&self) -> (Duration, Duration) {
        let shortest = self.subscribers.values().map(|s| s.interval).min();
        let longest = self.subscribers.values().map(|s| s.timeout).max();
        let interval = shortest.unwrap_or(Duration::from_secs(15));
        (interval, longest.unwrap_or(interval))
    }

    /// Whether somebody wants what the latest read did not look for.
    fn lacks_measures(&self) -> bool {
        self.looked_for.as_ref().is_some_and(|looked_for| !Arc::ptr_eq(looked_for, &self.wanted))
    }

    /// Takes in what a page says, unless the measures have changed while it was read.
    fn take(&mut self, wanted: &Arc<Wanted>, at: Monotonic, out: &[Extract]) {
        for (extract, measure) in out.iter().zip(&wanted.measures) {
            let Some(index) = self.wanted.index(measure) else { continue };
            self.tracks[index].push(at.0, &extract.value);
            self.extracts[index] =
                Found { alternative: extract.alternative, ambiguous: extract.ambiguous };
        }
        self.at = Some(at);
    }
}

impl Wanted {
    fn index(&self, measure: &Arc<Measure>) -> Option<usize> {
        self.measures.iter().position(|known| Arc::ptr_eq(known, measure))
    }
}

/// Reads one page for ever; ended from outside.
pub(crate) async fn run(shared: Arc<Shared>, probe: Arc<Probe>) {
    let ProbeKey { namespace, address, access, .. } = probe.key.clone();
    let mut scraper = Scraper::new(shared.gate.clone(), namespace, access, address);
    let mut rhythm = Rhythm::new(Instant::now() + probe.phase(FIRST_WITHIN));
    loop {
        tokio::select! {
            biased;
            () = sleep_until(rhythm.next()) => {
                rhythm.done(sample(&shared, &probe, &mut scraper, rhythm.next()).await);
            }
            () = probe.changed.notified() => {
                if rhythm.has_begun() && probe.lock().lacks_measures() {
                    rhythm.at_once(Instant::now());
                    continue;
                }
            }
        }
        let (interval, _) = probe.lock().demand();
        rhythm.plan(interval, probe.phase(interval), Instant::now());
    }
}

/// Whether the page could be read.
async fn sample(shared: &Shared, probe: &Probe, scraper: &mut Scraper, due: Instant) -> bool {
    let permits = shared.permits(&probe.key.namespace);
    let Ok(_permit) = permits.acquire().await else { return false };
    shared.telemetry.record_lateness(due.elapsed());
    let (wanted, (interval, timeout)) = {
        let state = probe.lock();
        (state.wanted.clone(), state.demand())
    };
    let mut bench = shared.benches.take();
    let read = scraper.read(timeout, interval, &mut bench.page).await;
    let at = shared.clock.monotonic();
    let Bench { page, scratch, out } = &mut bench;
    let mut readable = read.is_ok();
    let result = read.and_then(|()| {
        let parsed = wanted.extractor.read(page, scratch, out);
        // One bad line leaves the numbers that do not need it as they are.
        readable = matches!(parsed, Ok(_) | Err(PageError::BadLine { .. }));
        parsed.map_err(|error| ScrapeError::NotMetrics {
            url: scraper.url().to_owned(),
            problem: error.to_string(),
        })
    });
    shared.telemetry.record_scrape(result.as_ref().err().map_or("ok", ScrapeError::kind));
    let wake: Vec<Arc<Notify>> = {
        let mut state = probe.lock();
        state.looked_for = Some(wanted.clone());
        state.error = result.err();
        state.is_latest = readable;
        if readable {
            let absent = out
                .iter()
                .any(|extract| extract.value == llm_autoscaler_engines::exposition::Value::Absent);
            state.looks_like = if absent { recognize(page) } else { None };
            state.take(&wanted, at, out);
        }
        state.subscribers.values().map(|subscription| subscription.wake.clone()).collect()
    };
    shared.benches.give_back(bench);
    for wake in wake {
        wake.notify_one();
    }
    readable
}

/// Benches that nobody works at.
#[derive(Default)]
pub(crate) struct Benches(Mutex<Vec<Bench>>);

impl Benches {
    fn take(&self) -> Bench {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, mut bench: Bench) {
        // A page that was very large does not stay in memory for ever.
        if bench.page.capacity() > 1 << 20 {
            bench.page = Vec::new();
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(bench);
    }
}
