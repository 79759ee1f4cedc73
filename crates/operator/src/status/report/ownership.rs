//! The advice about other writers of a target's size.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use llm_autoscaler_api::{Advice, conditions::Reason};

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
