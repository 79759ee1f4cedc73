//! Which pods are one replica.

use kube::core::Selector;

use super::SpecError;
use crate::{
    ReplicaPodsSpec,
    dialect::{self, GroupSize, Grouping, Leader},
};

/// What the spec says; where it says nothing, what controllers write on their pods.
pub(super) fn groupings(spec: Option<&ReplicaPodsSpec>) -> Result<Vec<Grouping>, SpecError> {
    let Some(spec) = spec else { return Ok(dialect::known()) };
    let leader = match &spec.leader_selector {
        None => Leader::Everybody,
        Some(selector) => {
            let wrong = |error| SpecError::new("replicaPods.leaderSelector", format!("{error}"));
            let selector = Selector::try_from(selector.clone()).map_err(wrong)?;
            if selector.selects_all() { Leader::Everybody } else { Leader::Selected(selector) }
        }
    };
    let size = spec.size.and_then(|size| usize::try_from(size).ok());
    let size = size.map_or(GroupSize::Unknown, GroupSize::Fixed);
    Ok(vec![Grouping { label: spec.group_label.clone(), leader, size }])
}
