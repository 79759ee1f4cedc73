//! The conditions about scale-downs that drain.

use std::borrow::Cow;

use chrono::SecondsFormat;
use llm_autoscaler_api::{
    conditions::{ConditionType, ConditionUpdate, Reason},
    workloads::IN_SERVICE,
};
use llm_autoscaler_observe::workload::Rollout;

use super::lists;
use crate::drain::progress::{
    BestEffort, DrainOutcome, DrainProgress, FinishedDrain, GateProblem, RemainingRequests,
    SizeStep,
};

/// Returns all conditions about draining, by type; `None` for a condition that is absent.
pub(super) fn conditions(
    progress: &DrainProgress,
) -> [(ConditionType, Option<ConditionUpdate>); 4] {
    [
        (ConditionType::Draining, draining(progress)),
        (ConditionType::DrainBestEffort, progress.best_effort.as_deref().map(best_effort)),
        (ConditionType::RolloutStuck, progress.stuck.as_ref().map(stuck)),
        (ConditionType::ReadinessGateKept, progress.gate.as_deref().map(gate)),
    ]
}

fn draining(progress: &DrainProgress) -> Option<ConditionUpdate> {
    if !progress.is_on {
        return None;
    }
    if let Some(waiting) = &progress.waiting {
        let until = waiting.until.to_rfc3339_opts(SecondsFormat::Secs, true);
        let message = format!(
            "{} -> {} waits for {}, until {until} at the latest",
            waiting.from,
            waiting.to,
            with_requests(&waiting.victims)
        );
        return Some(ConditionUpdate::yes(
            ConditionType::Draining,
            Reason::RequestsInFlight,
            message,
        ));
    }
    if let Some(SizeStep { from, to }) = progress.for_role {
        let message =
            format!("{from} -> {to} is drained and waits for the other role of the ratio");
        return Some(ConditionUpdate::yes(ConditionType::Draining, Reason::WaitsForRole, message));
    }
    if let Some(Rollout { updated, wanted, .. }) = progress.held {
        let message = format!(
            "waiting for a rollout before scaling down: {updated} of {wanted} replicas are updated"
        );
        return Some(ConditionUpdate::no(
            ConditionType::Draining,
            Reason::RolloutInProgress,
            message,
        ));
    }
    let (reason, message) = match &progress.finished {
        Some(drain) => finished(drain),
        None => (Reason::Idle, "nothing has been drained yet".into()),
    };
    Some(ConditionUpdate::no(ConditionType::Draining, reason, message))
}

fn finished(drain: &FinishedDrain) -> (Reason, Cow<'static, str>) {
    let FinishedDrain { from, to, outcome } = drain;
    match outcome {
        DrainOutcome::Drained { seconds } => (
            Reason::Drained,
            format!("{from} -> {to}: all requests were answered after {seconds} s").into(),
        ),
        DrainOutcome::Late(late) => (
            Reason::DeadlineExceeded,
            format!(
                "{from} -> {to}: the deadline passed before {} had finished",
                with_requests(late)
            )
            .into(),
        ),
        DrainOutcome::Cancelled => (
            Reason::Cancelled,
            "the scale-down is no longer needed; all replicas are back in service".into(),
        ),
    }
}

