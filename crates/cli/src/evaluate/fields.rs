//! Fields as the oracle reads them: `null` is the same as an absent field, and times are seconds.

use chrono::TimeDelta;
use serde::{Deserialize, Deserializer};

/// Reads a field; `null` gives the default, as in Go.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Returns a time of so many seconds, cut off to nanoseconds.
pub(super) fn seconds(seconds: f64) -> TimeDelta {
    TimeDelta::nanoseconds((seconds * 1e9) as i64)
}
