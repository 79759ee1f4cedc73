//! The one place where Kubernetes's time type (jiff) meets the project's (chrono).

use chrono::{DateTime, Utc};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A time for a resource, in whole seconds as Kubernetes writes them.
pub fn to_kubernetes(time: DateTime<Utc>) -> Time {
    Time(Timestamp::from_second(time.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// A time out of a resource.
pub fn from_kubernetes(time: &Time) -> DateTime<Utc> {
    let Time(stamp) = time;
    DateTime::from_timestamp(stamp.as_second(), stamp.subsec_nanosecond().unsigned_abs())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let time = DateTime::parse_from_rfc3339("2026-01-02T03:04:05Z").unwrap().to_utc();
        assert_eq!(from_kubernetes(&to_kubernetes(time)), time);
        assert_eq!(serde_json::to_value(to_kubernetes(time)).unwrap(), "2026-01-02T03:04:05Z");
    }
}
