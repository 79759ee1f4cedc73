//! The pages of the pods, and the samples of them that an observation takes.
//!
//! Ages, doubt and what is missing follow the operator's scrapes (`sampling` in the operator).

mod text;

use std::{collections::BTreeMap, time::Duration};

use llm_autoscaler_api::{SloMeasures, TargetConfig};
use llm_autoscaler_engines::{
    Kind, Measure, Track,
    exposition::{Extract, Extractor, Scratch, Value},
};
use llm_autoscaler_observe::samples::{
    Found, Lookup, Sample, Samples, SourceKind, SourceSamples, VitalLookups,
};

use self::text::PageText;
use crate::sight::{PodSight, Reading, Sight};

/// The number of intervals after which a sample is stale.
const STALE_INTERVALS: u32 = 3;
/// The time after a scrape's timeout in which its result is still awaited.
const MARGIN: Duration = Duration::from_secs(1);

/// The pages of all pods.
#[derive(Debug)]
pub(super) struct Pages {
    measures: Measures,
    extractor: Extractor,
    scratch: Scratch,
    extracts: Vec<Extract>,
    text: PageText,
    interval: Duration,
    /// The age after which a sample is stale.
    stale_after: Duration,
    /// The time for which the first page is awaited.
    patience: Duration,
    by_pod: BTreeMap<u64, Page>,
}

/// The measures of a page, and the places of those for each purpose.
#[derive(Debug)]
struct Measures {
    all: Vec<Measure>,
    metrics: Vec<usize>,
    requests: Option<usize>,
    latency: Option<usize>,
    sleep: Option<[usize; 2]>,
    vitals: Option<(usize, usize, [Option<usize>; 2])>,
    slo: Vec<usize>,
}

/// The past of a page.
#[derive(Debug)]
struct Page {
    subscribed_at: f64,
    valid_at: Option<f64>,
    tracks: Vec<Track>,
}

impl Measures {
    fn of(config: &TargetConfig) -> Self {
        let mut all = Vec::new();
        let mut place = |measure: &Measure| {
            all.iter().position(|known| known == measure).unwrap_or_else(|| {
                all.push(measure.clone());
                all.len() - 1
            })
        };
        let metrics = config.metrics.iter();
        let metrics = metrics.filter_map(|metric| metric.measure_at(0)).map(&mut place).collect();
        let drain = config.drain.as_ref();
        let requests = drain.and_then(|drain| drain.requests.as_ref()).map(&mut place);
        let latency = drain.and_then(|drain| drain.latency.as_ref()).map(&mut place);
        let sleep = config.sleep.as_ref().map(|sleep| sleep.each_ref().map(&mut place));
        let vitals = config.vitals.as_ref().map(|vitals| {
            let gauges = vitals.gauges.each_ref();
            let gauges = gauges.map(|gauge| gauge.as_ref().map(&mut place));
            (place(&vitals.requests), place(&vitals.progress), gauges)
        });
        let slo = config.slo.as_ref().and_then(|slo| slo.measures.as_ref());
        let slo = slo.into_iter().flat_map(SloMeasures::all).map(&mut place).collect();
        Self { all, metrics, requests, latency, sleep, vitals, slo }
    }
}

impl Pages {
    pub(super) fn new(
        config: &TargetConfig,
        interval: Duration,
        timeout: Duration,
        delay: f64,
    ) -> Self {
        let measures = Measures::of(config);
        let recipes: Vec<_> = measures.all.iter().map(|measure| measure.recipe.clone()).collect();
        let has_histograms = recipes.iter().any(|recipe| recipe.kind() == Kind::Histogram);
        let delay = Duration::try_from_secs_f64(delay).unwrap_or_default();
        Self {
            extractor: Extractor::new(&recipes),
            scratch: Scratch::default(),
            extracts: Vec::new(),
            text: PageText::new(has_histograms),
            interval,
            stale_after: delay + interval * STALE_INTERVALS + timeout,
            patience: delay + timeout + MARGIN,
            by_pod: BTreeMap::new(),
            measures,
        }
    }

    /// Sets the tokens of the engines' KV caches, by which they can be learned.
    pub(super) fn set_kv_tokens(&mut self, tokens: u64) {
        if !self.measures.slo.is_empty() {
            self.text.set_kv_tokens(tokens);
        }
    }

