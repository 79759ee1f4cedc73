//! The status of a group.

use chrono::{SecondsFormat, Utc};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::objects::number;

/// The replica counts of a workload. A replica of several pods counts as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) replicas: i64,
    pub(super) ready: i64,
    pub(super) updated: i64,
}

impl Counts {
    /// Reads the counts from a workload's status.
    pub(super) fn of(workload: &DynamicObject) -> Self {
        let count = |field: &str| number(workload, &format!("/status/{field}")).unwrap_or(0);
        Self {
            replicas: count("replicas"),
            ready: count("readyReplicas"),
            updated: count("updatedReplicas"),
        }
    }

    /// Returns the counts as they are written to a group's status. As in the real controller, the
    /// number of updated replicas is written only together with another one.
    pub(super) fn after(self, before: Option<Self>) -> Self {
        let unchanged =
            before.filter(|before| (before.replicas, before.ready) == (self.replicas, self.ready));
        unchanged.unwrap_or(self)
    }

    /// Reads the counts of a role from a group's status.
    pub(super) fn of_role(group: &DynamicObject, role: &str) -> Option<Self> {
        let statuses = group.data["status"]["roleStatuses"].as_array();
        let status = statuses.into_iter().flatten().find(|status| status["name"] == role)?;
        let count = |field: &str| status[field].as_i64().unwrap_or(0);
        Some(Self {
            replicas: count("replicas"),
            ready: count("readyReplicas"),
            updated: count("updatedReplicas"),
        })
    }
}

/// A role, its desired replicas, and its counts; `None` if it has no workload.
pub(super) type RoleCounts = (String, i64, Option<Counts>);

/// Builds the status of a group. Its `replicas` of a role are the existing ones, not the desired
/// ones.
pub(super) fn of_group(group: &DynamicObject, roles: &[RoleCounts]) -> Value {
    let is_ready = roles.iter().all(|(_, desired, counts)| {
        counts.is_some_and(|counts| counts.replicas == *desired && counts.ready == *desired)
    });
    let statuses = roles.iter().map(|(name, _, counts)| {
        let Counts { replicas, ready, updated } = counts.unwrap_or_default();
        json!({
            "name": name,
            "replicas": replicas,
            "readyReplicas": ready,
            "updatedReplicas": updated,
        })
    });
    json!({
        "observedGeneration": group.metadata.generation,
        "conditions": [ready_condition(group, is_ready)],
        "roleStatuses": statuses.collect::<Vec<_>>(),
    })
}

fn ready_condition(group: &DynamicObject, is_ready: bool) -> Value {
    let (status, reason, message) = if is_ready {
        ("True", "AllRolesReady", "All roles are ready")
    } else {
        ("False", "RoleNotReady", "Not all role ready")
    };
    let conditions = group.data["status"]["conditions"].as_array();
    let before = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let unchanged = before.filter(|before| before["status"] == status);
    let since =
        unchanged.map_or_else(|| json!(now()), |before| before["lastTransitionTime"].clone());
    json!({
        "type": "Ready", "status": status, "reason": reason, "message": message,
        "observedGeneration": group.metadata.generation, "lastTransitionTime": since,
    })
}

/// Returns the current time in the format of objects.
pub(super) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}
