//! The state of one metrics page: the subscriptions to it, and its samples.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use llm_autoscaler_api::Access;
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{
    Absence, Measure, Program, Recipe, Track,
    exposition::{Contradiction, Extract, Extractor, LabelMismatch, NotFinite, Value},
    likely_gauges, recognize_program, similar_names,
};
use llm_autoscaler_observe::samples::Found;
use tokio::sync::Notify;

use crate::sampling::{
    connection::Address,
    error::FetchError,
    feed::{FeedState, SubscriberId},
};

/// The number of intervals after which a sample is stale.
pub(crate) const STALE_INTERVALS: u32 = 3;

/// The most measures of one page, of all its subscribers together. One gateway may serve the models
/// of hundreds of autoscalers.
const MOST_MEASURES: usize = 2048;

/// The interval of a page without subscribers, which is not scraped.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);

/// A metrics page of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PageKey {
    /// The pod's namespace.
    pub(crate) namespace: String,
    /// The pod's UID. A pod that is created anew is another pod, even at the same address.
    pub(crate) pod_uid: String,
    /// The address of the page.
    pub(crate) address: Address,
    /// The credentials and TLS settings.
    pub(crate) access: Arc<Access>,
}

/// The demand of one subscriber.
#[derive(Clone, Debug)]
pub(crate) struct PageSubscription {
    /// The longest interval between two scrapes.
    pub(crate) interval: Duration,
    /// The timeout of a scrape.
    pub(crate) timeout: Duration,
    /// The quantities to read from the page.
    pub(crate) measures: Arc<[Arc<Measure>]>,
    /// Notified after each scrape.
    pub(crate) wake: Arc<Notify>,
}

/// The subscriptions to a page, and its samples.
#[derive(Default)]
pub(crate) struct PageState {
    subscriptions: HashMap<SubscriberId, PageSubscription>,
    /// True if the measures of the subscriptions may differ from `measures`. They are merged once,
    /// before the next scrape, however many subscriptions have changed until then.
    has_changed: bool,
    measures: Arc<MeasureSet>,
    /// The measures that no scrape extracts, because others are as many as a page may have.
    refused: HashSet<usize>,
    /// The past of each measure.
    tracks: Vec<Track>,
    /// The way in which each measure was found on the last valid page.
    found: Vec<Found>,
    /// The flaws of each measure's series on the last valid page.
    flaws: Vec<Flaws>,
    /// The time of the last valid page.
    valid_at: Option<Monotonic>,
    /// The measures of the latest scrape.
    scraped: Option<Arc<MeasureSet>>,
    /// The error of the latest scrape.
    error: Option<FetchError>,
    /// True if the latest scrape returned a valid page.
    is_latest: bool,
    /// The engine or gateway that the page resembles; only determined if a measure is absent.
    looks_like: Option<Program>,
    /// True if the last valid page had nothing on it.
    is_empty: bool,
    /// For each measure that is absent: the series that the last valid page has with other labels.
    mismatches: Vec<Option<LabelMismatch>>,
    /// For each measure that is absent: what the page has instead.
    hints: Vec<Option<PageHint>>,
}

/// The series of a page that an absent measure may have to be read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PageHint {
    /// Names that resemble those of the measure.
    Similar(Vec<String>),
    /// Gauges that may tell the load, on a page of an unknown program.
    Likely(Vec<String>),
    /// There are none.
    Nothing,
}

/// The number of gauges that a hint names.
const LIKELY_SHOWN: usize = 5;

impl PageHint {
    fn of(page: &[u8], recipe: &Recipe, is_known: bool) -> Self {
        let similar = similar_names(page, recipe);
        if !similar.is_empty() {
            return Self::Similar(similar);
        }
        if is_known {
            return Self::Nothing;
        }
        let likely = likely_gauges(page).into_iter().take(LIKELY_SHOWN);
        let likely: Vec<String> = likely.map(|gauge| gauge.name).collect();
        if likely.is_empty() { Self::Nothing } else { Self::Likely(likely) }
    }
}

/// The reasons why the series of a measure are on a page and have no value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flaws {
    /// The page's type of a series, if it contradicts the measure's kind.
    pub(crate) contradiction: Option<Contradiction>,
    /// A series that is NaN or infinite.
    pub(crate) not_finite: Option<NotFinite>,
}

/// The measures of all subscribers, and the extractor that finds them in one pass.
#[derive(Default)]
pub(crate) struct MeasureSet {
    measures: Vec<Arc<Measure>>,
    /// The place of each measure, by its address.
    places: HashMap<usize, usize>,
    pub(crate) extractor: Extractor,
}

