//! The grouping of pods into replicas.

use std::sync::Arc;

use kube::core::Selector;

use super::SpecError;
use crate::{
    spec::ReplicaPodsSpec,
    workloads::{self, GroupSize, Grouping, ReportingPods},
};

/// Returns the grouping of the spec, or the known ones where the spec has none.
pub(super) fn groupings(spec: Option<&ReplicaPodsSpec>) -> Result<Arc<[Grouping]>, SpecError> {
    let Some(spec) = spec else { return Ok(workloads::known_groupings()) };
    let reporting = match &spec.leader_selector {
        None => ReportingPods::All,
        Some(selector) => {
            let wrong = |error| {
                SpecError::new(
                    "replicaPods.leaderSelector",
                    format!("it cannot be parsed: {error}"),
                )
            };
            let selector = Selector::try_from(selector.clone()).map_err(wrong)?;
            if selector.selects_all() {
                ReportingPods::All
            } else {
                ReportingPods::Selected(selector)
            }
        }
    };
    let size = spec.size.and_then(|size| usize::try_from(size).ok());
    let size = size.map_or(GroupSize::Unknown, GroupSize::Fixed);
    Ok(Arc::new([Grouping { label: spec.group_label.clone(), reporting, size }]))
}
