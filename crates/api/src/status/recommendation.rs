//! The recommendation of an autoscaler that writes nothing, beside what its target has.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use llm_autoscaler_core::{BilledHour, Difference, Shadow, ShadowBill};
use serde::{Deserialize, Serialize};

use crate::time;

/// Milliseconds of a second.
const SECOND: i64 = 1000;
/// The growth of the bill, in seconds, with which a status is renewed though nothing else has
/// changed.
const BILLED_EVERY: i64 = 300;
/// Seconds of an hour.
const HOUR: i64 = 3600;

/// The replicas that this autoscaler would have, beside those of the target.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RecommendationStatus {
    /// The number of replicas that the target would have now.
    pub replicas: i32,
    /// The replicas of the last 24 hours, summed over time.
    #[serde(default)]
    pub bill: RecommendationBill,
    /// The last ten times during which the two numbers differed, latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<RecommendationDifference>,
}

/// The replicas of the last 24 hours, summed over the covered time. It is up to five minutes old.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RecommendationBill {
    /// The start of the first hour that it contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// How much of the 24 hours both sums cover, in seconds: the time in which both numbers were
    /// known.
    #[serde(default, alias = "observedSeconds")]
    pub covered_seconds: i64,
    /// The replicas that the target requested times the seconds that it requested them.
    pub actual_replica_seconds: i64,
    /// The replicas that this autoscaler would have requested times the seconds.
    pub recommended_replica_seconds: i64,
    /// The hours, latest first: the hour's number since 1970, and the three numbers above for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<[i64; 4]>,
}

/// A time during which the recommended number differed from that of the target, in one direction.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RecommendationDifference {
    /// When it began.
    pub since: Time,
    /// When it ended; absent while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// The target's replicas when the two differed most.
    pub actual: i32,
    /// The recommended replicas when the two differed most.
    pub recommended: i32,
}

impl RecommendationStatus {
    /// Returns what a status says of a shadow, in whole seconds.
    pub fn of(shadow: &Shadow) -> Self {
        Self {
            replicas: shadow.replicas(),
            bill: RecommendationBill::of(shadow),
            differences: shadow.differences().iter().map(RecommendationDifference::of).collect(),
        }
    }

    /// Returns whether this has news, compared with what a status says already: another number, or
    /// a bill that has grown by five minutes.
    pub fn is_news(&self, before: &Self) -> bool {
        let grown = self.bill.covered_seconds - before.bill.covered_seconds;
        self.replicas != before.replicas
            || self.differences != before.differences
            || self.bill.since != before.bill.since
            || !(0..BILLED_EVERY).contains(&grown)
    }

    /// Returns the shadow to go on with.
    pub fn shadow(&self) -> Shadow {
        let hours = self.bill.hours.iter().map(billed_hour).collect();
        let differences = self.differences.iter().map(RecommendationDifference::parsed).collect();
        Shadow::restored(self.replicas, hours, differences)
    }
}

impl RecommendationBill {
    fn of(shadow: &Shadow) -> Self {
        let ShadowBill { milliseconds, actual, recommended } = shadow.bill();
        let hours = shadow.hours();
        let since =
            hours.last().and_then(|first| time::from_seconds(first.hour.saturating_mul(HOUR)));
        Self {
            since,
            covered_seconds: milliseconds / SECOND,
            actual_replica_seconds: actual / SECOND,
            recommended_replica_seconds: recommended / SECOND,
            hours: hours.iter().map(hour_numbers).collect(),
        }
    }
}

impl RecommendationDifference {
    fn of(difference: &Difference) -> Self {
        let Difference { since, until, actual, recommended } = *difference;
        let (since, until) = (time::to_kubernetes(since), until.map(time::to_kubernetes));
        Self { since, until, actual, recommended }
    }

    fn parsed(&self) -> Difference {
        Difference {
            since: time::from_kubernetes(&self.since),
            until: self.until.as_ref().map(time::from_kubernetes),
            actual: self.actual,
            recommended: self.recommended,
        }
    }
}