/// The interval and the timeout that serve all subscribers.
pub(crate) struct Timing {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// The result of one scrape. A page with a bad line has both an error and a page: the quantities
/// that do not need the line are valid.
pub(crate) struct ScrapeResult<'a> {
    /// The measures that the scrape extracted.
    pub(crate) measures: Arc<MeasureSet>,
    /// The end of the scrape.
    pub(crate) at: Monotonic,
    pub(crate) error: Option<FetchError>,
    pub(crate) page: Option<ScrapedPage<'a>>,
}

/// A valid page, and the extract of each measure.
pub(crate) struct ScrapedPage<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) extracts: &'a [Extract],
}

impl MeasureSet {
    fn new(measures: Vec<Arc<Measure>>) -> Self {
        let recipes: Vec<_> = measures.iter().map(|measure| measure.recipe.clone()).collect();
        let places = measures.iter().enumerate().map(|(place, measure)| (address(measure), place));
        let places = places.collect();
        Self { measures, places, extractor: Extractor::new(&recipes) }
    }

    fn index(&self, measure: &Arc<Measure>) -> Option<usize> {
        self.places.get(&address(measure)).copied()
    }
}

/// Returns the address of a measure. Measures are interned, so their addresses identify them.
fn address(measure: &Arc<Measure>) -> usize {
    Arc::as_ptr(measure).addr()
}

impl FeedState for PageState {
    type Subscription = PageSubscription;

    fn subscribe(&mut self, subscriber: SubscriberId, subscription: PageSubscription) {
        let measures = subscription.measures.clone();
        let former = self.subscriptions.insert(subscriber, subscription);
        self.has_changed |= former.is_none_or(|former| !Arc::ptr_eq(&former.measures, &measures));
    }

    fn unsubscribe(&mut self, subscriber: SubscriberId) {
        self.has_changed |= self.subscriptions.remove(&subscriber).is_some();
    }

    fn has_subscribers(&self) -> bool {
        !self.subscriptions.is_empty()
    }
}

impl PageState {
    /// Returns the time of the last valid page.
    pub(crate) fn valid_at(&self) -> Option<Monotonic> {
        self.valid_at
    }

    /// Returns true if the latest scrape returned a valid page.
    pub(crate) fn is_latest(&self) -> bool {
        self.is_latest
    }

    /// Returns true if the latest scrape extracted this measure, successfully or not.
    pub(crate) fn has_tried(&self, measure: &Arc<Measure>) -> bool {
        self.scraped.as_ref().is_some_and(|scraped| scraped.index(measure).is_some())
    }

    /// Returns the error of the latest scrape.
    pub(crate) fn error(&self) -> Option<&FetchError> {
        self.error.as_ref()
    }

    /// Returns the engine or gateway that the page resembles, if a measure is absent.
    pub(crate) fn looks_like(&self) -> Option<Program> {
        self.looks_like
    }

    /// Returns true if the last valid page had nothing on it.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Returns the series that the last valid page has with other labels than those of an absent
    /// measure.
    pub(crate) fn mismatch(&self, measure: &Arc<Measure>) -> Option<&LabelMismatch> {
        self.mismatches.get(self.measures.index(measure)?)?.as_ref()
    }

    /// Returns what the page has instead of an absent measure.
    pub(crate) fn hint(&self, measure: &Arc<Measure>) -> Option<&PageHint> {
        self.hints.get(self.measures.index(measure)?)?.as_ref()
    }

    /// Returns the past of a measure, and the way in which it was found on the last valid page.
    /// `None` if there was no valid page.
    pub(crate) fn track(&self, measure: &Arc<Measure>) -> Option<(&Track, Found)> {
        let index = self.measures.index(measure)?;
        self.valid_at.and_then(|_| Some((self.tracks.get(index)?, *self.found.get(index)?)))
    }

    /// Returns the flaws of a measure's series on the last valid page.
    pub(crate) fn flaws(&self, measure: &Arc<Measure>) -> Flaws {
        let index = self.measures.index(measure);
        index.and_then(|index| self.flaws.get(index)).copied().unwrap_or_default()
    }

    /// Returns true if others have as many measures of the page as it may have, so that this one is
    /// not extracted.
    pub(crate) fn is_refused(&self, measure: &Arc<Measure>) -> bool {
        self.refused.contains(&address(measure))
    }

    /// Returns the measures of all subscribers, as the next scrape extracts them.
    pub(crate) fn measures(&mut self) -> Arc<MeasureSet> {
        if std::mem::take(&mut self.has_changed) {
            self.merge_measures();
        }
        self.measures.clone()
    }

    /// Returns true if a subscriber has a measure that the latest scrape did not extract.
    pub(crate) fn has_new_measures(&mut self) -> bool {
        self.measures();
        self.scraped.as_ref().is_some_and(|scraped| !Arc::ptr_eq(scraped, &self.measures))
    }

