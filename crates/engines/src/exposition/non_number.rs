//! Values that are no numbers.

use crate::buckets::MOST_BUCKETS;

/// A value that is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonNumber {
    /// Not a number.
    Nan,
    /// Plus infinity.
    PlusInfinity,
    /// Minus infinity.
    MinusInfinity,
    /// A histogram with more buckets than are read.
    ManyBuckets,
    /// More series than are kept apart, because some of them may repeat others.
    ManySeries,
}

impl NonNumber {
    /// Returns the value that is no number; `None` if it is one.
    pub fn of(value: f64) -> Option<Self> {
        if value.is_finite() {
            return None;
        }
        Some(match value {
            f64::INFINITY => Self::PlusInfinity,
            f64::NEG_INFINITY => Self::MinusInfinity,
            _ => Self::Nan,
        })
    }

    /// Returns the value as Prometheus writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nan => "NaN",
            Self::PlusInfinity => "+Inf",
            Self::MinusInfinity => "-Inf",
            Self::ManyBuckets => "a histogram with too many buckets",
            Self::ManySeries => "a sum of too many series",
        }
    }

    /// Returns the sentence about a series with this value, after its name.
    pub(super) fn sentence(self) -> String {
        match self {
            Self::ManyBuckets => format!("has more than the {MOST_BUCKETS} buckets that are read"),
            Self::ManySeries => "has more series than are read".to_owned(),
            other => format!("is {}, which is no number", other.name()),
        }
    }
}
