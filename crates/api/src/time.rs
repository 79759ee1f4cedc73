//! Conversions between Kubernetes's time type (jiff) and the project's (chrono). No other module
//! needs both.

use chrono::{DateTime, Utc};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// Converts to Kubernetes's type, in whole seconds as Kubernetes writes them.
pub fn to_kubernetes(time: DateTime<Utc>) -> Time {
    Time(Timestamp::from_second(time.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Returns the time that is this many seconds after 1970; `None` where there is no such time.
pub fn from_seconds(seconds: i64) -> Option<Time> {
    Timestamp::from_second(seconds).ok().map(Time)
}

/// Converts from Kubernetes's type.
pub fn from_kubernetes(time: &Time) -> DateTime<Utc> {
    let Time(stamp) = time;
    DateTime::from_timestamp(stamp.as_second(), stamp.subsec_nanosecond().unsigned_abs())
        .unwrap_or_default()
}

/// Converts to Kubernetes's type of Leases, in microseconds.
pub fn to_kubernetes_micros(time: DateTime<Utc>) -> MicroTime {
    let stamp = Timestamp::from_microsecond(time.timestamp_micros());
    MicroTime(stamp.unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Converts from Kubernetes's type of Leases.
pub fn from_kubernetes_micros(time: &MicroTime) -> DateTime<Utc> {
    let MicroTime(stamp) = time;
    DateTime::from_timestamp_micros(stamp.as_microsecond()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_both_conversions() {
        let time = DateTime::parse_from_rfc3339("2026-01-02T03:04:05Z").unwrap().to_utc();
        assert_eq!(from_kubernetes(&to_kubernetes(time)), time);
        assert_eq!(serde_json::to_value(to_kubernetes(time)).unwrap(), "2026-01-02T03:04:05Z");
        let time = DateTime::parse_from_rfc3339("2026-01-02T03:04:05.000678Z").unwrap().to_utc();
        assert_eq!(from_kubernetes_micros(&to_kubernetes_micros(time)), time);
    }
}