fn hour_numbers(hour: &BilledHour) -> [i64; 4] {
    let ShadowBill { milliseconds, actual, recommended } = hour.bill;
    [hour.hour, milliseconds / SECOND, actual / SECOND, recommended / SECOND]
}

fn billed_hour(&[hour, seconds, actual, recommended]: &[i64; 4]) -> BilledHour {
    let milliseconds = |seconds: i64| seconds.saturating_mul(SECOND).max(0);
    let bill = ShadowBill {
        milliseconds: milliseconds(seconds),
        actual: milliseconds(actual),
        recommended: milliseconds(recommended),
    };
    BilledHour { hour, bill }
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_core::Shadow;

    use super::*;

    #[test]
    fn a_shadow_goes_on_with_what_a_status_says_of_it() {
        let at = |second| time::from_kubernetes(&time::from_seconds(second).unwrap());
        let bill = |seconds| ShadowBill {
            milliseconds: seconds * SECOND,
            actual: 8 * seconds * SECOND,
            recommended: 6 * seconds * SECOND,
        };
        let hours = vec![
            BilledHour { hour: 490_001, bill: bill(60) },
            BilledHour { hour: 490_000, bill: bill(3600) },
        ];
        let differences = vec![
            Difference { since: at(9), until: None, actual: 8, recommended: 6 },
            Difference { since: at(5), until: Some(at(7)), actual: 2, recommended: 3 },
        ];
        let shadow = Shadow::restored(6, hours, differences);
        let status = RecommendationStatus::of(&shadow);
        assert_eq!(status.bill.since, time::from_seconds(490_000 * HOUR));
        assert_eq!(status.bill.covered_seconds, 3660);
        assert_eq!(status.bill.actual_replica_seconds, 8 * 3660);
        assert_eq!(status.bill.recommended_replica_seconds, 6 * 3660);
        let json = serde_json::to_string(&status).unwrap();
        let read: RecommendationStatus = serde_json::from_str(&json).unwrap();
        assert_eq!(read.shadow(), shadow);
    }

    #[test]
    fn an_earlier_name_of_the_covered_time_is_read() {
        for name in ["observedSeconds", "coveredSeconds"] {
            let text = format!(
                r#"{{"{name}": 60, "actualReplicaSeconds": 1, "recommendedReplicaSeconds": 2}}"#
            );
            let bill: RecommendationBill = serde_json::from_str(&text).unwrap();
            assert_eq!(bill.covered_seconds, 60, "{name}");
        }
        // An API server drops a field that the CRD no longer has.
        let text = r#"{"actualReplicaSeconds": 1, "recommendedReplicaSeconds": 2}"#;
        assert_eq!(serde_json::from_str::<RecommendationBill>(text).unwrap().covered_seconds, 0);
    }

    #[test]
    fn a_bill_that_has_grown_a_little_is_no_news() {
        let observed = |replicas, seconds| {
            let bill = RecommendationBill { covered_seconds: seconds, ..Default::default() };
            RecommendationStatus { replicas, bill, differences: Vec::new() }
        };
        let before = observed(3, 1000);
        let table =
            [(3, 1000, false), (3, 1299, false), (3, 1300, true), (3, 999, true), (4, 1000, true)];
        for (replicas, seconds, expected) in table {
            assert_eq!(observed(replicas, seconds).is_news(&before), expected, "{seconds}");
        }
    }

    #[test]
    fn numbers_that_were_edited_make_no_absurd_bill() {
        let hours = vec![[i64::MAX, i64::MAX, -5, 3], [0, 1, 1, 1]];
        let bill = RecommendationBill { hours, ..RecommendationBill::default() };
        let status = RecommendationStatus { replicas: 2, bill, differences: Vec::new() };
        let shadow = status.shadow();
        assert_eq!(shadow.bill().actual, SECOND);
        assert_eq!(shadow.bill().milliseconds, i64::MAX);
    }
}
