//! From the values of pods, or the numbers of a query, to a reading of the core.

use llm_autoscaler_api::MetricConfig;
use llm_autoscaler_core::{Milli, Precision, Reading};
use llm_autoscaler_engines::{
    Buckets, Fold,
    exposition::{NonNumber, Value},
};

/// Folds the values of a replica's pods into one, as several series of one page are folded. Returns
/// `None` if there is no value, or if numbers and buckets are mixed.
pub(crate) fn fold_values(values: Vec<Value>, fold: Fold) -> Option<Value> {
    let count = values.len() as f64;
    let mut values = values.into_iter();
    let first = values.next()?;
    let all = values.try_fold(first, |sum, value| match (sum, value) {
        (Value::Number(a), Value::Number(b)) => {
            Some(Value::Number(if fold == Fold::Max { a.max(b) } else { a + b }))
        }
        (Value::Buckets(mut a), Value::Buckets(b)) => {
            a.add(&b);
            Some(Value::Buckets(a))
        }
        _ => None,
    })?;
    Some(match all {
        Value::Number(sum) if fold == Fold::Mean => Value::Number(sum / count),
        all => all,
    })
}

/// Returns the values of replicas as a reading. For a quantile, the events of all replicas are
/// pooled.
pub(crate) fn reading(values: &[Option<Value>], quantile: Option<f64>) -> Reading {
    match quantile {
        Some(quantile) => pooled(values, quantile),
        None => Reading::PerReplica {
            samples: values.iter().map(|value| milli(value.as_ref())).collect(),
            strays: Vec::new(),
        },
    }
}

fn milli(value: Option<&Value>) -> Option<Milli> {
    match value {
        Some(Value::Number(number)) => Milli::from_f64(*number),
        _ => None,
    }
}

fn pooled(values: &[Option<Value>], quantile: f64) -> Reading {
    let mut pool = Buckets::default();
    let mut reported = Vec::with_capacity(values.len());
    for value in values {
        reported.push(value.is_some());
        if let Some(Value::Buckets(buckets)) = value {
            pool.add(buckets);
        }
    }
    let Some(size) = pool.quantile_if_enough(quantile) else {
        return Reading::Pooled { value: None, precision: Precision::Exact, reported };
    };
    let parts = values.iter().filter_map(|value| match value {
        Some(Value::Buckets(buckets)) => Some(buckets),
        _ => None,
    });
    // Beyond this size, and below that one, some of the events may have any size. The versions of a
    // service may have different buckets.
    let beyond = parts.clone().filter(|part| part.has_beyond()).filter_map(Buckets::last_bound);
    let beyond = beyond.fold(f64::INFINITY, f64::min);
    let below = parts.filter(|part| part.has_first()).filter_map(Buckets::first_bound);
    let below = below.fold(f64::NEG_INFINITY, f64::max);
    let (size, precision) = if size > beyond || pool.is_beyond(quantile) {
        (size.min(beyond), Precision::AtLeast)
    } else if size <= below {
        (size, Milli::from_f64(below).map_or(Precision::Exact, Precision::AtMost))
    } else {
        (size, Precision::Exact)
    };
    Reading::Pooled { value: Milli::from_f64(size), precision, reported }
}

/// Returns the sum of the numbers of a query. A target of type `Value` is compared with a single
/// number, so several series are an error there.
///
/// # Errors
/// There is no number to compare with the target. The text says why.
pub(crate) fn query_total(metric: &MetricConfig, numbers: &[f64]) -> Result<Milli, String> {
    let bad = numbers.iter().find_map(|number| NonNumber::of(*number));
    match (numbers, bad) {
        ([], _) => Err("the query gives nothing, which is not zero".to_owned()),
        (_, Some(bad)) => Err(format!("the query gives {}", bad.name())),
        ([_, _, ..], None) if metric.is_value => {
            let count = numbers.len();
            Err(format!(
                "the query gives {count} series, and a target of type Value needs one: aggregate \
                 them"
            ))
        }
        _ => Milli::from_f64(numbers.iter().sum())
            .ok_or_else(|| "the query gives no number".to_owned()),
    }
}
