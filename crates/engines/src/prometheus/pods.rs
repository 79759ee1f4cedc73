//! The series of a response, sorted by pod, and the readings that they make.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use super::Series;
use crate::{
    exposition::{Extract, Extractor, LabelSet, Scratch, Value, number},
    window::{Measure, Track},
};

/// The names of the labels by which a server identifies the pod of a series.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodLabels {
    /// The label of the namespace, usually `namespace`.
    pub namespace: String,
    /// The label of the pod, usually `pod`.
    pub pod: String,
}

/// Labels that identify a scrape, not a series. A pod that two jobs scrape has each of its series
/// twice, and the two differ in these.
const SCRAPE_LABELS: [&str; 7] =
    [INSTANCE, "job", "endpoint", "container", "prometheus", "prometheus_replica", "__replica__"];
/// The label of the address that was scraped.
const INSTANCE: &str = "instance";

/// The series of one pod.
#[derive(Clone, Debug, Default)]
pub struct PodSeries(Vec<Series>);

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
    /// The number of scrapes of the pod that have it. Only the one with the latest sample counts.
    pub scrapes: usize,
    /// True if less than half of the window is known.
    pub is_young: bool,
    /// The number of addresses of the pod that have it. Several may be parts of the value or repeat
    /// it; the labels do not show which.
    pub addresses: usize,
}

/// Groups the series of a response by namespace and pod. Series without these labels are left out.
pub fn group_by_pod(
    series: Vec<Series>,
    labels: &PodLabels,
) -> HashMap<(String, String), PodSeries> {
    let mut pods: HashMap<(String, String), PodSeries> = HashMap::new();
    for series in series {
        let (namespace, pod) = (series.label(&labels.namespace), series.label(&labels.pod));
        let Some((namespace, pod)) = namespace.zip(pod) else { continue };
        let key = (namespace.to_owned(), pod.to_owned());
        pods.entry(key).or_default().0.push(series);
    }
    pods
}

impl PodSeries {
    /// Adds series of the same pod from another response.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Computes the value of a measure. `None` if the pod has no series of its families.
    ///
    /// A gauge's sample covers at most `gap`, as in [`Track::new`].
    pub fn reading(
        &self,
        measure: &Measure,
        gap: Duration,
        scratch: &mut Scratch,
    ) -> Option<PodReading> {
        let families: Vec<String> = measure.recipe.families().collect();
        let mut scrapes: BTreeMap<Vec<(&str, &str)>, Vec<&Series>> = BTreeMap::new();
        for series in self.0.iter().filter(|series| families.contains(&series.name)) {
            scrapes.entry(scrape_labels(series)).or_default().push(series);
        }
        let count = scrapes.len();
        let addresses = scrapes.keys().map(|labels| address(labels)).collect::<HashSet<_>>().len();
        let best =
            scrapes.into_values().max_by(|a, b| latest_sample(a).total_cmp(&latest_sample(b)))?;
        let mut reading = replay(&best, measure, gap, scratch);
        reading.scrapes = count;
        reading.addresses = addresses;
        Some(reading)
    }
}

