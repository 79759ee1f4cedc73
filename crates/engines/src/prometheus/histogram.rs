//! Native histograms of a response, and the classic series that they stand for.
//!
//! A server has one series for a native histogram, and for a classic one that it has converted to
//! custom buckets: `x` in place of `x_bucket`, `x_count` and `x_sum`. Its buckets are not
//! cumulative, those without events are left out, and an exponential layout gets coarser while
//! events come in.

use std::borrow::Cow;

use serde::Deserialize;

use super::Series;
use crate::buckets::MOST_BUCKETS;

/// The largest number of cumulative counts that are made of one pod's histograms; 8 ranks with 160
/// buckets each, for 10 minutes of samples every 5 s, need 150,000.
const MOST_COUNTS: usize = 1 << 19;
/// The label of a bucket's upper bound.
const LE: &str = "le";

/// A native histogram at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// The number of all events.
    pub count: f64,
    /// The sum of their sizes.
    pub sum: f64,
    /// The buckets that have events, in ascending order.
    pub buckets: Vec<Bucket>,
}

/// A bucket of a native histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The lower bound.
    pub lower: f64,
    /// The upper bound. An event of exactly this size may belong to this bucket or to the next one,
    /// which makes no difference to a quantile.
    pub upper: f64,
    /// The number of events between the two.
    pub count: f64,
}

/// The part of a histogram that a classic series has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The cumulative counts, one series for each bound.
    Buckets,
    /// The number of all events.
    Count,
    /// The sum of their sizes.
    Sum,
}

impl Part {
    /// Returns the name of the histogram that a classic series belongs to, and its part. `None` if
    /// the name is not that of such a series.
    pub(super) fn of(name: &str) -> Option<(&str, Self)> {
        [("_bucket", Self::Buckets), ("_count", Self::Count), ("_sum", Self::Sum)]
            .into_iter()
            .find_map(|(suffix, part)| Some((name.strip_suffix(suffix)?, part)))
    }
}

/// Returns the classic series `name` that these native histograms of one pod stand for. All have
/// the same bounds, so that they add up.
pub(super) fn classic(histograms: &[&Series], name: &str, part: Part) -> Vec<Series> {
    let number = |series: &&Series, value: fn(&Histogram) -> f64| Series {
        name: name.into(),
        labels: series.labels.clone(),
        samples: series.histograms.iter().map(|(at, found)| (*at, value(found))).collect(),
        histograms: Vec::new(),
    };
    match part {
        Part::Count => {
            histograms.iter().map(|series| number(series, |found| found.count)).collect()
        }
        Part::Sum => histograms.iter().map(|series| number(series, |found| found.sum)).collect(),
        Part::Buckets => {
            let bounds = common_bounds(histograms);
            histograms.iter().flat_map(|series| bucket_series(series, name, &bounds)).collect()
        }
    }
}

/// Returns the upper bounds at which the cumulative counts of all these histograms are known at all
/// times, ascending, without the infinite one. A bound inside of a bucket is none: an exponential
/// histogram has merged two buckets there at some time.
fn common_bounds(histograms: &[&Series]) -> Vec<f64> {
    let all = || histograms.iter().flat_map(|series| &series.histograms);
    let buckets = || all().flat_map(|(_, found)| &found.buckets);
    let mut bounds: Vec<f64> = buckets().flat_map(|bucket| [bucket.lower, bucket.upper]).collect();
    bounds.retain(|bound| bound.is_finite());
    // Adding zero turns -0 into 0, so that both are one bound.
    for bound in &mut bounds {
        *bound += 0.0;
    }
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    // Each bucket covers the bounds inside of it: those after its lower and before its upper one.
    // Noted is where buckets begin and end to cover, so that wide ones take no longer.
    let mut changes = vec![0_i32; bounds.len() + 1];
    for bucket in buckets() {
        let start = bounds.partition_point(|bound| *bound <= bucket.lower);
        let end = bounds.partition_point(|bound| *bound < bucket.upper);
        if start < end {
            changes[start] += 1;
            changes[end] -= 1;
        }
    }
    let mut covering = changes.into_iter().scan(0, |covering, change| {
        *covering += change;
        Some(*covering)
    });
    bounds.retain(|_| covering.next() == Some(0));
    thin(&mut bounds, (MOST_COUNTS / all().count().max(1)).min(MOST_BUCKETS - 1));
    if bounds.is_empty() {
        // A histogram without events is complete too, and needs a bound to be one.
        bounds.push(0.0);
    }
    bounds
}

