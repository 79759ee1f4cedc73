//! Responses of Prometheus's HTTP API to an instant query.
//!
//! Types and fields have the API's own names, see
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>.

use serde::Deserialize;

use super::Histogram;

/// The warning that a response with `isPartial` stands for.
const PARTIAL: &str = "isPartial: a part of its storage nodes did not answer";

/// A successful response to a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryResponse {
    /// The result of the query.
    pub data: QueryData,
    /// The server's warnings, for example that a part of the result is missing.
    pub warnings: Vec<String>,
}

/// The result of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryData {
    /// The series of a `vector` or a `matrix`. In a `vector` each has one sample.
    Series(Vec<Series>),
    /// The number of a `scalar`.
    Scalar(f64),
}

/// A series of a result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// The name of the metric; empty if the query has computed the series.
    pub name: String,
    /// All other labels, in the server's order.
    pub labels: Vec<(String, String)>,
    /// Times (seconds since 1970, by the clock of the server that scraped them) and values, the
    /// oldest first.
    pub samples: Vec<(f64, f64)>,
    /// Times and native histograms, the oldest first.
    pub histograms: Vec<(f64, Histogram)>,
}

/// The reason why a response has no numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The server has rejected the query.
    #[error("the server rejected the query: {error_type}: {error}")]
    Rejected {
        /// The API's `errorType`, such as `bad_data`.
        error_type: String,
        /// The API's `error`, a sentence.
        error: String,
    },
    /// The body is not a response of Prometheus's API.
    #[error("this is not a response of Prometheus's API (check the URL and its prefix): {0}")]
    NotPrometheus(String),
    /// The result is of a type without numbers.
    #[error("the query returns a {0}, not numbers")]
    NoNumbers(String),
    /// An element of the vector is a native histogram.
    #[error(
        "the query returns a native histogram, not numbers: apply histogram_quantile, \
         histogram_count or histogram_sum to it"
    )]
    Histogram,
}

impl Default for QueryData {
    fn default() -> Self {
        Self::Series(Vec::new())
    }
}

#[derive(Deserialize)]
struct RawResponse<'a> {
    status: &'a str,
    #[serde(borrow)]
    data: Option<RawData<'a>>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    /// True if a storage node did not answer. Only clusters of `VictoriaMetrics` send it, and no
    /// warning beside it.
    #[serde(default, rename = "isPartial")]
    is_partial: Option<bool>,
}

#[derive(Deserialize)]
struct RawData<'a> {
    #[serde(rename = "resultType")]
    result_type: &'a str,
    #[serde(borrow)]
    result: &'a serde_json::value::RawValue,
}

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
struct Point(f64, f64);

impl QueryResponse {
    /// Parses the body of a response.
    ///
    /// # Errors
    /// Fails with a [`ResponseError`] if the server has rejected the query, or if the body has no
    /// numbers.
    pub fn parse(body: &[u8]) -> Result<Self, ResponseError> {
        let raw: RawResponse<'_> =
            serde_json::from_slice(body).map_err(|error| not_prometheus(&error))?;
        if raw.status != "success" {
            return Err(ResponseError::Rejected {
                error_type: short(&raw.error_type),
                error: short(&raw.error),
            });
        }
        let warnings = warnings(&raw);
        let Some(RawData { result_type, result }) = raw.data else {
            return Err(ResponseError::NotPrometheus("it has no data".to_owned()));
        };
        let data = match result_type {
            "vector" | "matrix" => {
                let series: Vec<RawSeries> =
                    serde_json::from_str(result.get()).map_err(|error| not_prometheus(&error))?;
                let series: Vec<Series> = series.into_iter().map(Series::from).collect();
                let is_histogram = |series: &Series| !series.histograms.is_empty();
                if result_type == "vector" && series.iter().any(is_histogram) {
                    return Err(ResponseError::Histogram);
                }
                QueryData::Series(series)
            }
            "scalar" => {
                let Point(_, value) =
                    serde_json::from_str(result.get()).map_err(|error| not_prometheus(&error))?;
                QueryData::Scalar(value)
            }
            other => return Err(ResponseError::NoNumbers(short(other))),
        };
        Ok(Self { data, warnings })
    }
}

impl Series {
    /// Returns the value of a label, if the series has it.
    pub fn label(&self, wanted: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| name == wanted).map(|(_, value)| &**value)
    }

    /// Returns the times of its samples and of its histograms, the oldest first. A series has one
    /// of the two forms.
    pub fn times(&self) -> impl DoubleEndedIterator<Item = f64> {
        let samples = self.samples.iter().map(|(at, _)| *at);
        samples.chain(self.histograms.iter().map(|(at, _)| *at))
    }
}