    /// Reads the pages that have arrived, and returns the samples of all pods.
    pub(super) fn samples(&mut self, sight: &Sight<'_>) -> Samples {
        let first = sight.pods.first().map_or(u64::MAX, |pod| pod.id);
        if self.by_pod.len() > 2 * sight.pods.len() + 16 {
            self.by_pod.retain(|id, _| *id >= first && sight.pods.iter().any(|pod| pod.id == *id));
        }
        for pod in sight.pods.iter().filter(|pod| pod.is_running) {
            self.read(pod, sight.now);
        }
        let of = |place: usize| -> Vec<Lookup> {
            sight.pods.iter().map(|pod| self.lookup(pod, place, sight.now)).collect()
        };
        let of_some = |place: Option<usize>| place.map_or_else(Vec::new, of);
        let measures = &self.measures;
        let vitals = measures.vitals.map_or_else(VitalLookups::default, |vitals| {
            let (requests, progress, gauges) = vitals;
            VitalLookups {
                requests: of(requests),
                progress: of(progress),
                gauges: gauges.map(of_some),
            }
        });
        let source = SourceSamples {
            is_active: true,
            metrics: measures.metrics.iter().map(|place| of(*place)).collect(),
            queries: vec![None; measures.metrics.len()],
            requests: of_some(measures.requests),
            latency: of_some(measures.latency),
            sleep: measures.sleep.map_or_else(Default::default, |sleep| sleep.map(of)),
            vitals,
            slo: measures.slo.iter().map(|place| of(*place)).collect(),
            ..SourceSamples::inactive(SourceKind::OwnPods)
        };
        Samples { sources: vec![source] }
    }

    /// Takes over the page of a pod, if a new one has arrived.
    fn read(&mut self, pod: &PodSight, now: f64) {
        let (measures, interval) = (&self.measures.all, self.interval);
        let page = self.by_pod.entry(pod.id).or_insert_with(|| Page {
            subscribed_at: now,
            valid_at: None,
            tracks: measures.iter().map(|it| track(it, interval)).collect(),
        });
        let Some(reading) = pod.reading.as_deref() else { return };
        let Reading { at, .. } = reading;
        if page.valid_at.is_some_and(|before| before >= *at) {
            return;
        }
        page.valid_at = Some(*at);
        let text = self.text.write(reading);
        if self.extractor.read(text.as_bytes(), &mut self.scratch, &mut self.extracts).is_err() {
            return;
        }
        let at = Duration::try_from_secs_f64(*at).unwrap_or_default();
        for (track, extract) in page.tracks.iter_mut().zip(&self.extracts) {
            track.push(at, &extract.value);
        }
    }

    /// Returns the latest sample of a measure of a pod, or the reason why there is none.
    fn lookup(&self, pod: &PodSight, place: usize, now: f64) -> Lookup {
        let failure = || "connection refused".to_owned();
        let failed = pod.has_failed.then(failure);
        let Some(page) = self.by_pod.get(&pod.id) else { return Lookup::Pending { error: failed } };
        let since = |at: f64| Duration::try_from_secs_f64(now - at).unwrap_or_default();
        let subscribed_for = since(page.subscribed_at);
        let age = page.valid_at.map(since).filter(|age| *age <= self.stale_after);
        let Some(age) = age else {
            return match failed {
                Some(failed) => Lookup::Missing(failed),
                None if subscribed_for < self.patience => Lookup::Pending { error: None },
                None => Lookup::Missing("no sample yet".to_owned()),
            };
        };
        let track = &page.tracks[place];
        if track.is_pending() {
            if subscribed_for < self.patience + 2 * self.interval {
                return Lookup::Pending { error: failed };
            }
            return Lookup::Missing(failed.unwrap_or_else(|| "only one sample so far".to_owned()));
        }
        let value = track.value();
        if value == Value::Absent {
            return Lookup::NoNumber("the page has no such series".to_owned());
        }
        let young = || "too few samples so far for a scale-down".to_owned();
        let doubt = failed.or_else(|| track.is_young().then(young));
        Lookup::Sample(Sample { value, age, doubt, found: Found::default(), copies: 1 })
    }
}

fn track(measure: &Measure, interval: Duration) -> Track {
    Track::new(measure.recipe.kind(), measure.window, interval * STALE_INTERVALS)
}
