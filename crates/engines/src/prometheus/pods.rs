//! The series of a response, sorted by pod, and the readings that they make.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use super::{
    Series,
    scrapes::{self, Choice, Conflict},
    stored::Family,
};
use crate::{
    exposition::{Extract, Extractor, LabelSet, Scratch, Value, number},
    window::{Measure, Track},
};

/// The names of the labels by which a server identifies the pod of a series, and of those that only
/// repeat a series.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodLabels {
    /// The label of the namespace, usually `namespace`.
    pub namespace: String,
    /// The label of the pod, usually `pod`.
    pub pod: String,
    /// The labels of replicas of a server, such as `prometheus_replica`. Series that differ only in
    /// these are one.
    pub replicas: Arc<[String]>,
}

/// The series of one pod.
#[derive(Clone, Debug, Default)]
pub struct PodSeries {
    series: Vec<Series>,
    replica_labels: Arc<[String]>,
}

/// The value of a measure that the series of one pod have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodReading {
    /// The number, or the events of the window.
    pub value: Value,
    /// The time of the latest sample, in seconds since 1970 by the clock of the server that scraped
    /// it.
    pub at: f64,
    /// The result of the latest sample, with the name that it was found under.
    pub extract: Extract,
    /// The number of scrapes of the pod that have it and are not over. Only the one with the latest
    /// sample counts. Those of other replicas of a server are not counted.
    pub scrapes: usize,
    /// True if less than half of the window is known.
    pub is_young: bool,
    /// The number of addresses of the pod that have it. Several may be parts of the value or repeat
    /// it; the labels do not show which.
    pub addresses: usize,
    /// The seconds from one sample to the next; `None` if there is one sample.
    pub spacing: Option<f64>,
    /// The label by which there are several pods of this name, so that the value is no number of
    /// the pod; `None` if there is one.
    pub conflict: Option<Conflict>,
    /// True if all series of the pod are NaN at the time of the latest sample. `VictoriaMetrics`
    /// marks the end of a series so, after a scrape that failed; Prometheus keeps such markers to
    /// itself. A page with nothing but NaN looks the same.
    pub is_marked: bool,
}

/// Groups the series of a response by namespace and pod. Series without these labels are left out.
/// The names are those of the response, so that a pod costs little beside its series.
pub fn group_by_pod(
    series: Vec<Series>,
    labels: &PodLabels,
) -> HashMap<(Arc<str>, Arc<str>), PodSeries> {
    let mut pods: HashMap<(Arc<str>, Arc<str>), PodSeries> = HashMap::new();
    for series in series {
        let (namespace, pod) = (series.text(&labels.namespace), series.text(&labels.pod));
        let Some((namespace, pod)) = namespace.zip(pod) else { continue };
        let key = (namespace.clone(), pod.clone());
        let pod = pods.entry(key).or_insert_with(|| PodSeries {
            series: Vec::with_capacity(1),
            replica_labels: labels.replicas.clone(),
        });
        pod.series.push(series);
    }
    pods
}

impl PodSeries {
    /// Returns the shortest spacing of its series, in seconds. `None` if each has one sample.
    pub fn shortest_spacing(&self) -> Option<f64> {
        let spacings = self.series.iter().filter_map(scrapes::spacing_of);
        spacings.min_by(f64::total_cmp)
    }

    /// Computes the value of a measure. `None` if the pod has no series of it.
    ///
    /// A gauge's sample covers at most `gap`, as in [`Track::new`].
    pub fn reading(
        &self,
        measure: &Measure,
        gap: Duration,
        scratch: &mut Scratch,
    ) -> Option<PodReading> {
        let families = Family::all_of(&measure.recipe);
        let found: Vec<_> =
            families.iter().flat_map(|family| family.series(&self.series)).collect();
        let series = found.iter().map(|series| &**series);
        let Choice { series, spacing, scrapes, addresses, conflict } =
            scrapes::choose(series, &self.replica_labels)?;
        let reading = replay(&series, measure, gap, scratch);
        let is_marked = self.is_marked(reading.at);
        Some(PodReading { scrapes, addresses, spacing, conflict, is_marked, ..reading })
    }

