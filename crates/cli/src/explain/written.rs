//! When a status was written, and what it says about the replicas until then: a quiet autoscaler's
//! status is up to half an hour old, and not outdated.

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{BillStatus, TargetStatus, bill::reason_name, time};
use llm_autoscaler_core::{
    ReplicaReason,
    bill::{BillRecord, Counts},
};

use crate::{bill::CONTINUED, outlook::duration};

/// The age of samples that is not worth a word when the status was written.
pub(super) const FRESH: TimeDelta = TimeDelta::minutes(1);
/// The age of samples that is not worth a word where it is not known when the status was written:
/// with mode Recommend it is written each five minutes.
pub(super) const RENEWED: TimeDelta = TimeDelta::minutes(6);

/// Returns the time at which the status of a target was written, as far as it tells: that until
/// which its replicas are billed.
pub(super) fn written(target: &TargetStatus) -> Option<DateTime<Utc>> {
    // With mode Recommend nothing is billed, and the bill may be an earlier one.
    let billed = target.bill.as_ref().filter(|_| target.recommendation.is_none());
    billed.map(|bill| time::from_kubernetes(&bill.until))
}

/// Returns how old a status is, and whether it should be that old.
pub(super) fn written_text(
    target: &TargetStatus,
    written: DateTime<Utc>,
    now: DateTime<Utc>,
) -> String {
    let age = now - written;
    let ago = duration(age);
    if age > CONTINUED {
        return format!("written {ago} ago, and due each half hour: is the operator running?");
    }
    let text =
        format!("written {ago} ago; it is written when something changes, and each half hour");
    let record = target.bill.as_ref().and_then(BillStatus::record);
    let replicas = record.map(|record| format!("\nbilled     {}", replicas_text(record)));
    text + &replicas.unwrap_or_default()
}

/// Returns the replicas of a bill by reason, such as `2 Needed, 1 HeldByWindow`.
fn replicas_text(record: &BillRecord) -> String {
    let of = |(reason, counts): (&ReplicaReason, &Counts)| {
        format!("{} {}", counts.replicas, reason_name(*reason))
    };
    let all: Vec<String> = record.open.iter().map(of).collect();
    if all.is_empty() { "no replica".to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use llm_autoscaler_api::LLMAutoscaler;
    use llm_autoscaler_core::bill::{BilledReplica, Ledger};

    use super::*;
    use crate::explain::{render, tests::OBJECT};

    #[test]
    fn a_quiet_status_does_not_look_stale() {
        let mut object: LLMAutoscaler = serde_json::from_str(OBJECT).unwrap();
        let at = |second: i64| DateTime::from_timestamp(1_767_225_600 + second, 0).unwrap();
        let replica = |key: &str, reason| BilledReplica {
            key: key.to_owned(),
            start: at(0),
            deadline: None,
            gpus: 1,
            reason,
        };
        let replicas = [
            ("a", ReplicaReason::Needed),
            ("b", ReplicaReason::Needed),
            ("c", ReplicaReason::Floor),
        ];
        let mut ledger = Ledger::default();
        ledger.bill(&replicas.map(|(key, reason)| replica(key, reason)), &[], at(62));
        let target = Arc::make_mut(&mut object.status.as_mut().unwrap().targets[0]);
        target.bill = BillStatus::new(&ledger);
        // The samples are of second 60.
        let table = [
            (at(62), "0 s ago; it is written when something changes, and each half hour"),
            (at(434), "6 min 12 s ago; it is written when something changes, and each half hour"),
            (at(2400), "38 min 58 s ago, and due each half hour: is the operator running?"),
        ];
        for (now, expected) in table {
            let text = render(&object, now);
            assert!(text.contains(&format!("status     written {expected}\n")), "{text}");
            assert!(text.contains("(by scrape)\n"), "{text}");
        }
        assert!(render(&object, at(434)).contains("\nbilled     2 Needed, 1 Floor\n"));
        let target = Arc::make_mut(&mut object.status.as_mut().unwrap().targets[0]);
        target.metrics[0].sampled_at = Some(time::to_kubernetes(at(-30)));
        assert!(render(&object, at(434)).contains("(by scrape, 1 min 32 s old)\n"));
        // Nothing tells when it was written.
        Arc::make_mut(&mut object.status.as_mut().unwrap().targets[0]).bill = None;
        assert!(render(&object, at(300)).contains("(by scrape)\n"));
        assert!(render(&object, at(372)).contains("(by scrape, 6 min 42 s old)\n"));
    }
}
