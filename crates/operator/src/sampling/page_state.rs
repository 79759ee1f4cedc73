//! The state of one metrics page: the subscriptions to it, and its samples.

use std::{collections::HashSet, sync::Arc, time::Duration};

use llm_autoscaler_api::Access;
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{
    Absence, Measure, Program, Track,
    exposition::{Extract, LabelMismatch},
    recognize_program,
};
use tokio::sync::Notify;

use crate::sampling::{
    connection::Address,
    error::{FetchError, FetchProblem},
    feed::{Feed, FeedState, SubscriberId},
    known_measure::{Known, Oddity},
    measure_set::{MeasureSet, MeasureSets, address, affordable, distinct, of_measures},
    memory::{NamespaceBudget, Reservation},
    page_absence::PageHint,
    scrapes::Scrapes,
};

/// The number of intervals after which a sample is stale.
pub(crate) const STALE_INTERVALS: u32 = 3;

/// The most measures of one page, of all its subscribers together. One gateway may serve the models
/// of hundreds of autoscalers.
const MOST_MEASURES: usize = 2048;

/// The age at which the past of a page that waits for memory in vain is forgotten, if no sample of
/// it is used any more.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(1);

/// The number of bytes that a scrape reads again to explain absences.
const EXPLAINED_BYTES: usize = 256 << 10;

/// The interval of a page without subscribers, which is not scraped.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);

/// A page and its samples, which is scraped once for all subscribers.
pub(crate) type Page = Feed<PageKey, PageState>;

/// A metrics page of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PageKey {
    /// The pod's namespace.
    pub(crate) namespace: Arc<str>,
    /// The pod's UID. A pod that is created anew is another pod, even at the same address.
    pub(crate) pod_uid: Arc<str>,
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
    /// One for each subscriber, the oldest first. Most pages have a single one.
    subscriptions: Vec<(SubscriberId, PageSubscription)>,
    /// True if the measures of the subscriptions may differ from `measures`. They are merged once,
    /// before the next scrape, however many subscriptions have changed until then.
    has_changed: bool,
    measures: Arc<MeasureSet>,
    /// The measures that no scrape extracts, because others are as many as a page may have.
    refused: Option<Box<Refused>>,
    /// What is known of each measure.
    known: Box<[Known]>,
    /// The memory of `known`; `None` before the first scrape.
    memory: Option<Reservation>,
    /// The time of the last valid page.
    valid_at: Option<Monotonic>,
    /// True if the last valid page had nothing on it.
    is_empty: bool,
    /// The measures of the latest scrape.
    scraped: Option<Arc<MeasureSet>>,
    /// The error of the latest scrape.
    error: Option<Box<FetchError>>,
    /// The time at which a scrape at once was asked for.
    demanded: Option<Monotonic>,
    /// True if the latest scrape returned a valid page.
    is_latest: bool,
    /// The engine or gateway that the page resembles; only determined if a measure is absent.
    looks_like: Option<Program>,
    /// The place of the first measure of which an absence is explained next.
    next_explained: usize,
}

/// The addresses of measures that are refused.
struct Refused(HashSet<usize>);

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

impl Page {
    /// Returns the phase, as a part of an interval: that among the pages of the oldest subscriber.
    pub(crate) fn phase(&self) -> f64 {
        let oldest = self.state().subscriptions.first().map(|(subscriber, _)| subscriber.number());
        oldest.map_or(0.0, |oldest| self.phase_hash.phase(oldest))
    }
}

impl FeedState for PageState {
    type Subscription = PageSubscription;
    type Sampler = Scrapes;

    fn subscribe(&mut self, subscriber: SubscriberId, subscription: PageSubscription) {
        let measures = subscription.measures.clone();
        let former = match self.subscriptions.binary_search_by_key(&subscriber, |known| known.0) {
            Ok(place) => Some(std::mem::replace(&mut self.subscriptions[place].1, subscription)),
            Err(place) => {
                self.subscriptions.reserve_exact(1);
                self.subscriptions.insert(place, (subscriber, subscription));
                None
            }
        };
        self.has_changed |= former.is_none_or(|former| !Arc::ptr_eq(&former.measures, &measures));
    }