/// Keeps at most this many bounds, and at least one: the last one and others at equal distances.
/// Buckets between the bounds that stay are merged.
fn thin(bounds: &mut Vec<f64>, limit: usize) {
    let last = bounds.len().saturating_sub(1);
    let step = bounds.len().div_ceil(limit.max(1)).max(1);
    let mut index = 0..;
    bounds.retain(|_| index.next().is_some_and(|index| (last - index).is_multiple_of(step)));
}

/// Returns the cumulative counts of a native histogram at these bounds, a series for each.
fn bucket_series(series: &Series, name: &str, bounds: &[f64]) -> Vec<Series> {
    let with_bound = |le: String| {
        let mut labels = series.labels.clone();
        labels.push((LE.into(), le.into()));
        Series { name: name.into(), labels, ..Series::default() }
    };
    let mut all: Vec<Series> =
        bounds.iter().map(|bound| with_bound(format!("{bound:?}"))).collect();
    all.push(with_bound("+Inf".to_owned()));
    for (at, found) in &series.histograms {
        let mut buckets = found.buckets.iter().peekable();
        let mut below = 0.0;
        for (bound, series) in bounds.iter().zip(&mut all) {
            while let Some(bucket) = buckets.next_if(|bucket| bucket.upper <= *bound) {
                below += bucket.count;
            }
            series.samples.push((*at, below));
        }
        if let Some(total) = all.last_mut() {
            total.samples.push((*at, found.count));
        }
    }
    all
}

#[derive(Deserialize)]
struct RawHistogram {
    count: Text,
    sum: Text,
    /// The rule of the boundaries, the two bounds, and the count.
    #[serde(default)]
    buckets: Option<Vec<(u8, Text, Text, Text)>>,
}

