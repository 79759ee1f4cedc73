//! The conditions about scale-downs that drain.

use chrono::SecondsFormat;
use llm_autoscaler_api::{
    conditions::{ConditionType, ConditionUpdate, Reason},
    workloads::IN_SERVICE,
};

use crate::status::report::NAMED;
use llm_autoscaler_observe::workload::Rollout;
use crate::drain::progress::{BestEffort, Ended, How, Left, Told};

/// Returns all conditions about draining. `Err` is the type of a condition that is absent.
pub(super) fn conditions(told: &Told) -> [Result<ConditionUpdate, ConditionType>; 4] {
    [
        draining(told).ok_or(ConditionType::Draining),
        told.best_effort.as_ref().map(best_effort).ok_or(ConditionType::DrainBestEffort),
        told.stuck.as_ref().map(stuck).ok_or(ConditionType::RolloutStuck),
        told.gate
            .as_ref()
            .map(|(is_forbidden, text)| gate(*is_forbidden, text))
            .ok_or(ConditionType::ReadinessGateKept),
    ]
}

fn draining(told: &Told) -> Option<ConditionUpdate> {
    if !told.is_on {
        return None;
    }
    if let Some(waiting) = &told.waiting {
        let until = waiting.until.to_rfc3339_opts(SecondsFormat::Secs, true);
        let message = format!(
            "{} -> {} waits for {}, until {until} at the latest",
            waiting.from,
            waiting.to,
            named(&waiting.victims)
        );
        return Some(ConditionUpdate::yes(
            ConditionType::Draining,
            Reason::RequestsInFlight,
            message,
        ));
    }
    if let Some((from, to)) = told.for_role {
        let message =
            format!("{from} -> {to} is drained and waits for the other role of the ratio");
        return Some(ConditionUpdate::yes(ConditionType::Draining, Reason::WaitsForRole, message));
    }
    if let Some(Rollout { updated, wanted, .. }) = told.held {
        let message = format!(
            "waiting for a rollout before scaling down: {updated} of {wanted} replicas are updated"
        );
        return Some(ConditionUpdate::no(
            ConditionType::Draining,
            Reason::RolloutInProgress,
            message,
        ));
    }
    let Some(Ended { from, to, how }) = &told.ended else {
        return Some(ConditionUpdate::no(
            ConditionType::Draining,
            Reason::Idle,
            "nothing has been drained yet",
        ));
    };
    let (reason, message) = match how {
        How::Drained { seconds } => (
            Reason::Drained,
            format!("{from} -> {to}: all requests were answered after {seconds} s"),
        ),
        How::Late(left) => (
            Reason::DeadlineExceeded,
            format!("{from} -> {to}: the deadline passed before {} had finished", named(left)),
        ),
        How::Cancelled => (
            Reason::Cancelled,
            "the scale-down is no longer needed; all replicas are back in service".to_owned(),
        ),
    };
    Some(ConditionUpdate::no(ConditionType::Draining, reason, message))
}

fn best_effort(why: &BestEffort) -> ConditionUpdate {
    let (reason, message) = match why {
        BestEffort::NoGate(pods) => {
            let pods = some(pods.iter().cloned());
            let message = format!(
                "these pods keep receiving requests until they are deleted, because they lack the \
                 readiness gate {IN_SERVICE}: {pods}"
            );
            (Reason::NoReadinessGate, message)
        }
        BestEffort::NotPermitted => {
            let message = format!(
                "pods keep receiving requests until they are deleted, because the operator is not \
                 allowed to set their condition {IN_SERVICE}: label the ClusterRole \
                 llm-autoscaler-in-service (docs/targets.md)"
            );
            (Reason::NotPermitted, message)
        }
        BestEffort::NotMarked { role, error } => {
            let message = format!(
                "the controller may remove other pods than the drained ones: {error}; label the \
                 ClusterRole {role} (docs/targets.md)"
            );
            (Reason::NotPermitted, message)
        }
        BestEffort::UnknownVictims => {
            let message = "replicas are removed without draining, because it is not known which \
                           replicas this kind removes first";
            (Reason::UnknownVictims, message.to_owned())
        }
        BestEffort::RequestsUnknown => {
            let message = "the engine does not expose how many requests it has, so every scale-down \
                           lasts until its deadline: name the series that count them in \
                           drain.requestSeries";
            (Reason::RequestsUnknown, message.to_owned())
        }
    };
    ConditionUpdate::yes(ConditionType::DrainBestEffort, reason, message)
}

