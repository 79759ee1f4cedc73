//! The advice about other writers of a target's size.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use llm_autoscaler_api::{Advice, ChangeRecord, conditions::Reason, managers};

use super::blocks::moment;

/// Returns the advice about a controller that owns the target, named as KIND/NAME, and of which
/// nothing is known.
pub(crate) fn unknown_controller(target: &str, owner: &OwnerReference) -> Advice {
    let OwnerReference { kind, name, api_version, .. } = owner;
    let text = format!(
        "{target} is controlled by the {kind} {name} ({api_version}), and it is not known whether \
         that sets the size: if it undoes what is written, {target} is left to it; scale the \
         {kind} instead if it has a size of its own"
    );
    Advice { reason: Reason::UnknownController, text }
}

/// Returns the advice about a writer that has set the same size of the target, named as KIND/NAME,
/// again and again.
pub(crate) fn repeated(target: &str, record: &ChangeRecord) -> Advice {
    let ChangeRecord { by, from, to, times } = record;
    let latest = times.first().map(|at| format!(" at {}", moment(*at))).unwrap_or_default();
    let text = format!(
        "{by} has set the size of {target} to {to} at least three times within seven days, most \
         recently from {from}{latest}: remove spec.replicas from what it applies (docs/targets.md)"
    );
    Advice { reason: Reason::SizeSetAgain, text }
}

/// Returns the note about the size of a target, named as KIND/NAME, that the operator owns from now
/// on beside this manager.
pub(crate) fn adopted(target: &str, manager: &str, replicas: i32) -> String {
    format!(
        "spec.replicas of {target} belongs to {} too now, beside {manager}, and stays {replicas}: \
         it can be removed from what {manager} applies server-side (docs/gitops.md)",
        managers::SCALE
    )
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::{
        ownership::{refusal::Refusal, size_change::SizeChange},
        status::refusal::RefusalTexts,
    };

    #[test]
    fn other_writers_are_named_with_the_sizes_and_a_way_out() {
        let owner = OwnerReference {
            api_version: "serving.example.com/v1".to_owned(),
            kind: "ModelService".to_owned(),
            name: "qwen3".to_owned(),
            ..OwnerReference::default()
        };
        assert_eq!(
            unknown_controller("Deployment/t", &owner).text,
            "Deployment/t is controlled by the ModelService qwen3 (serving.example.com/v1), and it \
             is not known whether that sets the size: if it undoes what is written, Deployment/t \
             is left to it; scale the ModelService instead if it has a size of its own"
        );
        let by = "model-operator".to_owned();
        let change = SizeChange { from: 5, to: 2, by: Some(by), at: DateTime::UNIX_EPOCH };
        let refusal = Refusal::UndoingOwner { owner, change };
        let texts = RefusalTexts::new("Deployment/t", &refusal);
        assert!(texts.terminal);
        assert_eq!(
            texts.condition.message,
            "Deployment/t belongs to the ModelService qwen3 (serving.example.com/v1), which seems to \
             drive its size: model-operator changed it again and again, most recently from 5 to 2; \
             nothing is written to it; have that ModelService leave the size to others, or scale it \
             instead, and delete this object; a change of this spec has it tried again"
        );
        let times = vec![DateTime::from_timestamp(3600, 0).unwrap(), DateTime::UNIX_EPOCH];
        let record = ChangeRecord { by: "helm".to_owned(), from: 5, to: 2, times };
        assert_eq!(
            repeated("Deployment/t", &record).text,
            "helm has set the size of Deployment/t to 2 at least three times within seven days, most \
             recently from 5 at 1970-01-01T01:00:00Z: remove spec.replicas from what it applies \
             (docs/targets.md)"
        );
    }
}