impl From<RawSeries> for Series {
    fn from(raw: RawSeries) -> Self {
        let points = raw.values.unwrap_or_default().into_iter().chain(raw.value);
        let samples = points.map(|Point(at, value)| (at, value)).collect();
        let histograms = raw.histograms.unwrap_or_default().into_iter().chain(raw.histogram);
        let Metric { name, labels } = raw.metric;
        Self { name, labels, samples, histograms: histograms.collect() }
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Metric;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Metric, A::Error> {
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
        deserializer.deserialize_map(Visitor)
    }
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (at, value) = <(f64, std::borrow::Cow<'de, str>)>::deserialize(deserializer)?;
        let value = value.parse().map_err(|_| {
            <D::Error as serde::de::Error>::custom("a sample's value is not a number")
        })?;
        Ok(Self(at, value))
    }
}

/// Returns the warnings of a response. A partial one counts as a warning, because it lacks
/// the series of the nodes that did not answer.
fn warnings(raw: &RawResponse<'_>) -> Vec<String> {
    let warnings = raw.warnings.iter().flatten().map(|warning| short(warning));
    let partial = raw.is_partial.unwrap_or_default().then(|| PARTIAL.to_owned());
    warnings.chain(partial).collect()
}

fn not_prometheus(error: &serde_json::Error) -> ResponseError {
    ResponseError::NotPrometheus(short(&error.to_string()))
}

/// Makes a server's text short and printable, because it ends up in conditions.
fn short(text: &str) -> String {
    const LONGEST: usize = 300;
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().take(LONGEST).map(printable).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, labels: &[(&str, &str)], samples: &[(f64, f64)]) -> Series {
        let labels =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Series { name: name.to_owned(), labels, samples: samples.to_vec(), ..Series::default() }
    }

    #[test]
    fn matrices_vectors_and_scalars_are_parsed() {
        let table = [
            (
                r#"{"status":"success","data":{"resultType":"matrix","result":[
                    {"metric":{"__name__":"a","pod":"x"},"values":[[1.5,"2"],[3,"NaN"]]},
                    {"metric":{},"values":[]}]}}"#,
                QueryData::Series(vec![
                    series("a", &[("pod", "x")], &[(1.5, 2.0), (3.0, f64::NAN)]),
                    Series::default(),
                ]),
            ),
            (
                r#"{"data":{"result":[{"value":[7,"+Inf"],"metric":{"l":"é\n"}}],"resultType":"vector"},"status":"success","infos":["x"]}"#,
                QueryData::Series(vec![series("", &[("l", "é\n")], &[(7.0, f64::INFINITY)])]),
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":null}"#,
                QueryData::default(),
            ),
            (
                r#"{"status":"success","data":{"resultType":"scalar","result":[1,"4e1"]}}"#,
                QueryData::Scalar(40.0),
            ),
        ];
        for (body, expected) in table {
            let response = QueryResponse::parse(body.as_bytes()).unwrap();
            assert_eq!(format!("{:?}", response.data), format!("{expected:?}"), "{body}");
            assert!(response.warnings.is_empty());
        }
    }

    #[test]
    fn native_histograms_are_parsed_and_no_result_of_an_expression() {
        let body = |kind, field, histograms| {
            let histogram = r#"{"count":"172","sum":"708.92","buckets":[[0,"2.5","5","172"]]}"#;
            let histograms = str::replace(histograms, "H", histogram);
            let series = format!(r#"{{"metric":{{"__name__":"t"}},"{field}":{histograms}}}"#);
            format!(
                r#"{{"status":"success","data":{{"resultType":"{kind}","result":[{series}]}}}}"#
            )
        };
        let raw = body("matrix", "histograms", "[[1.5,H],[6.5,H]]");
        let QueryData::Series(series) = QueryResponse::parse(raw.as_bytes()).unwrap().data else {
            panic!("a scalar")
        };
        assert_eq!(series[0].times().collect::<Vec<_>>(), [1.5, 6.5]);
        assert_eq!(series[0].histograms[1].1.buckets.len(), 1);
        let computed = body("vector", "histogram", "[1.5,H]");
        let error = QueryResponse::parse(computed.as_bytes()).unwrap_err();
        assert_eq!(error, ResponseError::Histogram);
    }

    #[test]
    fn a_partial_response_has_warnings() {
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["store a is\ndown"]}"#;
        assert_eq!(QueryResponse::parse(body.as_bytes()).unwrap().warnings, ["store a is down"]);
    }

    #[test]
    fn a_partial_response_of_victoriametrics_has_a_warning() {
        let table = [
            (r#""isPartial":true,"#, &[PARTIAL][..]),
            (r#""isPartial":true,"warnings":["a"],"#, &["a", PARTIAL]),
            (r#""isPartial":false,"#, &[]),
            (r#""isPartial":null,"#, &[]),
        ];
        // As vmselect sends it, with one of two storage nodes down.
        let data = r#""data":{"resultType":"vector","result":[{"metric":{},"value":[1795828825,"15"]}]},"stats":{"seriesFetched":"2"}"#;
        for (partial, expected) in table {
            let body = format!(r#"{{"status":"success",{partial}{data}}}"#);
            let response = QueryResponse::parse(body.as_bytes()).unwrap();
            assert_eq!(response.warnings, expected, "{partial}");
            assert_ne!(response.data, QueryData::default(), "{partial}: the numbers stay");
        }
        let range =
            r#"{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}"#;
        assert_eq!(QueryResponse::parse(range.as_bytes()).unwrap().warnings, [PARTIAL]);
    }

    #[test]
    fn a_response_without_numbers_is_an_error() {
        let table = [
            (
                r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
                "the server rejected the query: bad_data: parse error",
            ),
            ("<html>", "this is not a response of Prometheus's API"),
            ("", "this is not a response of Prometheus's API"),
            ("[]", "this is not a response of Prometheus's API"),
            (r#"{"status":"success"}"#, "it has no data"),
            (
                r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#,
                "the query returns a string, not numbers",
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}}"#,
                "a sample's value is not a number",
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"#,
                "this is not a response of Prometheus's API",
            ),
        ];
        for (body, expected) in table {
            let error = QueryResponse::parse(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }
}
