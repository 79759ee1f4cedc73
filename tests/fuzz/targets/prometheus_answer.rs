//! Any bytes as a response of a Prometheus server: the parser never panics, and the value of a pod
//! is a number or absent.
#![no_main]

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary, Unstructured},
    fuzz_target,
};
use llm_autoscaler_engines::{
    Kind, Measure, Recipe,
    exposition::{Scratch, Value},
    prometheus::{
        Bucket, Histogram, PodLabels, PodReading, PodSeries, QueryData, QueryResponse, Series,
        group_by_pod,
    },
};
use serde_json::json;

const NAMES: [&str; 6] = ["q", "t_total", "h_bucket", "h", "a.b", ""];
const LABELS: [&str; 9] =
    ["namespace", "pod", "instance", "job", "le", "tp_rank", "engine", "k8s.pod", "__name__"];
const VALUES: [&str; 9] = ["models", "a-0", "a-1", "0.5", "1", "+Inf", "NaN", "", "10.0.0.1:8000"];

static MEASURES: LazyLock<Vec<Measure>> = LazyLock::new(|| {
    let window = |seconds| Duration::from_secs(seconds);
    let repeats = || ["tp_rank".to_owned()];
    let engine = [("engine".to_owned(), "1".to_owned())];
    vec![
        Measure { recipe: Recipe::series(Kind::Gauge, "q", []), window: window(0) },
        Measure { recipe: Recipe::series(Kind::Gauge, "q", engine), window: window(60) },
        Measure {
            recipe: Recipe::series(Kind::Gauge, "q", []).with_repeat_labels(repeats()),
            window: window(30),
        },
        Measure { recipe: Recipe::series(Kind::Gauge, "a.b", []), window: window(0) },
        Measure { recipe: Recipe::series(Kind::Counter, "t_total", []), window: window(60) },
        Measure { recipe: Recipe::series(Kind::Histogram, "h", []), window: window(60) },
        Measure { recipe: Recipe::series(Kind::Counter, "h_count", []), window: window(60) },
        Measure {
            recipe: Recipe::series(Kind::Histogram, "h", []).with_repeat_labels(repeats()),
            window: window(15),
        },
    ]
});

#[derive(Arbitrary, Debug)]
struct Point {
    /// Milliseconds from a fixed moment, so that most times are near each other.
    at: u16,
    far: bool,
    value: Number,
}

#[derive(Arbitrary, Debug)]
enum Number {
    Small(i16),
    Any(f64),
}

#[derive(Arbitrary, Debug)]
struct NativePoint {
    point: Point,
    sum: Number,
    /// The bounds and the count of each bucket.
    buckets: Vec<(Number, Number, Number)>,
}

impl Point {
    fn time(&self) -> f64 {
        let at = f64::from(self.at);
        if self.far { at * 1e15 } else { 1_700_000_000.0 + at / 1000.0 }
    }
}

impl NativePoint {
    fn histogram(self) -> (f64, Histogram) {
        let buckets = self.buckets.iter().take(8).map(|(lower, upper, count)| Bucket {
            lower: lower.number(),
            upper: upper.number(),
            count: count.number(),
        });
        let mut buckets: Vec<Bucket> = buckets.collect();
        // As the parser leaves them.
        buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
        let (count, sum) = (self.point.value.number(), self.sum.number());
        (self.point.time(), Histogram { count, sum, buckets })
    }
}

impl Number {
    fn number(&self) -> f64 {
        match self {
            Self::Small(value) => f64::from(*value),
            Self::Any(value) => *value,
        }
    }
}

/// Makes series that a server might return. The labels of a series have distinct names.
fn series(input: &mut Unstructured) -> arbitrary::Result<Vec<Series>> {
    let mut all = Vec::new();
    for _ in 0..input.int_in_range(0..=12)? {
        let name = (*input.choose(&NAMES)?).into();
        let mut labels: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        for label in LABELS {
            // `__name__` is not a label but the name.
            if label != "__name__" && input.ratio(1, 2)? {
                labels.push((label.into(), (*input.choose(&VALUES)?).into()));
            }
        }
        let samples = input.arbitrary_iter::<Point>()?.take(20);
        let samples = samples.map(|point| point.map(|point| (point.time(), point.value.number())));
        let samples = samples.collect::<arbitrary::Result<_>>()?;
        let histograms = input.arbitrary_iter::<NativePoint>()?.take(5);
        let histograms = histograms.map(|point| point.map(NativePoint::histogram));
        let histograms = histograms.collect::<arbitrary::Result<_>>()?;
        all.push(Series { name, labels, samples, histograms });
    }
    Ok(all)
}

