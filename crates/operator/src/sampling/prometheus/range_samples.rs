//! The samples of pods in the answer to a range query, and the reasons to doubt them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{
    Measure,
    exposition::Scratch,
    prometheus::{PodLabels, PodReading, PodSeries, QueryData, group_by_pod, late_after},
};

use crate::{
    lock::lock,
    sampling::{error::FetchError, memory::Reservation, prometheus::instant_query::QueryResult},
};

/// The latest results of the queries for a selection of series.
#[derive(Clone, Debug, Default)]
pub(super) struct RangeResults {
    /// The error of the latest query.
    pub(super) error: Option<FetchError>,
    /// The latest response.
    pub(super) latest: Option<RangeResponse>,
}

/// The response to a range query. Cheap to clone: all selections of the query share it.
#[derive(Clone, Debug)]
pub(super) struct RangeResponse {
    pub(super) at: Monotonic,
    /// The server's time of the response, in seconds since 1970.
    server_time: f64,
    /// The warnings of the response.
    pub(super) warnings: Arc<[String]>,
    samples: Arc<Mutex<RangeSamples>>,
}

/// The samples of pods over a range of time.
#[derive(Debug, Default)]
struct RangeSamples {
    /// The shortest spacing of a namespace's series in seconds, for a pod with a single sample: it
    /// is scraped as often as its neighbours.
    spacings: HashMap<Arc<str>, f64>,
    /// The pods, by namespace and name.
    pods: HashMap<Arc<str>, HashMap<Arc<str>, PodSamples>>,
    /// The memory of the series and readings, reserved as long as they are here.
    memory: Option<Reservation>,
}

/// The series of a pod, and the readings that have been taken from them.
#[derive(Debug)]
struct PodSamples {
    series: PodSeries,
    readings: Vec<(Arc<Measure>, Option<PodReading>)>,
}

/// The value of a measure of a pod.
pub(super) struct PodSample {
    pub(super) reading: PodReading,
    /// The time since the server scraped it.
    pub(super) age: Duration,
    /// The reason why it is not the pod's number of now.
    pub(super) doubt: Option<SampleDoubt>,
}

/// A reason to doubt a sample.
#[derive(Debug, PartialEq)]
pub(super) enum SampleDoubt {
    /// The latest query has failed.
    Failed(FetchError),
    /// The latest response has this warning.
    Warned(String),
    /// The server has not scraped the pod lately, as far as the spacing of its samples tells.
    Late {
        /// The age of the sample at the time of the query.
        age: Duration,
        /// The time from one sample to the next; `None` if no pod of the namespace shows it.
        spacing: Option<Duration>,
    },
    /// The pod has the series at this many addresses.
    Addresses(usize),
    /// Less than half of the window is known.
    Young,
}

impl RangeResults {
    /// Returns the warnings of the latest response.
    pub(super) fn warnings(&self) -> &[String] {
        self.latest.as_ref().map_or(&[], |response| &response.warnings)
    }

    /// Returns the sample of a pod, given by namespace and name. `Ok(None)` before the first query,
    /// and if the latest response has no series of the pod.
    ///
    /// # Errors
    /// The latest query failed, and no earlier response has a series of the pod.
    pub(super) fn sample(
        &self,
        pod: (&str, &str),
        measure: &Arc<Measure>,
        stale_after: Duration,
        now: Monotonic,
    ) -> Result<Option<PodSample>, FetchError> {
        let missing = || self.error.clone().map_or(Ok(None), Err);
        let Some(response) = &self.latest else { return missing() };
        let (reading, spacing) = {
            let mut samples = lock(&response.samples);
            let Some(reading) = samples.reading(pod, measure, stale_after) else {
                return missing();
            };
            let spacing = reading.spacing.or_else(|| samples.spacings.get(pod.0).copied());
            (reading, spacing)
        };
        let then = seconds(response.server_time - reading.at);
        let doubt = self.doubt(&reading, spacing, then, stale_after);
        let age = then.saturating_add(now.since(response.at));
        Ok(Some(PodSample { reading, age, doubt }))
    }

    /// Returns why a reading is in doubt. `age` is that of its latest sample at the time of the
    /// query. Where the spacing is unknown, it is taken to be at most half of `stale_after`, as the
    /// documentation of that field demands.
    fn doubt(
        &self,
        reading: &PodReading,
        spacing: Option<f64>,
        age: Duration,
        stale_after: Duration,
    ) -> Option<SampleDoubt> {
        if let Some(error) = &self.error {
            return Some(SampleDoubt::Failed(error.clone()));
        }
        let mut warnings = self.latest.iter().flat_map(|response| response.warnings.iter());
        if let Some(warning) = warnings.next() {
            return Some(SampleDoubt::Warned(warning.clone()));
        }
        let late_after = spacing.map_or(stale_after / 2, |spacing| seconds(late_after(spacing)));
        if age > late_after {
            return Some(SampleDoubt::Late { age, spacing: spacing.map(seconds) });
        }
        if reading.addresses > 1 {
            return Some(SampleDoubt::Addresses(reading.addresses));
        }
        reading.is_young.then_some(SampleDoubt::Young)
    }
}

impl RangeResponse {
    /// Sorts the series of a result by pod.
    pub(super) fn new(result: QueryResult, labels: &PodLabels, at: Monotonic) -> Self {
        let QueryResult { response, now: server_time, memory, .. } = result;
        let mut samples = RangeSamples { memory: Some(memory), ..RangeSamples::default() };
        if let QueryData::Series(series) = response.data {
            for ((namespace, pod), series) in group_by_pod(series, labels) {
                if let Some(spacing) = series.shortest_spacing() {
                    let known = samples.spacings.entry(namespace.clone()).or_insert(spacing);
                    *known = known.min(spacing);
                }
                let readings = Vec::new();
                let pods = samples.pods.entry(namespace).or_default();
                pods.insert(pod, PodSamples { series, readings });
            }
        }
        let samples = Arc::new(Mutex::new(samples));
        Self { at, server_time, warnings: response.warnings.into(), samples }
    }
}

impl RangeSamples {
    fn reading(
        &mut self,
        (namespace, name): (&str, &str),
        measure: &Arc<Measure>,
        gap: Duration,
    ) -> Option<PodReading> {
        let Self { pods, memory, .. } = self;
        let PodSamples { series, readings } = pods.get_mut(namespace)?.get_mut(name)?;
        if let Some((_, reading)) = readings.iter().find(|(known, _)| Arc::ptr_eq(known, measure)) {
            return reading.clone();
        }
        let reading = series.reading(measure, gap, &mut Scratch::default());
        // Where there is no memory for it, it is made again when it is needed.
        let has_room = memory.as_mut().is_none_or(|memory| {
            memory.grow_to(memory.bytes() + size_of_reading(reading.as_ref())).is_ok()
        });
        if has_room {
            readings.push((measure.clone(), reading.clone()));
        }
        reading
    }
}

/// Returns the memory of a reading that is kept, in bytes.
fn size_of_reading(reading: Option<&PodReading>) -> usize {
    let values = reading.map_or(0, |it| it.value.memory() + it.extract.value.memory());
    size_of::<(Arc<Measure>, Option<PodReading>)>() + values
}

/// Returns a time in seconds as a duration; zero if it is negative.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}