fn stuck(rollout: &Rollout) -> ConditionUpdate {
    let Rollout { updated, wanted, minutes } = rollout;
    let message = format!(
        "the rollout is stuck: {updated} of {wanted} replicas are updated, no progress for {minutes} \
         min; scaling down without waiting for it"
    );
    ConditionUpdate::yes(ConditionType::RolloutStuck, Reason::NoProgress, message)
}

fn gate(is_forbidden: bool, error: &str) -> ConditionUpdate {
    if !is_forbidden {
        return ConditionUpdate::no(
            ConditionType::ReadinessGateKept,
            Reason::WriteFailed,
            format!("the readiness gate {IN_SERVICE} of pods cannot be written: {error}"),
        );
    }
    let message = format!(
        "pods with the readiness gate {IN_SERVICE} do not get ready: {error}; label the ClusterRole \
         llm-autoscaler-in-service (docs/targets.md)"
    );
    ConditionUpdate::no(ConditionType::ReadinessGateKept, Reason::NotPermitted, message)
}

/// Lists the first few replicas, with the requests that each still has.
fn named(left: &[Left]) -> String {
    some(left.iter().map(|Left { name, requests }| match requests {
        Some(1) => format!("{name} (1 request)"),
        Some(requests) => format!("{name} ({requests} requests)"),
        None => format!("{name} (number of requests unknown)"),
    }))
}

fn some(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let names: Vec<String> = names.take(NAMED).collect();
    if more > 0 { format!("{} and {more} more", names.join(", ")) } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::drain::progress::Waiting;

    fn left(name: &str, requests: Option<u64>) -> Left {
        Left { name: name.to_owned(), requests }
    }

    #[test]
    fn each_state_of_a_scale_down_has_its_reason() {
        let on = Told { is_on: true, ..Told::default() };
        let waiting = Waiting {
            from: 5,
            to: 3,
            victims: vec![left("a-4", Some(1)), left("a-3", None)],
            until: DateTime::UNIX_EPOCH,
        };
        let ended = |how| Told { ended: Some(Ended { from: 3, to: 2, how }), ..on.clone() };
        let rollout = Some(Rollout { updated: 1, wanted: 3, minutes: 0 });
        let table = [
            (on.clone(), false, "Idle", "nothing has been drained yet"),
            (
                Told { waiting: Some(waiting), ..on.clone() },
                true,
                "RequestsInFlight",
                "5 -> 3 waits for a-4 (1 request), a-3 (number of requests unknown), until 1970-01-01T00:00:00Z at the latest",
            ),
            (
                Told { for_role: Some((5, 3)), ..on.clone() },
                true,
                "WaitsForRole",
                "5 -> 3 is drained and waits for the other role of the ratio",
            ),
            (
                Told { held: rollout, ..ended(How::Cancelled) },
                false,
                "RolloutInProgress",
                "waiting for a rollout before scaling down: 1 of 3 replicas are updated",
            ),
            (
                ended(How::Drained { seconds: 31 }),
                false,
                "Drained",
                "3 -> 2: all requests were answered after 31 s",
            ),
            (
                ended(How::Late(vec![left("a-2", Some(4))])),
                false,
                "DeadlineExceeded",
                "3 -> 2: the deadline passed before a-2 (4 requests) had finished",
            ),
        ];
        for (told, status, reason, message) in table {
            let update = draining(&told).unwrap();
            assert_eq!(
                (update.status, update.reason.as_str(), &*update.message),
                (status, reason, message)
            );
        }
        assert_eq!(draining(&Told::default()), None);
    }

    #[test]
    fn a_long_list_is_its_first_names_and_a_number() {
        let pods = (0..5).map(|n| format!("a-{n}")).collect();
        let update = best_effort(&BestEffort::NoGate(pods));
        assert!(update.message.ends_with("a-0, a-1, a-2 and 2 more"), "{}", update.message);
    }
}