/// Returns the response that has these series.
fn body(series: &[Series]) -> Vec<u8> {
    let text = |value: f64| {
        if value.is_nan() {
            "NaN".to_owned()
        } else if value.is_infinite() {
            if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
        } else {
            value.to_string()
        }
    };
    let result: Vec<_> = series
        .iter()
        .map(|series| {
            let mut metric: serde_json::Map<_, _> =
                series.labels.iter().map(|(name, value)| (name.to_string(), json!(&**value))).collect();
            metric.insert("__name__".to_owned(), json!(&*series.name));
            let values: Vec<_> =
                series.samples.iter().map(|(at, value)| json!([at, text(*value)])).collect();
            let buckets = |found: &Histogram| {
                let buckets = found.buckets.iter();
                let buckets = buckets.map(|Bucket { lower, upper, count }| {
                    json!([0, text(*lower), text(*upper), text(*count)])
                });
                buckets.collect::<Vec<_>>()
            };
            let histograms: Vec<_> = series
                .histograms
                .iter()
                .map(|(at, found)| {
                    let (count, sum) = (text(found.count), text(found.sum));
                    json!([at, {"count": count, "sum": sum, "buckets": buckets(found)}])
                })
                .collect();
            json!({"metric": metric, "values": values, "histograms": histograms})
        })
        .collect();
    let response = json!({"status": "success", "data": {"resultType": "matrix", "result": result}});
    serde_json::to_vec(&response).expect("it is JSON")
}

fn same(a: f64, b: f64) -> bool {
    a.total_cmp(&b).is_eq() || a.is_nan() && b.is_nan()
}

/// Asserts that the series that were written are read back. The order of labels differs.
fn round_trip(written: &[Series]) -> Vec<Series> {
    let response = QueryResponse::parse(&body(written)).expect("it is a response");
    let QueryData::Series(read) = response.data else { panic!("it has series") };
    assert_eq!(read.len(), written.len());
    for (read, written) in read.iter().zip(written) {
        assert_eq!(read.name, written.name);
        let mut labels = (read.labels.clone(), written.labels.clone());
        labels.0.sort();
        labels.1.sort();
        assert_eq!(labels.0, labels.1);
        assert_eq!(read.samples.len(), written.samples.len());
        for (read, written) in read.samples.iter().zip(&written.samples) {
            assert!(same(read.0, written.0) && same(read.1, written.1), "{read:?} {written:?}");
        }
        assert_eq!(read.histograms.len(), written.histograms.len());
        for ((at, read), (then, written)) in read.histograms.iter().zip(&written.histograms) {
            assert!(same(*at, *then) && same(read.count, written.count), "{read:?} {written:?}");
            assert_eq!(read.buckets.len(), written.buckets.len());
        }
    }
    read
}

fn is_sound(value: &Value) -> bool {
    match value {
        Value::Absent => true,
        Value::Number(number) => number.is_finite(),
        Value::Buckets(buckets) => {
            let (bounds, counts) = (buckets.bounds(), buckets.counts());
            bounds.len() == counts.len()
                && bounds.last() == Some(&f64::INFINITY)
                && bounds.is_sorted_by(|a, b| a < b)
                && counts.iter().all(|count| count.is_finite() && *count >= 0.0)
        }
    }
}

fn check(pod: &PodSeries, scratch: &mut Scratch) {
    for measure in &*MEASURES {
        let gap = Duration::from_secs(30);
        let reading = pod.reading(measure, gap, scratch);
        assert_eq!(
            reading,
            pod.reading(measure, gap, &mut Scratch::default()),
            "reused memory changes nothing"
        );
        let Some(PodReading { value, at, extract, scrapes, addresses, .. }) = reading else {
            continue;
        };
        assert!(is_sound(&value), "{value:?}");
        assert!(is_sound(&extract.value), "{extract:?}");
        assert!(at.is_finite() && at >= 0.0, "{at}");
        assert!(
            1 <= addresses && addresses <= scrapes,
            "{addresses} addresses of {scrapes} scrapes"
        );
        if let Value::Buckets(buckets) = &value {
            let quantile = buckets.quantile(0.9);
            assert!(quantile.is_none_or(f64::is_finite), "{quantile:?} of {buckets:?}");
        }
    }
}

fuzz_target!(|input: &[u8]| {
    // JSON does not begin with NUL, so such an input stands for random series.
    let all = match input.split_first() {
        Some((0, rest)) => {
            let Ok(written) = series(&mut Unstructured::new(rest)) else { return };
            round_trip(&written)
        }
        _ => match QueryResponse::parse(input) {
            Ok(QueryResponse { data: QueryData::Series(series), warnings }) => {
                assert!(warnings.iter().all(|warning| warning.chars().count() <= 301));
                series
            }
            Ok(_) => return,
            Err(error) => {
                let text = error.to_string();
                assert!(text.chars().count() < 800 && !text.contains(char::is_control), "{text:?}");
                return;
            }
        },
    };
    let labels = PodLabels {
        namespace: "namespace".to_owned(),
        pod: "pod".to_owned(),
        replicas: ["replica".to_owned()].into(),
    };
    let mut scratch = Scratch::default();
    for pod in group_by_pod(all, &labels).values() {
        check(pod, &mut scratch);
    }
});
