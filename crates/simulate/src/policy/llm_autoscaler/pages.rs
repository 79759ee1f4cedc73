//! The pages of the pods, and the samples of them that an observation takes.

mod page;
mod text;

use std::collections::BTreeMap;

use llm_autoscaler_api::{SloMeasures, TargetConfig};
use llm_autoscaler_engines::{
    Kind, Measure,
    exposition::{Extract, Extractor, Scratch},
};
use llm_autoscaler_observe::samples::{Lookup, SourceKind, SourceSamples, VitalLookups};

pub(super) use self::page::{Page, ScrapeTimes};
use self::text::PageText;
use crate::sight::{PodSight, Reading, Sight};

/// The pages of all pods.
#[derive(Debug)]
pub(super) struct Pages {
    measures: Measures,
    extractor: Extractor,
    scratch: Scratch,
    extracts: Vec<Extract>,
    text: PageText,
    times: ScrapeTimes,
    by_pod: BTreeMap<u64, Page>,
}

/// The measures of a page, and the places of those for each purpose.
#[derive(Debug)]
struct Measures {
    all: Vec<Measure>,
    /// For each metric; `None` if it is not read from the pods.
    metrics: Vec<Option<usize>>,
    requests: Option<usize>,
    latency: Option<usize>,
    sleep: Option<[usize; 2]>,
    vitals: Option<(usize, usize, [Option<usize>; 2])>,
    slo: Vec<usize>,
}

impl Measures {
    fn of(config: &TargetConfig, source: usize) -> Self {
        let mut all = Vec::new();
        let mut place = |measure: &Measure| {
            all.iter().position(|known| known == measure).unwrap_or_else(|| {
                all.push(measure.clone());
                all.len() - 1
            })
        };
        let metrics = config.metrics.iter();
        let metrics = metrics.map(|metric| metric.measure_at(source).map(&mut place)).collect();
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
    /// Returns the pages of pods, which are the source at this place.
    pub(super) fn new(config: &TargetConfig, source: usize, times: ScrapeTimes) -> Self {
        let measures = Measures::of(config, source);
        let recipes: Vec<_> = measures.all.iter().map(|measure| measure.recipe.clone()).collect();
        let has_histograms = recipes.iter().any(|recipe| recipe.kind() == Kind::Histogram);
        Self {
            extractor: Extractor::new(&recipes),
            scratch: Scratch::default(),
            extracts: Vec::new(),
            text: PageText::new(has_histograms),
            times,
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
    pub(super) fn samples(&mut self, sight: &Sight<'_>) -> SourceSamples {
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
        SourceSamples {
            is_active: true,
            metrics: measures.metrics.iter().map(|place| of_some(*place)).collect(),
            queries: vec![None; measures.metrics.len()],
            requests: of_some(measures.requests),
            latency: of_some(measures.latency),
            sleep: measures.sleep.map_or_else(Default::default, |sleep| sleep.map(of)),
            vitals,
            slo: measures.slo.iter().map(|place| of(*place)).collect(),
            ..SourceSamples::inactive(SourceKind::OwnPods)
        }
    }

    /// Takes over the page of a pod, if a new one has arrived.
    fn read(&mut self, pod: &PodSight, now: f64) {
        let new = || Page::new(&self.measures.all, self.times, now);
        let page = self.by_pod.entry(pod.id).or_insert_with(new);
        let Some(reading) = pod.reading.as_deref() else { return };
        let Reading { at, .. } = reading;
        if !page.is_news(*at) {
            return;
        }
        let text = self.text.write(reading);
        if self.extractor.read(text.as_bytes(), &mut self.scratch, &mut self.extracts).is_err() {
            return;
        }
        page.push(*at, &self.extracts);
    }

    /// Returns the latest sample of a measure of a pod, or the reason why there is none.
    fn lookup(&self, pod: &PodSight, place: usize, now: f64) -> Lookup {
        let failed = pod.has_failed.then(|| "connection refused".to_owned());
        match self.by_pod.get(&pod.id) {
            Some(page) => page.lookup(place, failed, now),
            None => Lookup::Pending { error: failed },
        }
    }
}