    /// Returns the shortest interval and the longest timeout of the subscribers.
    pub(crate) fn timing(&self) -> Timing {
        let subscriptions = self.subscriptions.values();
        let interval = subscriptions.clone().map(|subscription| subscription.interval).min();
        let interval = interval.unwrap_or(DEFAULT_INTERVAL);
        let timeout = subscriptions.map(|subscription| subscription.timeout).max();
        Timing { interval, timeout: timeout.unwrap_or(interval) }
    }

    /// Records a scrape, and returns the subscribers to wake. Measures that lost their last
    /// subscription during the scrape are ignored.
    pub(crate) fn record_scrape(&mut self, result: ScrapeResult<'_>) -> Vec<Arc<Notify>> {
        let ScrapeResult { measures, at, error, page } = result;
        self.error = error;
        self.is_latest = page.is_some();
        if let Some(ScrapedPage { bytes, extracts }) = page {
            // Both explanations below read the whole page again, so they are for absences that a
            // text may have to explain.
            let is_unexplained = |(extract, measure): (&Extract, &Measure)| {
                let absence = measure.recipe.absence();
                let is_usual = matches!(absence, Absence::Usual | Absence::LeftOut);
                extract.value == Value::Absent && !is_usual
            };
            let mut all = extracts.iter().zip(measures.measures.iter().map(|measure| &**measure));
            self.looks_like = if all.any(is_unexplained) { recognize_program(bytes) } else { None };
            self.is_empty = bytes.trim_ascii().is_empty();
            for (extract, measure) in extracts.iter().zip(&measures.measures) {
                let Some(index) = self.measures.index(measure) else { continue };
                let find = || LabelMismatch::find(bytes, &measure.recipe);
                let is_unexplained = is_unexplained((extract, measure));
                self.mismatches[index] = is_unexplained.then(find).flatten();
                let hint = &mut self.hints[index];
                if is_unexplained {
                    // A page keeps its names, so a hint is looked for once.
                    let is_known = self.looks_like.is_some();
                    hint.get_or_insert_with(|| PageHint::of(bytes, &measure.recipe, is_known));
                } else {
                    *hint = None;
                }
                let Extract { value, alternative, ambiguous, contradiction, not_finite } = extract;
                // A number of another kind means something else: a total instead of a rate.
                let value = if contradiction.is_some() { &Value::Absent } else { value };
                self.tracks[index].push(at.0, value);
                self.found[index] = Found { alternative: *alternative, ambiguous: *ambiguous };
                self.flaws[index] =
                    Flaws { contradiction: *contradiction, not_finite: *not_finite };
            }
            self.valid_at = Some(at);
        }
        self.scraped = Some(measures);
        self.subscriptions.values().map(|subscription| subscription.wake.clone()).collect()
    }

    /// Merges the measures of all subscribers. Measures that stay keep their past.
    fn merge_measures(&mut self) {
        // The oldest subscriptions come first, so that the same measures are refused each time.
        let mut subscriptions: Vec<_> = self.subscriptions.iter().collect();
        subscriptions.sort_unstable_by_key(|(subscriber, _)| **subscriber);
        let wanted = subscriptions.iter().flat_map(|(_, subscription)| &*subscription.measures);
        let mut measures = distinct(wanted);
        let refused = measures.split_off(measures.len().min(MOST_MEASURES));
        self.refused = refused.iter().map(address).collect();
        let before = &self.measures;
        if measures.len() == before.measures.len()
            && measures.iter().all(|measure| before.index(measure).is_some())
        {
            return;
        }
        let intervals = self.subscriptions.values().map(|subscription| subscription.interval);
        let gap = intervals.max().unwrap_or_default() * STALE_INTERVALS;
        let tracks = measures.iter().map(|measure| match before.index(measure) {
            Some(index) => self.tracks[index].clone(),
            None => Track::new(measure.recipe.kind(), measure.window, gap),
        });
        let tracks = tracks.collect();
        let found = measures.iter().map(|measure| before.index(measure));
        let found = found.map(|index| index.map_or(Found::default(), |index| self.found[index]));
        let found = found.collect();
        let flaws = measures.iter().map(|measure| self.flaws(measure)).collect();
        self.measures = Arc::new(MeasureSet::new(measures));
        (self.tracks, self.found, self.flaws) = (tracks, found, flaws);
        self.mismatches = vec![None; self.measures.measures.len()];
        self.hints = vec![None; self.measures.measures.len()];
    }
}

/// Returns each measure once, in the order of its first occurrence.
pub(crate) fn distinct<'a>(measures: impl Iterator<Item = &'a Arc<Measure>>) -> Vec<Arc<Measure>> {
    let mut known = HashSet::new();
    measures.filter(|measure| known.insert(address(measure))).cloned().collect()
}
