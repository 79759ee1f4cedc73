//! The past of one page, and the samples that an observation takes of it.
//!
//! Ages, doubt and what is missing follow the operator's scrapes (`sampling` in the operator).

use std::{borrow::Cow, time::Duration};

use llm_autoscaler_engines::{
    Measure, Track,
    exposition::{Extract, Value},
};
use llm_autoscaler_observe::samples::{Found, Lookup, Sample, YOUNG};

/// The number of intervals after which a sample is stale.
const STALE_INTERVALS: u32 = 3;
/// The time after a scrape's timeout in which its result is still awaited.
const MARGIN: Duration = Duration::from_secs(1);

/// The times that the scrapes of a page have.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy::llm_autoscaler) struct ScrapeTimes {
    interval: Duration,
    /// The age after which a sample is stale.
    stale_after: Duration,
    /// The time for which the first page is awaited.
    patience: Duration,
}

impl ScrapeTimes {
    /// Returns the times of scrapes with this interval and this timeout. `delay` is the time that
    /// pages take to arrive, in seconds.
    pub(in crate::policy::llm_autoscaler) fn new(
        interval: Duration,
        timeout: Duration,
        delay: f64,
    ) -> Self {
        let delay = Duration::try_from_secs_f64(delay).unwrap_or_default();
        Self {
            interval,
            stale_after: delay + interval * STALE_INTERVALS + timeout,
            patience: delay + timeout + MARGIN,
        }
    }
}

/// The past of a page.
#[derive(Debug)]
pub(in crate::policy::llm_autoscaler) struct Page {
    times: ScrapeTimes,
    subscribed_at: f64,
    valid_at: Option<f64>,
    tracks: Vec<Track>,
}

impl Page {
    /// Returns a page that is scraped from now on.
    pub(in crate::policy::llm_autoscaler) fn new(
        measures: &[Measure],
        times: ScrapeTimes,
        now: f64,
    ) -> Self {
        let track = |measure: &Measure| {
            Track::new(measure.recipe.kind(), measure.window, times.interval * STALE_INTERVALS)
        };
        let tracks = measures.iter().map(track).collect();
        Self { times, subscribed_at: now, valid_at: None, tracks }
    }

    /// Returns true if the result of a scrape at this time is news.
    pub(in crate::policy::llm_autoscaler) fn is_news(&mut self, at: f64) -> bool {
        let is_news = self.valid_at.is_none_or(|before| before < at);
        if is_news {
            self.valid_at = Some(at);
        }
        is_news
    }

    /// Takes over the numbers of a scrape, one for each measure.
    pub(in crate::policy::llm_autoscaler) fn push(&mut self, at: f64, extracts: &[Extract]) {
        let at = Duration::try_from_secs_f64(at).unwrap_or_default();
        for (track, extract) in self.tracks.iter_mut().zip(extracts) {
            track.push(at, &extract.value);
        }
    }

    /// Returns the latest sample of a measure, or the reason why there is none. `failed` is the
    /// error of the latest scrape.
    pub(in crate::policy::llm_autoscaler) fn lookup(
        &self,
        measure: usize,
        failed: Option<String>,
        now: f64,
    ) -> Lookup {
        let ScrapeTimes { interval, stale_after, patience } = self.times;
        let since = |at: f64| Duration::try_from_secs_f64(now - at).unwrap_or_default();
        let subscribed_for = since(self.subscribed_at);
        let age = self.valid_at.map(since).filter(|age| *age <= stale_after);
        let Some(age) = age else {
            return match failed {
                Some(failed) => Lookup::Missing(failed),
                None if subscribed_for < patience => Lookup::Pending { error: None },
                None => Lookup::Missing("no sample yet".to_owned()),
            };
        };
        let track = &self.tracks[measure];
        if track.is_pending() {
            if subscribed_for < patience + 2 * interval {
                return Lookup::Pending { error: failed };
            }
            return Lookup::Missing(failed.unwrap_or_else(|| "only one sample so far".to_owned()));
        }
        let value = track.value();
        if value == Value::Absent {
            return Lookup::NoNumber("the page has no such series".to_owned());
        }
        let doubt = failed.map(Cow::Owned).or_else(|| track.is_young().then_some(YOUNG.into()));
        Lookup::Sample(Sample { value, age, doubt, found: Found::default(), copies: 1 })
    }
}