    /// Returns true if all samples of this time are NaN.
    fn is_marked(&self, at: f64) -> bool {
        let of_then = |series: &Series| {
            let index = series.samples.partition_point(|(earlier, _)| *earlier < at);
            series.samples.get(index).filter(|(found, _)| found.total_cmp(&at).is_eq()).copied()
        };
        let mut values = self.series.iter().filter_map(of_then).map(|(_, value)| value).peekable();
        values.peek().is_some() && values.all(f64::is_nan)
    }
}

/// Feeds the samples of one scrape's series to a track, one moment after the other.
fn replay(
    series: &[&Series],
    measure: &Measure,
    gap: Duration,
    scratch: &mut Scratch,
) -> PodReading {
    let extractor = Extractor::new(std::slice::from_ref(&measure.recipe));
    let mut track = Track::new(measure.recipe.kind(), measure.window, gap);
    let (mut out, mut at_last) = (Vec::new(), 0.0);
    for_each_moment(series, |at, moment| {
        let samples = moment.iter().map(|(series, value)| (&*series.name, *series, *value));
        extractor.collect(samples, scratch, &mut out);
        if let Ok(since) = Duration::try_from_secs_f64(at) {
            track.push(since, &out[0].value);
            at_last = at;
        }
    });
    let extract = out.pop().unwrap_or_default();
    let (value, is_young) = (finite(track.value()), track.is_young());
    PodReading { value, at: at_last, extract, is_young, ..PodReading::default() }
}

/// Calls `visit` with each time of a sample and the samples of that time, the oldest first. The
/// duration grows with the number of samples, whether or not series have times in common.
fn for_each_moment<'s>(series: &[&'s Series], mut visit: impl FnMut(f64, &[(&'s Series, f64)])) {
    // Times are not negative, so that their bits have their order.
    let head = |place: usize, from: usize| {
        let mut samples = series[place].samples.iter().enumerate().skip(from);
        let (index, (at, _)) = samples.find(|(_, (at, _))| at.is_finite() && *at >= 0.0)?;
        Some(Reverse(((at + 0.0).to_bits(), place, index)))
    };
    let mut heads: BinaryHeap<_> = (0..series.len()).filter_map(|place| head(place, 0)).collect();
    let mut moment = Vec::new();
    while let Some(&Reverse((at, ..))) = heads.peek() {
        moment.clear();
        let mut latest = None;
        while let Some(&Reverse((time, place, index))) = heads.peek()
            && time <= at
        {
            heads.pop();
            // A series counts once; a sample that comes too late in it does not count.
            if time == at && latest != Some(place) {
                moment.push((series[place], series[place].samples[index].1));
                latest = Some(place);
            }
            heads.extend(head(place, index + 1));
        }
        visit(f64::from_bits(at), &moment);
    }
}

/// Returns the value, or `Absent` if the sum of a window has overflowed.
fn finite(value: Value) -> Value {
    let is_finite = match &value {
        Value::Absent => true,
        Value::Number(number) => number.is_finite(),
        Value::Buckets(buckets) => buckets.counts().iter().all(|count| count.is_finite()),
    };
    if is_finite { value } else { Value::Absent }
}

impl LabelSet for &Series {
    fn has(&self, name: &str, value: &str) -> bool {
        self.label(name).unwrap_or_default() == value
    }

    fn number(&self, name: &str) -> Option<f64> {
        number(self.label(name)?.as_bytes())
    }

    fn for_each(&self, visit: &mut dyn FnMut(&[u8], u64)) {
        for label in &self.labels {
            let mut hasher = DefaultHasher::new();
            label.hash(&mut hasher);
            visit(label.0.as_bytes(), if label.1.is_empty() { 0 } else { hasher.finish() });
        }
    }
}

#[cfg(test)]
mod tests;
