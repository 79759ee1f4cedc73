//! Reads the series of a result one by one, within a limit of memory.

use std::{borrow::Cow, collections::HashSet, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{ALLOCATION, ResponseError, Series, not_prometheus};
use crate::{
    labels::MOST_LABELS,
    prometheus::{Bucket, Histogram},
};

#[derive(Deserialize)]
struct RawSeries {
    metric: Metric,
    value: Option<Point>,
    values: Option<Vec<Point>>,
    histogram: Option<(f64, Histogram)>,
    histograms: Option<Vec<(f64, Histogram)>>,
}

/// The labels of a series, with the name apart from the others.
#[derive(Default)]
struct Metric {
    name: String,
    labels: Vec<(String, String)>,
}

/// A time and a value, such as `[1700000000.123, "11"]`.
pub(super) struct Point(pub(super) f64, pub(super) f64);

/// Parses the series of a result, one after the other, within this much memory.
pub(super) fn read(result: &str, most: usize) -> Result<Vec<Series>, ResponseError> {
    let mut reader = SeriesReader { most, size: 0, all: Vec::new(), ..SeriesReader::default() };
    let read = serde_json::Deserializer::from_str(result).deserialize_seq(&mut reader);
    if let Some(error) = reader.error {
        return Err(error);
    }
    read.map(|()| reader.all).map_err(|error| not_prometheus(&error))
}

/// The series that have been read of a list. No element waits in memory for its turn: a server may
/// send eight million of them that are none.
#[derive(Default)]
struct SeriesReader {
    /// The memory that the series may take, in bytes.
    most: usize,
    /// The memory that they take, without that of the list.
    size: usize,
    all: Vec<Series>,
    interner: Interner,
    /// Why the rest was not read.
    error: Option<ResponseError>,
}

impl SeriesReader {
    fn add(&mut self, element: &str) -> Result<(), ResponseError> {
        // The list grows to twice its size, beside the former one.
        let list = 3 * (self.all.len() + 1) * size_of::<Series>();
        if self.size + list + largest_size(element.as_bytes()) > self.most {
            return Err(ResponseError::TooLarge(self.most));
        }
        let raw: RawSeries =
            serde_json::from_str(element).map_err(|error| not_prometheus(&error))?;
        if raw.metric.labels.len() > MOST_LABELS {
            return Err(ResponseError::ManyLabels);
        }
        let series = self.interner.series(raw);
        self.size += series.size() - size_of::<Series>();
        self.all.push(series);
        Ok(())
    }
}

impl<'de> Visitor<'de> for &mut SeriesReader {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of series")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element::<&RawValue>()? {
            if let Err(error) = self.add(element.get()) {
                self.error = Some(error);
                return Err(de::Error::custom("it is not read to its end"));
            }
        }
        Ok(())
    }
}

/// Returns the most memory, in bytes, that parsing a series can take beside the list of them,
/// however its parts are arranged.
fn largest_size(series: &[u8]) -> usize {
    let count = |wanted: u8| memchr::memchr_iter(wanted, series).count();
    // A name and a value are a label; vectors grow to twice their size, beside the former one.
    let labels = count(b':') * (3 * size_of::<(String, String)>() + 2 * ALLOCATION);
    let objects = count(b'{') * (3 * size_of::<(f64, Histogram)>() + ALLOCATION);
    let list = if may_have_histograms(series) {
        3 * size_of::<(u8, f64, f64, f64)>() + size_of::<Bucket>() + ALLOCATION
    } else {
        3 * size_of::<Point>()
    };
    series.len() + labels + objects + count(b'[') * list
}

/// Returns true unless the lists of a series are certain to be samples: no field can be one of
/// histograms.
fn may_have_histograms(series: &[u8]) -> bool {
    let is_named = || memchr::memmem::find(series, b"histogram").is_some();
    !series.starts_with(b"{") || memchr::memchr(b'\\', series).is_some() || is_named()
}

/// The texts of labels. Most of them are repeated from series to series.
#[derive(Default)]
struct Interner(HashSet<Arc<str>>);

impl Interner {
    fn text(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.0.get(text.as_str()) {
            return known.clone();
        }
        let text: Arc<str> = text.into();
        self.0.insert(text.clone());
        text
    }

    fn series(&mut self, raw: RawSeries) -> Series {
        let mut points = raw.values.unwrap_or_default();
        points.extend(raw.value);
        let mut samples: Vec<_> = points.into_iter().map(|Point(at, value)| (at, value)).collect();
        let histograms = raw.histograms.unwrap_or_default().into_iter().chain(raw.histogram);
        let Metric { name, labels } = raw.metric;
        let labels = labels.into_iter().map(|(name, value)| (self.text(name), self.text(value)));
        let mut labels: Vec<_> = labels.collect();
        samples.shrink_to_fit();
        labels.shrink_to_fit();
        Series { name: self.text(name), labels, samples, histograms: histograms.collect() }
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Labels;
        impl<'de> Visitor<'de> for Labels {
            type Value = Metric;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metric, A::Error> {
                let mut metric = Metric::default();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if name == "__name__" {
                        metric.name = value;
                    } else {
                        metric.labels.push((name, value));
                    }
                }
                Ok(metric)
            }
        }
        deserializer.deserialize_map(Labels)
    }
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (at, value) = <(f64, Cow<'de, str>)>::deserialize(deserializer)?;
        let value = value.parse();
        let value = value.map_err(|_| de::Error::custom("a sample's value is not a number"))?;
        Ok(Self(at, value))
    }
}
