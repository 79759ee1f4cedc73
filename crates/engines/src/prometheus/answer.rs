//! Answers of Prometheus's HTTP API to an instant query.

use serde::{Deserialize, de::IgnoredAny};

/// An answer that is one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// What was asked for.
    pub outcome: Outcome,
    /// What the server says against it: of a partial answer that something is missing.
    pub warnings: Vec<String>,
}

/// What a query came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Series with their samples; of an instant vector each has one.
    Series(Vec<Series>),
    /// One number.
    Scalar(f64),
}

/// One series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// The metric's name; empty where a query has computed it.
    pub name: String,
    /// The other labels, in the server's order.
    pub labels: Vec<(String, String)>,
    /// When (seconds since 1970, by the clock of who has scraped it) and what, oldest first.
    pub samples: Vec<(f64, f64)>,
}

/// An answer that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The server refuses the query.
    #[error("the server refuses the query: {kind}: {message}")]
    Refused {
        /// Its word for it, such as `bad_data`.
        kind: String,
        /// Its sentence.
        message: String,
    },
    /// It is not what Prometheus would answer.
    #[error("this is no answer of Prometheus's API (check the URL and its prefix): {0}")]
    NotPrometheus(String),
    /// It is an answer of a type that is no number.
    #[error("the query gives a {0}, not numbers")]
    NoNumbers(String),
}

impl Default for Outcome {
    fn default() -> Self {
        Self::Series(Vec::new())
    }
}

#[derive(Deserialize)]
struct Raw<'a> {
    status: &'a str,
    #[serde(borrow)]
    data: Option<Data<'a>>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(rename = "resultType")]
    result_type: &'a str,
    #[serde(borrow)]
    result: &'a serde_json::value::RawValue,
}

#[derive(Deserialize)]
struct RawSeries {
    metric: Labels,
    value: Option<Point>,
    values: Option<Vec<Point>>,
    /// Native histograms: not asked for.
    #[serde(default, rename = "histogram")]
    _histogram: Option<IgnoredAny>,
    #[serde(default, rename = "histograms")]
    _histograms: Option<IgnoredAny>,
}

/// The name apart from the other labels.
#[derive(Default)]
struct Labels {
    name: String,
    others: Vec<(String, String)>,
}

/// `[1700000000.123, "11"]`
struct Point(f64, f64);

impl Answer {
    /// Reads the body of an answer.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub fn read(body: &[u8]) -> Result<Self, AnswerError> {
        let raw: Raw<'_> = serde_json::from_slice(body).map_err(|error| not_prometheus(&error))?;
        if raw.status != "success" {
            return Err(AnswerError::Refused {
                kind: short(&raw.error_type),
                message: short(&raw.error),
            });
        }
        let warnings =
            raw.warnings.unwrap_or_default().iter().map(|warning| short(warning)).collect();
        let Some(Data { result_type, result }) = raw.data else {
            return Err(AnswerError::NotPrometheus("it has no data".to_owned()));
        };
        let outcome = match result_type {
            "vector" | "matrix" => {
                let series: Vec<RawSeries> =
                    serde_json::from_str(result.get()).map_err(|error| not_prometheus(&error))?;
                Outcome::Series(series.into_iter().map(Series::from).collect())
            }
            "scalar" => {
                let Point(_, value) =
                    serde_json::from_str(result.get()).map_err(|error| not_prometheus(&error))?;
                Outcome::Scalar(value)
            }
            other => return Err(AnswerError::NoNumbers(short(other))),
        };
        Ok(Self { outcome, warnings })
    }
}

impl From<RawSeries> for Series {
    fn from(raw: RawSeries) -> Self {
        let points = raw.values.unwrap_or_default().into_iter().chain(raw.value);
        let samples = points.map(|Point(at, value)| (at, value)).collect();
        Self { name: raw.metric.name, labels: raw.metric.others, samples }
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Labels;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Labels, A::Error> {
                let mut labels = Labels::default();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if name == "__name__" {
                        labels.name = value;
                    } else {
                        labels.others.push((name, value));
                    }
                }
                Ok(labels)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (at, value) = <(f64, std::borrow::Cow<'de, str>)>::deserialize(deserializer)?;
        let value = value
            .parse()
            .map_err(|_| <D::Error as serde::de::Error>::custom("a sample's value is no number"))?;
        Ok(Self(at, value))
    }
}

fn not_prometheus(error: &serde_json::Error) -> AnswerError {
    AnswerError::NotPrometheus(short(&error.to_string()))
}

/// A server's words, short and printable: they end up in conditions.
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
        Series { name: name.to_owned(), labels, samples: samples.to_vec() }
    }

    #[test]
    fn matrices_vectors_and_scalars() {
        let table = [
            (
                r#"{"status":"success","data":{"resultType":"matrix","result":[
                    {"metric":{"__name__":"a","pod":"x"},"values":[[1.5,"2"],[3,"NaN"]]},
                    {"metric":{},"values":[]}]}}"#,
                Outcome::Series(vec![
                    series("a", &[("pod", "x")], &[(1.5, 2.0), (3.0, f64::NAN)]),
                    Series::default(),
                ]),
            ),
            (
                r#"{"data":{"result":[{"value":[7,"+Inf"],"metric":{"l":"é\n"}}],"resultType":"vector"},"status":"success","infos":["x"]}"#,
                Outcome::Series(vec![series("", &[("l", "é\n")], &[(7.0, f64::INFINITY)])]),
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":null}"#,
                Outcome::default(),
            ),
            (
                r#"{"status":"success","data":{"resultType":"scalar","result":[1,"4e1"]}}"#,
                Outcome::Scalar(40.0),
            ),
        ];
        for (body, expected) in table {
            let answer = Answer::read(body.as_bytes()).unwrap();
            assert_eq!(format!("{:?}", answer.outcome), format!("{expected:?}"), "{body}");
            assert!(answer.warnings.is_empty());
        }
    }

    #[test]
    fn partial_answers_say_so() {
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["store a is\ndown"]}"#;
        assert_eq!(Answer::read(body.as_bytes()).unwrap().warnings, ["store a is down"]);
    }

    #[test]
    fn what_is_no_answer_says_why() {
        let table = [
            (
                r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
                "the server refuses the query: bad_data: parse error",
            ),
            ("<html>", "this is no answer of Prometheus's API"),
            ("", "this is no answer of Prometheus's API"),
            ("[]", "this is no answer of Prometheus's API"),
            (r#"{"status":"success"}"#, "it has no data"),
            (
                r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#,
                "the query gives a string, not numbers",
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}}"#,
                "a sample's value is no number",
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"#,
                "this is no answer of Prometheus's API",
            ),
        ];
        for (body, expected) in table {
            let error = Answer::read(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }
}
