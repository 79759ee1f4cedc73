//! Conversions between Kubernetes's time type (jiff) and the project's (chrono). No other module
//! needs both.

use chrono::{DateTime, Utc};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Converts to Kubernetes's type, in whole seconds as Kubernetes writes them.
pub fn to_kubernetes(time: DateTime<Utc>) -> Time {
    Time(Timestamp::from_second(time.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Converts from Kubernetes's type.
pub fn from_kubernetes(time: &Time) -> DateTime<Utc> {
    let Time(stamp) = time;
    DateTime::from_timestamp(stamp.as_second(), stamp.subsec_nanosecond().unsigned_abs())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_both_conversions() {
        let time = DateTime::parse_from_rfc3339("2026-01-02T03:04:05Z").unwrap().to_utc();
        assert_eq!(from_kubernetes(&to_kubernetes(time)), time);
        assert_eq!(serde_json::to_value(to_kubernetes(time)).unwrap(), "2026-01-02T03:04:05Z");
    }
}