/// A number in a string, such as `"+Inf"`.
struct Text(f64);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let invalid = <D::Error as serde::de::Error>::custom;
        text.parse().map(Self).map_err(|_| invalid("a value of a histogram is not a number"))
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let RawHistogram { count: Text(count), sum: Text(sum), buckets } =
            RawHistogram::deserialize(deserializer)?;
        let buckets = buckets.unwrap_or_default().into_iter();
        let mut buckets: Vec<Bucket> = buckets
            .map(|(_, Text(lower), Text(upper), Text(count))| Bucket { lower, upper, count })
            .collect();
        buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
        Ok(Self { count, sum, buckets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(count: f64, buckets: &[(f64, f64, f64)]) -> Histogram {
        let buckets = buckets.iter().map(|&(lower, upper, count)| Bucket { lower, upper, count });
        Histogram { count, sum: 2.0 * count, buckets: buckets.collect() }
    }

    fn series(rank: &str, histograms: &[(f64, Histogram)]) -> Series {
        let labels = vec![("rank".into(), rank.into())];
        Series { name: "x".into(), labels, histograms: histograms.to_vec(), ..Series::default() }
    }

    /// Returns the bound and the samples of each bucket.
    fn buckets(all: &[&Series]) -> Vec<(String, Vec<f64>)> {
        let all = classic(all, "x_bucket", Part::Buckets);
        assert!(all.iter().all(|series| &*series.name == "x_bucket"));
        let samples = |series: &Series| series.samples.iter().map(|(_, value)| *value).collect();
        all.iter().map(|series| (series.label(LE).unwrap().to_owned(), samples(series))).collect()
    }

    #[test]
    fn custom_buckets_become_cumulative_ones() {
        // As Prometheus 3 sends them: the bucket from 0.25 to 2.5 is empty.
        let found = series(
            "0",
            &[
                (10.0, histogram(971.0, &[(0.1, 0.25, 971.0)])),
                (
                    15.0,
                    histogram(
                        1150.0,
                        &[(0.1, 0.25, 971.0), (2.5, 5.0, 172.0), (5.0, f64::INFINITY, 7.0)],
                    ),
                ),
            ],
        );
        let expected = [
            ("0.1", [0.0, 0.0]),
            ("0.25", [971.0, 971.0]),
            ("2.5", [971.0, 971.0]),
            ("5.0", [971.0, 1143.0]),
            ("+Inf", [971.0, 1150.0]),
        ];
        let expected = expected.map(|(le, counts)| (le.to_owned(), counts.to_vec()));
        assert_eq!(buckets(&[&found]), expected);
        let number = |part| classic(&[&found], "y", part)[0].samples.clone();
        assert_eq!(number(Part::Count), [(10.0, 971.0), (15.0, 1150.0)]);
        assert_eq!(number(Part::Sum), [(10.0, 1942.0), (15.0, 2300.0)]);
    }

    #[test]
    fn the_first_custom_bucket_has_no_lower_bound() {
        let found = series("0", &[(10.0, histogram(4.0, &[(f64::NEG_INFINITY, 0.3, 4.0)]))]);
        let expected = [("0.3".to_owned(), vec![4.0]), ("+Inf".to_owned(), vec![4.0])];
        assert_eq!(buckets(&[&found]), expected);
    }

    #[test]
    fn a_histogram_without_events_is_complete() {
        let found = series("0", &[(10.0, Histogram::default())]);
        let expected = [("0.0".to_owned(), vec![0.0]), ("+Inf".to_owned(), vec![0.0])];
        assert_eq!(buckets(&[&found]), expected);
    }

    #[test]
    fn bounds_inside_of_merged_buckets_are_dropped() {
        // The resolution of an exponential histogram is halved, and its zero bucket widened.
        let fine = &[(-0.01, 0.01, 1.0), (0.5, 0.71, 2.0), (0.71, 1.0, 3.0), (1.0, 1.41, 4.0)];
        let coarse = &[(-0.1, 0.1, 1.0), (0.5, 1.0, 5.0), (1.0, 2.0, 6.0)];
        let found = series("0", &[(10.0, histogram(10.0, fine)), (15.0, histogram(12.0, coarse))]);
        let bounds = ["-0.1", "0.1", "0.5", "1.0", "2.0", "+Inf"];
        let counts = [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [6.0, 6.0], [10.0, 12.0], [10.0, 12.0]];
        let expected = std::iter::zip(bounds, counts);
        let expected: Vec<_> =
            expected.map(|(le, counts)| (le.to_owned(), counts.to_vec())).collect();
        assert_eq!(buckets(&[&found]), expected);
    }

    #[test]
    fn many_bounds_are_thinned() {
        let thinned = |count: u32, limit| {
            let mut bounds: Vec<f64> = (1..=count).map(f64::from).collect();
            thin(&mut bounds, limit);
            bounds
        };
        assert_eq!(thinned(7, 7), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(thinned(7, 6), [1.0, 3.0, 5.0, 7.0]);
        assert_eq!(thinned(7, 2), [3.0, 7.0]);
        assert_eq!((thinned(7, 0), thinned(0, 0)), (vec![7.0], vec![]));
        // A response of a few megabytes would make 10 million counts.
        let bucket = |n: u32| (f64::from(n), f64::from(n + 1), 1.0);
        let all: Vec<_> = (0..1000).map(bucket).collect();
        let histograms: Vec<_> =
            (0..10_000).map(|at| (f64::from(at), histogram(1.0, &all[..1]))).collect();
        let mut found = series("0", &histograms);
        found.histograms[0].1 = histogram(1000.0, &all);
        let counts: usize = buckets(&[&found]).iter().map(|(_, counts)| counts.len()).sum();
        assert!(counts < MOST_COUNTS + 20_000, "{counts}");
    }

    #[test]
    fn ranks_of_a_pod_have_the_same_bounds() {
        let one = series("0", &[(10.0, histogram(3.0, &[(0.1, 0.25, 3.0)]))]);
        let other = series("1", &[(10.0, histogram(4.0, &[(1.0, 2.5, 4.0)]))]);
        let found = buckets(&[&one, &other]);
        let bounds: Vec<&str> = found.iter().map(|(le, _)| &**le).collect();
        let expected = ["0.1", "0.25", "1.0", "2.5", "+Inf"];
        assert_eq!(bounds, [expected, expected].concat());
        let counts: Vec<f64> = found.iter().map(|(_, counts)| counts[0]).collect();
        assert_eq!(counts, [0.0, 3.0, 3.0, 3.0, 3.0, 0.0, 0.0, 0.0, 4.0, 4.0]);
    }

    #[test]
    fn a_histogram_is_parsed() {
        let parse = serde_json::from_str::<Histogram>;
        let found = parse(
            r#"{"count":"1143","sum":"708.92","buckets":[[0,"2.5","5","172"],[3,"-Inf","0.25","971"]]}"#,
        );
        let buckets = [(f64::NEG_INFINITY, 0.25, 971.0), (2.5, 5.0, 172.0)];
        let expected = Histogram { sum: 708.92, ..histogram(1143.0, &buckets) };
        assert_eq!(found.unwrap(), expected);
        let empty = parse(r#"{"count":"0","sum":"0"}"#).unwrap();
        assert_eq!(empty, Histogram::default());
        for bad in [
            r#"{"count":"x","sum":"0"}"#,
            r#"{"count":"1","sum":"0","buckets":[[0,"1","2"]]}"#,
            "{}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn classic_names_are_parts_of_a_histogram() {
        let table = [
            ("x_bucket", Some(("x", Part::Buckets))),
            ("x_count", Some(("x", Part::Count))),
            ("x_sum", Some(("x", Part::Sum))),
            ("x_total", None),
        ];
        for (name, expected) in table {
            assert_eq!(Part::of(name), expected, "{name}");
        }
    }
}