fn best_effort(why: &BestEffort) -> ConditionUpdate {
    let (reason, message): (Reason, Cow<'static, str>) = match why {
        BestEffort::NoGate(pods) => {
            let pods = lists::names(pods.iter().cloned());
            let message = format!(
                "these pods keep receiving requests until they are deleted, because they lack the \
                 readiness gate {IN_SERVICE}: {pods}"
            );
            (Reason::NoReadinessGate, message.into())
        }
        BestEffort::NotPermitted => {
            let message = format!(
                "pods keep receiving requests until they are deleted, because the operator is not \
                 allowed to set their condition {IN_SERVICE}: label the ClusterRole \
                 llm-autoscaler-in-service (docs/targets.md)"
            );
            (Reason::NotPermitted, message.into())
        }
        BestEffort::NotMarked { role, error } => {
            let message = format!(
                "the controller may remove other pods than the drained ones: {error}; label the \
                 ClusterRole {role} (docs/targets.md)"
            );
            (Reason::NotPermitted, message.into())
        }
        BestEffort::UnknownVictims => {
            let message = "replicas are removed without draining, because it is not known which \
                           replicas this kind removes first";
            (Reason::UnknownVictims, message.into())
        }
        BestEffort::RequestsUnknown => {
            let message = "the engine does not expose how many requests it has, so every scale-down \
                           lasts until its deadline: name the series that count them in \
                           drain.requestSeries";
            (Reason::RequestsUnknown, message.into())
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

fn gate(GateProblem { is_forbidden, text }: &GateProblem) -> ConditionUpdate {
    let (reason, message) = if *is_forbidden {
        let message = format!(
            "pods with the readiness gate {IN_SERVICE} do not get ready: {text}; label the \
             ClusterRole llm-autoscaler-in-service (docs/targets.md)"
        );
        (Reason::NotPermitted, message)
    } else {
        let message = format!("the readiness gate {IN_SERVICE} of pods cannot be written: {text}");
        (Reason::WriteFailed, message)
    };
    ConditionUpdate::no(ConditionType::ReadinessGateKept, reason, message)
}

/// Lists the first few replicas, with the requests that each still has.
fn with_requests(replicas: &[RemainingRequests]) -> String {
    lists::names(replicas.iter().map(|RemainingRequests { name, requests }| match requests {
        Some(1) => format!("{name} (1 request)"),
        Some(requests) => format!("{name} ({requests} requests)"),
        None => format!("{name} (number of requests unknown)"),
    }))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::drain::progress::PendingDrain;

    fn left(name: &str, requests: Option<u64>) -> RemainingRequests {
        RemainingRequests { name: name.to_owned(), requests }
    }

    #[test]
    fn each_state_of_a_scale_down_has_its_reason() {
        let on = DrainProgress { is_on: true, ..DrainProgress::default() };
        let waiting = PendingDrain {
            from: 5,
            to: 3,
            victims: vec![left("a-4", Some(1)), left("a-3", None)],
            until: DateTime::UNIX_EPOCH,
        };
        let ended = |outcome| DrainProgress {
            finished: Some(Box::new(FinishedDrain { from: 3, to: 2, outcome })),
            ..on.clone()
        };
        let rollout = Some(Rollout { updated: 1, wanted: 3, minutes: 0 });
        let table = [
            (on.clone(), false, "Idle", "nothing has been drained yet"),
            (
                DrainProgress { waiting: Some(Box::new(waiting)), ..on.clone() },
                true,
                "RequestsInFlight",
                "5 -> 3 waits for a-4 (1 request), a-3 (number of requests unknown), until 1970-01-01T00:00:00Z at the latest",
            ),
            (
                DrainProgress { for_role: Some(SizeStep { from: 5, to: 3 }), ..on.clone() },
                true,
                "WaitsForRole",
                "5 -> 3 is drained and waits for the other role of the ratio",
            ),
            (
                DrainProgress { held: rollout, ..ended(DrainOutcome::Cancelled) },
                false,
                "RolloutInProgress",
                "waiting for a rollout before scaling down: 1 of 3 replicas are updated",
            ),
            (
                ended(DrainOutcome::Drained { seconds: 31 }),
                false,
                "Drained",
                "3 -> 2: all requests were answered after 31 s",
            ),
            (
                ended(DrainOutcome::Late(vec![left("a-2", Some(4))])),
                false,
                "DeadlineExceeded",
                "3 -> 2: the deadline passed before a-2 (4 requests) had finished",
            ),
        ];
        for (progress, status, reason, message) in table {
            let update = draining(&progress).unwrap();
            assert_eq!(
                (update.status, update.reason.as_str(), &*update.message),
                (status, reason, message)
            );
        }
        assert_eq!(draining(&DrainProgress::default()), None);
    }

    #[test]
    fn a_long_list_is_its_first_names_and_a_number() {
        let pods = (0..5).map(|n| format!("a-{n}")).collect();
        let update = best_effort(&BestEffort::NoGate(pods));
        assert!(update.message.ends_with("a-0, a-1, a-2 and 2 more"), "{}", update.message);
    }
}
