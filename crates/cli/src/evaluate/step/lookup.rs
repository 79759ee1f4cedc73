//! The answer of a source about one pod, or to one query: a bare number, or an object.

use std::{collections::BTreeMap, fmt, marker::PhantomData, time::Duration};

use llm_autoscaler_api::{EngineName, Name};
use llm_autoscaler_engines::{Buckets, exposition::Value};
use llm_autoscaler_observe::samples::{Found, Lookup, QueryLookup, Sample};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::seconds::Seconds;

/// An answer about one pod.
#[derive(Clone, Debug)]
pub(super) struct LookupCase(pub(super) Lookup);

/// An answer to one query.
#[derive(Clone, Debug)]
pub(super) struct QueryCase(pub(super) QueryLookup);

/// The fields of an answer about one pod.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LookupFields {
    value: Option<f64>,
    buckets: Option<BTreeMap<String, f64>>,
    #[serde(default)]
    age_seconds: Seconds,
    doubt: Option<String>,
    #[serde(default = "one")]
    copies: usize,
    #[serde(default)]
    pending: bool,
    /// The error of the latest scrape, of an answer that is pending.
    error: Option<String>,
    missing: Option<String>,
    /// The reason why the source answers and has no usable number.
    no_number: Option<String>,
    ambiguous: Option<String>,
    contradicted: Option<String>,
    /// The engine that the page without the sample is of.
    page_of: Option<EngineName>,
}

fn one() -> usize {
    1
}

/// The fields of an answer to one query.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct QueryFields {
    numbers: Option<Vec<f64>>,
    #[serde(default)]
    age_seconds: Seconds,
    warning: Option<String>,
    /// True if the latest attempt was answered; by default, if there is no warning.
    complete: Option<bool>,
    #[serde(default)]
    pending: bool,
    missing: Option<String>,
}

impl LookupFields {
    fn lookup(self) -> Result<Lookup, String> {
        let Self { value, buckets, age_seconds, doubt, copies, pending, error, .. } = self;
        let missing = match (self.missing, self.page_of) {
            (Some(reason), Some(Name(engine))) => Some(Lookup::OtherEngine { engine, reason }),
            (None, Some(_)) => return Err("pageOf goes with missing".to_owned()),
            (missing, None) => missing.map(Lookup::Missing),
        };
        let reasons = [
            missing,
            self.no_number.map(Lookup::NoNumber),
            self.ambiguous.map(Lookup::Ambiguous),
            self.contradicted.map(Lookup::Contradicted),
        ];
        let mut reasons = reasons.into_iter().flatten();
        let value = match (value, buckets, pending, reasons.next(), reasons.next()) {
            (Some(number), None, false, None, None) => Value::Number(number),
            (None, Some(counts), false, None, None) => Value::Buckets(histogram(&counts)?),
            (None, None, true, None, None) => return Ok(Lookup::Pending { error }),
            (None, None, false, Some(reason), None) => return Ok(reason),
            _ => {
                let fields =
                    "value, buckets, pending, missing, noNumber, ambiguous and contradicted";
                return Err(format!("give exactly one of {fields}"));
            }
        };
        let age = age_seconds.duration();
        let doubt = doubt.map(Into::into);
        Ok(Lookup::Sample(Sample { value, age, doubt, found: Found::default(), copies }))
    }
}

impl QueryFields {
    fn lookup(self) -> Result<QueryLookup, String> {
        let Self { numbers, age_seconds, warning, complete, pending, missing } = self;
        match (numbers, pending, missing) {
            (Some(numbers), false, None) => Ok(QueryLookup::Numbers {
                numbers,
                age: age_seconds.duration(),
                complete: complete.unwrap_or(warning.is_none()),
                warning,
            }),
            (None, true, None) => Ok(QueryLookup::Pending),
            (None, false, Some(reason)) => Ok(QueryLookup::Missing(reason)),
            _ => Err("give exactly one of numbers, pending and missing".to_owned()),
        }
    }
}

/// Reads cumulative counts by upper bound; the bounds are texts, as the label `le` has them.
fn histogram(counts: &BTreeMap<String, f64>) -> Result<Buckets, String> {
    let bucket = |(bound, count): (&String, &f64)| {
        let number: f64 = bound.parse().map_err(|_| format!("{bound:?} is not a bound"))?;
        Ok((number, *count))
    };
    let cumulative: Vec<(f64, f64)> = counts.iter().map(bucket).collect::<Result<_, String>>()?;
    let incomplete = "the buckets are no histogram: give cumulative counts up to \"+Inf\"";
    Buckets::new(cumulative).ok_or_else(|| incomplete.to_owned())
}

/// Reads a bare number or an object with fields.
struct NumberOr<F, T> {
    of_number: fn(f64) -> T,
    of_fields: fn(F) -> Result<T, String>,
    fields: PhantomData<F>,
}

impl<'de, F: Deserialize<'de>, T> Visitor<'de> for NumberOr<F, T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number or an object")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        Ok((self.of_number)(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Ok((self.of_number)(number as f64))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Ok((self.of_number)(number as f64))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let fields = F::deserialize(MapAccessDeserializer::new(map))?;
        (self.of_fields)(fields).map_err(A::Error::custom)
    }
}

impl<'de> Deserialize<'de> for LookupCase {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let of_number = |number| {
            Lookup::Sample(Sample {
                value: Value::Number(number),
                age: Duration::ZERO,
                doubt: None,
                found: Found::default(),
                copies: 1,
            })
        };
        let of_fields = LookupFields::lookup;
        deserializer
            .deserialize_any(NumberOr { of_number, of_fields, fields: PhantomData })
            .map(Self)
    }
}

impl<'de> Deserialize<'de> for QueryCase {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let of_number = |number| QueryLookup::Numbers {
            numbers: vec![number],
            age: Duration::ZERO,
            warning: None,
            complete: true,
        };
        let of_fields = QueryFields::lookup;
        deserializer
            .deserialize_any(NumberOr { of_number, of_fields, fields: PhantomData })
            .map(Self)
    }
}