/// Feeds the samples of one scrape's series to a track, one moment after the other.
fn replay(
    series: &[&Series],
    measure: &Measure,
    gap: Duration,
    scratch: &mut Scratch,
) -> PodReading {
    let mut times: Vec<f64> =
        series.iter().flat_map(|series| &series.samples).map(|(at, _)| *at).collect();
    times.retain(|at| at.is_finite() && *at >= 0.0);
    times.sort_by(f64::total_cmp);
    times.dedup();
    let extractor = Extractor::new(std::slice::from_ref(&measure.recipe));
    let mut track = Track::new(measure.recipe.kind(), measure.window, gap);
    let (mut out, mut at_last) = (Vec::new(), 0.0);
    for at in times {
        let moment = series.iter().filter_map(|series| {
            let index = series.samples.partition_point(|(earlier, _)| *earlier < at);
            let (found, value) = series.samples.get(index)?;
            found.total_cmp(&at).is_eq().then_some((&*series.name, *series, *value))
        });
        extractor.collect(moment, scratch, &mut out);
        let Ok(since) = Duration::try_from_secs_f64(at) else { continue };
        track.push(since, &out[0].value);
        at_last = at;
    }
    let extract = out.pop().unwrap_or_default();
    let (value, is_young) = (finite(track.value()), track.is_young());
    PodReading { value, at: at_last, extract, scrapes: 1, is_young, addresses: 1 }
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

/// Returns the labels of a series that identify its scrape, sorted.
fn scrape_labels(series: &Series) -> Vec<(&str, &str)> {
    let labels = series.labels.iter().filter(|(name, _)| SCRAPE_LABELS.contains(&&**name));
    let mut labels: Vec<_> = labels.map(|(name, value)| (&**name, &**value)).collect();
    labels.sort_unstable();
    labels
}

fn address<'s>(scrape_labels: &[(&'s str, &'s str)]) -> Option<&'s str> {
    scrape_labels.iter().find(|(name, _)| *name == INSTANCE).map(|(_, value)| *value)
}

/// Returns the time of the latest sample of all series.
fn latest_sample(series: &[&Series]) -> f64 {
    let times = series.iter().filter_map(|series| Some(series.samples.last()?.0));
    times.fold(f64::NEG_INFINITY, f64::max)
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
mod tests {
    use super::*;
    use crate::{kind::Kind, recipe::Recipe};

    fn series(name: &str, labels: &[(&str, &str)], samples: &[(f64, f64)]) -> Series {
        let own = [("namespace", "models"), ("pod", "a-0")];
        let labels =
            own.iter().chain(labels).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Series { name: name.to_owned(), labels: labels.collect(), samples: samples.to_vec() }
    }

    fn measure(kind: Kind, name: &str, window: u64) -> Measure {
        Measure { recipe: Recipe::series(kind, name, []), window: Duration::from_secs(window) }
    }

    fn reading(series: &[Series], measure: &Measure) -> Option<PodReading> {
        let labels = PodLabels { namespace: "namespace".to_owned(), pod: "pod".to_owned() };
        let pods = group_by_pod(series.to_vec(), &labels);
        let key = ("models".to_owned(), "a-0".to_owned());
        pods.get(&key)?.reading(measure, Duration::from_secs(30), &mut Scratch::default())
    }

    #[test]
    fn engines_of_one_scrape_add_up() {
        let found = [
            series("q", &[("engine", "0")], &[(100.0, 1.0), (115.0, 3.0)]),
            series("q", &[("engine", "1")], &[(100.0, 1.0), (115.0, 4.0)]),
            series("other", &[], &[(116.0, 9.0)]),
        ];
        let reading = reading(&found, &measure(Kind::Gauge, "q", 0)).unwrap();
        assert_eq!((reading.value, reading.at, reading.scrapes), (Value::Number(7.0), 115.0, 1));
    }

    #[test]
    fn scrapes_of_one_pod_do_not_add_up() {
        let found = [
            series("q", &[("job", "a")], &[(100.0, 5.0), (115.0, 6.0)]),
            series("q", &[("job", "b")], &[(104.0, 5.0), (119.0, 7.0)]),
        ];
        let reading = reading(&found, &measure(Kind::Gauge, "q", 0)).unwrap();
        assert_eq!((reading.value, reading.at, reading.scrapes), (Value::Number(7.0), 119.0, 2));
        assert_eq!(reading.addresses, 1);

        let found = [
            series("q", &[("instance", "10.0.0.1:8000")], &[(115.0, 6.0)]),
            series("q", &[("instance", "10.0.0.1:8001")], &[(119.0, 7.0)]),
        ];
        let reading = super::tests::reading(&found, &measure(Kind::Gauge, "q", 0)).unwrap();
        assert_eq!(reading.addresses, 2, "parts of one value, or one value twice");
    }

    #[test]
    fn windows_are_made_of_the_samples() {
        let samples: Vec<_> = (0..8).map(|n| (f64::from(n) * 15.0, f64::from(n) * 30.0)).collect();
        let found = [series("t_total", &[], &samples)];
        let reading = reading(&found, &measure(Kind::Counter, "t_total", 60)).unwrap();
        assert_eq!(reading.value, Value::Number(2.0));
        assert_eq!(super::tests::reading(&found, &measure(Kind::Counter, "x", 60)), None);

        let bucket =
            |le: &str, last: f64| series("t_bucket", &[("le", le)], &[(1.0, 0.0), (16.0, last)]);
        let found = [bucket("0.5", 4.0), bucket("+Inf", 10.0)];
        let reading = super::tests::reading(&found, &measure(Kind::Histogram, "t", 60)).unwrap();
        let Value::Buckets(buckets) = reading.value else { panic!("{reading:?}") };
        assert_eq!(buckets.counts(), [4.0, 10.0]);
    }

    #[test]
    fn a_sum_that_overflows_is_absent() {
        let absent = |kind, series: &[Series], name| {
            let reading = reading(series, &measure(kind, name, 60)).unwrap();
            assert_eq!(reading.value, Value::Absent, "{name}");
        };
        absent(Kind::Gauge, &[series("q", &[], &[(1.0, f64::MAX), (16.0, f64::MAX)])], "q");
        absent(
            Kind::Counter,
            &[series("t_total", &[], &[(1.0, f64::MIN), (16.0, f64::MAX)])],
            "t_total",
        );
        let samples = [(1.0, 0.0), (16.0, f64::MAX), (31.0, 0.0), (46.0, f64::MAX)];
        let found = [
            series("h_bucket", &[("le", "1")], &samples),
            series("h_bucket", &[("le", "+Inf")], &samples),
        ];
        absent(Kind::Histogram, &found, "h");
    }

    #[test]
    fn a_server_may_report_any_time() {
        let found = [series("q", &[], &[(1.0, 3.0), (1.2e19, 5.0)])];
        let reading = reading(&found, &measure(Kind::Gauge, "q", 60)).unwrap();
        assert_eq!((reading.at, reading.is_young), (1.2e19, false));
    }

    #[test]
    fn a_sample_that_is_no_number_is_called_by_its_name() {
        let measure = measure(Kind::Gauge, "q", 0);
        for (value, name) in
            [(f64::NAN, "NaN"), (f64::INFINITY, "+Inf"), (f64::NEG_INFINITY, "-Inf")]
        {
            let found = [series("q", &[], &[(100.0, 1.0), (115.0, value)])];
            let reading = reading(&found, &measure).unwrap();
            assert_eq!(reading.value, Value::Absent, "{name}");
            let text = reading.extract.not_finite.map(|flaw| flaw.describe(&measure.recipe));
            assert_eq!(text, Some(format!("q is {name}, which is no number")));
        }
    }

    #[test]
    fn series_without_a_pod_are_left_out() {
        let mut stray = series("q", &[], &[(1.0, 1.0)]);
        stray.labels.retain(|(name, _)| name != "pod");
        assert_eq!(reading(&[stray], &measure(Kind::Gauge, "q", 0)), None);
    }
}
