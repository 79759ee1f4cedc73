//! The adoption of a size: which sizes a tool could remove by leaving them out of its manifest.
//!
//! A manager that has applied `spec.replicas` (server-side) as its only owner removes the field
//! when its next manifest lacks it, and the target falls to the default of one replica. A manager
//! that has set the field otherwise does so once it begins to apply server-side, because it takes
//! over what it has set before. The field stays where another manager owns it too. So the operator
//! becomes an owner beside them, without changing the size, before the field leaves Git.
//!
//! Pure: the caller passes the owners as `managedFields` name them.

use llm_autoscaler_api::managers;

use crate::{ownership::authors, scale::metadata::SizeOwner};

/// Returns the manager that could remove the size by its next manifest; `None` if there is none, or
/// if the operator owns the size already. The objects of a controller are left alone: they are in
/// no manifest, and the controller may need to change the size without force.
pub(crate) fn endangering(owners: &[SizeOwner], has_controller: bool) -> Option<&str> {
    let is_ours = |owner: &SizeOwner| owner.manager == managers::SCALE;
    if has_controller || owners.iter().any(is_ours) {
        return None;
    }
    let could_remove =
        |owner: &&SizeOwner| owner.applies || authors::is_deployment_tool(&owner.manager);
    owners.iter().find(could_remove).map(|owner| owner.manager.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_in_danger_while_a_tool_is_its_only_owner() {
        type Owners = &'static [(&'static str, bool)];
        const APPLIES: bool = true;
        const UPDATES: bool = false;
        // the owners, a controller owns the target; the manager that could remove the size
        let table: &[(Owners, bool, Option<&str>)] = &[
            (&[], false, None),
            (&[("ci", APPLIES)], false, Some("ci")),
            (&[("ci", APPLIES)], true, None),
            (&[("ci", UPDATES)], false, None),
            (&[("kubectl-client-side-apply", UPDATES)], false, Some("kubectl-client-side-apply")),
            (&[("helm", UPDATES)], false, Some("helm")),
            (&[("model-operator", UPDATES), ("helm", APPLIES)], false, Some("helm")),
            (&[("helm", APPLIES), (managers::SCALE, UPDATES)], false, None),
            (&[(managers::SCALE, APPLIES), ("helm", APPLIES)], false, None),
        ];
        for (owners, has_controller, expected) in table {
            let owners: Vec<SizeOwner> = owners
                .iter()
                .map(|(manager, applies)| SizeOwner {
                    manager: (*manager).to_owned(),
                    applies: *applies,
                })
                .collect();
            assert_eq!(endangering(&owners, *has_controller), *expected, "{owners:?}");
        }
    }
}