    fn unsubscribe(&mut self, subscriber: SubscriberId) {
        let before = self.subscriptions.len();
        self.subscriptions.retain(|known| known.0 != subscriber);
        self.has_changed |= self.subscriptions.len() < before;
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

    /// Asks for a scrape at once, if the last valid page is older than this.
    pub(crate) fn demand(&mut self, oldest: Duration, now: Monotonic) -> bool {
        let is_wanted = self.valid_at.is_some_and(|at| now.since(at) > oldest);
        self.demanded = self.demanded.or(is_wanted.then_some(now));
        is_wanted
    }

    /// Returns true if a scrape at once was asked for since the latest call.
    pub(crate) fn take_demand(&mut self) -> bool {
        self.demanded.take().is_some()
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
        self.error.as_deref()
    }

    /// Returns the engine or gateway that the page resembles, if a measure is absent.
    pub(crate) fn looks_like(&self) -> Option<Program> {
        self.looks_like
    }

    /// Returns true if the last valid page had nothing on it.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Returns true if the last valid page is one of the program that was expected, as far as is
    /// known: what it lacks is missing on such pages too.
    pub(crate) fn has_usual_absences(&self) -> bool {
        !self.is_empty && self.looks_like.is_none()
    }

    /// Returns the series that the last valid page has with other labels than those of an absent
    /// measure.
    pub(crate) fn mismatch(&self, measure: &Arc<Measure>) -> Option<&LabelMismatch> {
        self.known(measure)?.absence()?.mismatch.as_ref()
    }

    /// Returns what the page has instead of an absent measure.
    pub(crate) fn hint(&self, measure: &Arc<Measure>) -> Option<&PageHint> {
        self.known(measure)?.absence().map(|absence| &absence.hint)
    }

    /// Returns the past of a measure, and what is unusual about it on the last valid page. `None`
    /// if there was no valid page.
    pub(crate) fn track(&self, measure: &Arc<Measure>) -> Option<(&Track, Oddity)> {
        let known = self.valid_at.and_then(|_| self.known(measure))?;
        Some((&known.track, known.oddity()))
    }

    /// Returns true if others have as many measures of the page as it may have, so that this one is
    /// not extracted.
    pub(crate) fn is_refused(&self, measure: &Arc<Measure>) -> bool {
        self.refused.as_ref().is_some_and(|refused| refused.0.contains(&address(measure)))
    }

    /// Returns the measures of all subscribers, as the next scrape extracts them: as many of them
    /// as there is memory for.
    pub(crate) fn measures(
        &mut self,
        budget: &NamespaceBudget,
        sets: &MeasureSets,
    ) -> Arc<MeasureSet> {
        if std::mem::take(&mut self.has_changed) {
            self.merge_measures(budget, sets);
        }
        self.measures.clone()
    }

    /// Returns true if a subscriber has a measure that the latest scrape did not extract.
    pub(crate) fn has_new_measures(
        &mut self,
        budget: &NamespaceBudget,
        sets: &MeasureSets,
    ) -> bool {
        self.measures(budget, sets);
        self.scraped.as_ref().is_some_and(|scraped| !Arc::ptr_eq(scraped, &self.measures))
    }

    /// Returns the shortest interval and the longest timeout of the subscribers.
    pub(crate) fn timing(&self) -> Timing {
        let subscriptions = self.subscriptions.iter().map(|(_, subscription)| subscription);
        let interval = subscriptions.clone().map(|subscription| subscription.interval).min();
        let interval = interval.unwrap_or(DEFAULT_INTERVAL);
        let timeout = subscriptions.map(|subscription| subscription.timeout).max();
        Timing { interval, timeout: timeout.unwrap_or(interval) }
    }

    /// Records a scrape, and returns the subscribers to wake. Measures that lost their last
    /// subscription during the scrape are ignored.
    pub(crate) fn record_scrape(&mut self, result: ScrapeResult<'_>) -> Vec<Arc<Notify>> {
        let ScrapeResult { measures, at, error, page } = result;
        self.error = error.map(Box::new);
        self.is_latest = page.is_some();
        if let Some(ScrapedPage { bytes, extracts }) = page {
            for (extract, measure) in extracts.iter().zip(&measures.measures) {
                if let Some(place) = self.measures.index(measure) {
                    self.known[place].record(extract, at);
                }
            }
            self.explain_absences(bytes);
            self.valid_at = Some(at);
            self.is_empty = bytes.trim_ascii().is_empty();
            self.fit_in_memory();
        } else if self.has_had_no_turn() && self.is_old(at) {
            self.forget_pasts();
        }
        self.scraped = Some(measures);
        self.subscriptions.iter().map(|(_, subscription)| subscription.wake.clone()).collect()
    }

    fn known(&self, measure: &Arc<Measure>) -> Option<&Known> {
        self.known.get(self.measures.index(measure)?)
    }

    /// Looks on the page for a replacement of each absent measure that a text may have to explain.
    /// Each one reads the page again, so a scrape explains only some of them, by the beginning of
    /// the page.
    fn explain_absences(&mut self, page: &[u8]) {
        let page = &page[..page.len().min(EXPLAINED_BYTES)];
        let measures = self.measures.clone();
        let is_unexplained = |known: &Known, place: usize| {
            let absence = measures.measures[place].recipe.absence();
            known.is_absent && !matches!(absence, Absence::Usual | Absence::LeftOut)
        };
        let places =
            (0..self.known.len()).filter(|place| is_unexplained(&self.known[*place], *place));
        let (before, mut places): (Vec<usize>, Vec<usize>) =
            places.partition(|place| *place < self.next_explained);
        places.extend(before);
        self.looks_like = if places.is_empty() { None } else { recognize_program(page) };
        places.truncate((EXPLAINED_BYTES / page.len().max(1)).max(1));
        for place in places {
            let recipe = &measures.measures[place].recipe;
            self.known[place].explain_absence(page, recipe, self.looks_like.is_some());
            self.next_explained = place + 1;
        }
    }

    /// Forgets the pasts for which there is no memory. Their measures are absent then, with an
    /// error.
    fn fit_in_memory(&mut self) {
        let Some(memory) = &mut self.memory else { return };
        let pasts: usize = self.known.iter().map(|known| known.track.memory()).sum();
        let Err(problem) = memory.resize(of_measures(self.known.len()) + pasts) else { return };
        self.forget_pasts();
        self.error = Some(Box::new(problem.into()));
    }

    /// Forgets all pasts, so that their memory is there for others.
    fn forget_pasts(&mut self) {
        self.known.iter_mut().filter(|known| known.track.memory() > 0).for_each(Known::forget);
        if let Some(memory) = &mut self.memory {
            // Giving back always succeeds.
            let _ = memory.resize(of_measures(self.known.len()));
        }
    }

    /// Returns true if there was no memory to read the page into.
    fn has_had_no_turn(&self) -> bool {
        let error = self.error.as_deref();
        matches!(error, Some(FetchError::Request { problem: FetchProblem::NoTurn(_), .. }))
    }

    /// Returns true if the last valid page is so long ago that no subscriber uses its samples.
    fn is_old(&self, now: Monotonic) -> bool {
        let used_for = |(_, it): &(_, PageSubscription)| STALE_INTERVALS * it.interval + it.timeout;
        let used_for = self.subscriptions.iter().map(used_for).max().unwrap_or_default();
        self.valid_at.is_some_and(|at| now.since(at) > used_for.max(FORGOTTEN_AFTER))
    }

    /// Merges the measures of all subscribers. Measures that stay keep their past.
    fn merge_measures(&mut self, budget: &NamespaceBudget, sets: &MeasureSets) {
        // The oldest subscriptions come first, so that the same measures are refused each time.
        let wanted =
            self.subscriptions.iter().flat_map(|(_, subscription)| &*subscription.measures);
        let mut measures = distinct(wanted);
        let memory = self.memory.get_or_insert_with(|| budget.empty());
        let most = measures.len().min(MOST_MEASURES);
        let affordable = affordable(most, memory);
        // Memory may be there before the next scrape.
        self.has_changed |= affordable < most;
        let refused = measures.split_off(affordable);
        let is_any = !refused.is_empty();
        self.refused = is_any.then(|| Box::new(Refused(refused.iter().map(address).collect())));
        let before = &self.measures;
        if measures.len() == before.measures.len()
            && measures.iter().all(|measure| before.index(measure).is_some())
        {
            return;
        }
        let intervals = self.subscriptions.iter().map(|(_, subscription)| subscription.interval);
        let gap = intervals.max().unwrap_or_default() * STALE_INTERVALS;
        let mut former: Vec<_> = std::mem::take(&mut self.known).into_iter().map(Some).collect();
        let known = measures.iter().map(|measure| {
            let former = before.index(measure).and_then(|place| former.get_mut(place)?.take());
            former.unwrap_or_else(|| Known::new(measure, gap))
        });
        self.known = known.collect();
        self.measures = sets.get(measures);
    }
}

#[cfg(test)]
mod tests;
