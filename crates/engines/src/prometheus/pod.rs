//! What an answer says about pods.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use super::Series;
use crate::{
    Measure, Track,
    exposition::{Extract, Extractor, Labels, Scratch, Value, number},
};

/// How a server calls the labels that say whose a series is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodLabels {
    /// Of the namespace; usually `namespace`.
    pub namespace: String,
    /// Of the pod; usually `pod`.
    pub pod: String,
}

/// Labels that say how a series was scraped, not what it is about: a pod that is scraped twice has each series twice.
const OF_THE_SCRAPE: [&str; 7] =
    [INSTANCE, "job", "endpoint", "container", "prometheus", "prometheus_replica", "__replica__"];
/// The address that was scraped.
const INSTANCE: &str = "instance";

/// The series of one pod.
#[derive(Clone, Debug, Default)]
pub struct PodSeries(Vec<Series>);

/// What the series of a pod say about a measure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodReading {
    /// The number, or the events of the window.
    pub value: Value,
    /// When the latest sample was scraped, in seconds since 1970 by the scraper's clock.
    pub at: f64,
    /// Under which name it was found.
    pub extract: Extract,
    /// How many scrapes of the pod have it. One of them counts, the one with the latest sample.
    pub scrapes: usize,
    /// Whether less than half of its window is known.
    pub is_young: bool,
    /// How many addresses of the pod have it. Whether several are parts of it or the same thing twice cannot be known.
    pub addresses: usize,
}

/// The series of an answer by namespace and pod. Those that are nobody's are left out.
pub fn by_pod(series: Vec<Series>, labels: &PodLabels) -> HashMap<(String, String), PodSeries> {
    let mut pods: HashMap<(String, String), PodSeries> = HashMap::new();
    for series in series {
        let label =
            |wanted: &str| Some(series.labels.iter().find(|(name, _)| name == wanted)?.1.clone());
        let Some(key) = label(&labels.namespace).zip(label(&labels.pod)) else { continue };
        pods.entry(key).or_default().0.push(series);
    }
    pods
}

impl PodSeries {
    /// Adds series of the same pod from another answer.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// What they say about a measure; `None` if they have none of its families.
    pub fn reading(
        &self,
        measure: &Measure,
        gap: Duration,
        scratch: &mut Scratch,
    ) -> Option<PodReading> {
        let families: Vec<String> = measure.recipe.families().collect();
        let mut scrapes: BTreeMap<Vec<(&str, &str)>, Vec<&Series>> = BTreeMap::new();
        for series in self.0.iter().filter(|series| families.contains(&series.name)) {
            scrapes.entry(scrape_of(series)).or_default().push(series);
        }
        let latest = |series: &[&Series]| {
            let times = series.iter().filter_map(|series| Some(series.samples.last()?.0));
            times.fold(f64::NEG_INFINITY, f64::max)
        };
        let count = scrapes.len();
        let address = |scrape: &Vec<_>| scrape.iter().find(|(name, _)| *name == INSTANCE).copied();
        let addresses = scrapes.keys().map(address).collect::<HashSet<_>>().len();
        let best = scrapes.into_values().max_by(|a, b| latest(a).total_cmp(&latest(b)))?;
        let mut reading = replay(&best, measure, gap, scratch);
        reading.scrapes = count;
        reading.addresses = addresses;
        Some(reading)
    }
}

/// Feeds the samples of one scrape's series to a track, moment by moment.
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
            found.total_cmp(&at).is_eq().then_some((&*series.name, OfSeries(series), *value))
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

/// The value, unless it is so large that no float holds what a window adds up.
fn finite(value: Value) -> Value {
    let is_finite = match &value {
        Value::Absent => true,
        Value::Number(number) => number.is_finite(),
        Value::Buckets(buckets) => buckets.counts().iter().all(|count| count.is_finite()),
    };
    if is_finite { value } else { Value::Absent }
}

fn scrape_of(series: &Series) -> Vec<(&str, &str)> {
    let labels = series.labels.iter().filter(|(name, _)| OF_THE_SCRAPE.contains(&&**name));
    let mut labels: Vec<_> = labels.map(|(name, value)| (&**name, &**value)).collect();
    labels.sort_unstable();
    labels
}

struct OfSeries<'s>(&'s Series);

impl OfSeries<'_> {
    fn find(&self, wanted: &str) -> Option<&str> {
        self.0.labels.iter().find(|(name, _)| name == wanted).map(|(_, value)| &**value)
    }
}

impl Labels for OfSeries<'_> {
    fn has(&self, name: &str, value: &str) -> bool {
        self.find(name).unwrap_or_default() == value
    }

    fn number(&self, name: &str) -> Option<f64> {
        number(self.find(name)?.as_bytes())
    }

    fn each(&self, see: &mut dyn FnMut(&[u8], u64)) {
        for label in &self.0.labels {
            let mut hasher = DefaultHasher::new();
            label.hash(&mut hasher);
            see(label.0.as_bytes(), if label.1.is_empty() { 0 } else { hasher.finish() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Recipe};

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
        let pods = by_pod(series.to_vec(), &labels);
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
    fn scrapes_of_one_pod_do_not() {
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
        assert_eq!(reading.addresses, 2, "parts, or twice the same");
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
    fn what_no_float_holds_is_absent() {
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
    fn any_time_may_be_claimed() {
        let found = [series("q", &[], &[(1.0, 3.0), (1.2e19, 5.0)])];
        let reading = reading(&found, &measure(Kind::Gauge, "q", 60)).unwrap();
        assert_eq!((reading.at, reading.is_young), (1.2e19, false));
    }

    #[test]
    fn nobodys_series_are_left_out() {
        let mut stray = series("q", &[], &[(1.0, 1.0)]);
        stray.labels.retain(|(name, _)| name != "pod");
        assert_eq!(reading(&[stray], &measure(Kind::Gauge, "q", 0)), None);
    }
}
