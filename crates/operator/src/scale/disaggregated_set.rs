//! Roles of DisaggregatedSets (disaggregatedset.x-k8s.io), which are scaled by their role scalers.
//!
//! A role has one LeaderWorkerSet, and during a rollout one for each revision: the new one grows
//! while the old one shrinks.

use kube::{
    ResourceExt,
    api::{DynamicObject, ListParams},
};
use llm_autoscaler_api::{ScaleTargetRef, workloads};
use llm_autoscaler_observe::workload::{RolloutProgress, Workload};

use crate::scale::{
    client::{ScaleClient, within_deadline},
    error::TargetError,
    kinds,
    workload::{number, parse},
};

impl ScaleClient {
    /// Reads the rollout of a role from its LeaderWorkerSets.
    pub(super) async fn get_scaler_workload(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<Workload, TargetError> {
        let scaler = self.api(namespace, target).await?;
        let scaler = within_deadline(scaler.get_metadata(&target.name)).await?;
        let value = |key: &str| scaler.labels().get(key).cloned().unwrap_or_default();
        let selector = workloads::DISAGGREGATED_LABELS.map(|key| format!("{key}={}", value(key)));
        let its = ListParams::default().labels(&selector.join(","));
        let sets = self.api(namespace, &kinds::leader_worker_set("")).await?;
        Ok(of_revisions(&within_deadline(sets.list(&its)).await?.items))
    }
}

/// Returns the workload that the LeaderWorkerSets of a role are. Those without replicas are left
/// over from earlier revisions.
fn of_revisions(sets: &[DynamicObject]) -> Workload {
    let count = |set: &DynamicObject, path| number(&set.data, path).unwrap_or(0);
    let replicas =
        |set: &DynamicObject| count(set, "/spec/replicas").max(count(set, "/status/replicas"));
    let live: Vec<&DynamicObject> = sets.iter().filter(|set| replicas(set) > 0).collect();
    let generation = |set: &DynamicObject| set.metadata.generation.unwrap_or_default();
    if let [set] = *live {
        return parse("LeaderWorkerSet", generation(set), &set.data);
    }
    let newest = live.iter().max_by_key(|set| set.creation_timestamp());
    let sum = |path| live.iter().map(|set| count(set, path)).sum();
    let rollout = newest.map(|newest| RolloutProgress {
        updated: count(newest, "/status/replicas"),
        wanted: sum("/status/replicas"),
        ready: sum("/status/readyReplicas"),
        generation: live.iter().map(|set| generation(set)).sum(),
    });
    Workload { first_ordinal: Some(0), rollout, ..Workload::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(second: u32, spec: i64, status: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": {
                "name": format!("pd-{second}"), "generation": 2,
                "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
            },
            "spec": {"replicas": spec},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_role_rolls_out_while_it_has_several_leader_worker_sets() {
        let whole = |replicas: i64| json!({"replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas});
        let rollout = |updated, wanted, ready, generation| {
            Some(RolloutProgress { updated, wanted, ready, generation })
        };
        // the LeaderWorkerSets; the rollout
        let table = [
            (vec![], None),
            (vec![set(1, 3, &whole(3))], None),
            (vec![set(1, 0, &whole(0)), set(2, 3, &whole(3))], None),
            (vec![set(2, 1, &whole(1)), set(1, 3, &whole(3))], rollout(1, 4, 4, 4)),
            // The pods of the old revision are ending.
            (vec![set(1, 0, &whole(1)), set(2, 3, &whole(3))], rollout(3, 4, 4, 4)),
            // A LeaderWorkerSet may roll out by itself.
            (
                vec![set(1, 3, &json!({"replicas": 3, "readyReplicas": 2, "updatedReplicas": 1}))],
                rollout(1, 3, 2, 2),
            ),
        ];
        for (sets, expected) in table {
            assert_eq!(of_revisions(&sets).rollout, expected, "{sets:?}");
        }
    }
}
