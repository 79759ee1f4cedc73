//! Values that are no numbers.

/// A value that is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonNumber {
    /// Not a number.
    Nan,
    /// Plus infinity.
    PlusInfinity,
    /// Minus infinity.
    MinusInfinity,
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
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nan => "NaN",
            Self::PlusInfinity => "+Inf",
            Self::MinusInfinity => "-Inf",
        }
    }
}
