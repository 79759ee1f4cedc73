//! What the object of a target says beyond its scale: whether it is being rolled out, and from where its ordinals count.

use llm_autoscaler_api::{ScaleTargetRef, workloads};
use llm_autoscaler_observe::workload::{RolloutProgress, Workload};
use serde_json::Value;

use crate::scale::client::{self, TargetError, Targets, deadline};

impl Targets {
    /// Reads the object of a target, where its kind is known. One that may not be read is one of which nothing is known.
    pub async fn workload(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<Workload, TargetError> {
        if workloads::victims(target).is_none() {
            return Ok(Workload::default());
        }
        if client::is_about(target) {
            return self.role_workload(namespace, target).await;
        }
        let api = self.api(namespace, target).await?;
        match deadline(api.get(&target.name)).await {
            Ok(found) => {
                let generation = found.metadata.generation.unwrap_or_default();
                let annotations = found.metadata.annotations.unwrap_or_default();
                let victims =
                    workloads::has_modes(target).then(|| workloads::role_victims(&annotations));
                Ok(Workload { victims, ..read(&target.kind, generation, &found.data) })
            }
            Err(TargetError::Call(error)) if error.status() == Some(403) => Ok(Workload::default()),
            Err(error) => Err(error),
        }
    }
}

/// What an object of a known kind says.
fn read(kind: &str, generation: i64, data: &Value) -> Workload {
    let number = |path: &str| data.pointer(path).and_then(Value::as_i64);
    let text = |path: &str| data.pointer(path).and_then(Value::as_str);
    let (replicas, updated) =
        (number("/status/replicas").unwrap_or(0), number("/status/updatedReplicas").unwrap_or(0));
    let partition = match kind {
        "StatefulSet" => number("/spec/updateStrategy/rollingUpdate/partition"),
        _ => number("/spec/rolloutStrategy/rollingUpdateConfiguration/partition"),
    };
    let progress = RolloutProgress {
        updated,
        // Those below a partition stay as they are on purpose.
        wanted: (replicas - partition.unwrap_or(0)).max(0),
        ready: number("/status/readyReplicas").unwrap_or(0),
        generation,
    };
    let unobserved =
        number("/status/observedGeneration").is_some_and(|observed| observed < generation);
    let unfinished = updated < progress.wanted;
    let in_progress = match kind {
        // Whoever updates by deleting pods says when.
        "StatefulSet" if text("/spec/updateStrategy/type") == Some("OnDelete") => unobserved,
        "StatefulSet" => {
            let revisions = text("/status/currentRevision") != text("/status/updateRevision");
            unobserved || unfinished || revisions && partition.unwrap_or(0) == 0
        }
        _ => unobserved || unfinished,
    };
    let conditions = data.pointer("/status/conditions").and_then(Value::as_array);
    let given_up = |condition: &Value| condition["reason"] == "ProgressDeadlineExceeded";
    Workload {
        first_ordinal: Some(number("/spec/ordinals/start").unwrap_or(0) as i32),
        victims: None,
        is_ordered: text("/spec/podManagementPolicy") == Some(workloads::ORDERED_READY),
        rollout: in_progress.then_some(progress),
        is_given_up: conditions.into_iter().flatten().any(given_up),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rollout_is_seen_by_the_kind_of_its_object() {
        let set = |spec: Value, current: &str, updated: i64, observed: i64| {
            let status = json!({"replicas": 4, "updatedReplicas": updated, "currentRevision": current, "updateRevision": "b",
                "observedGeneration": observed});
            json!({"spec": spec, "status": status})
        };
        let rolling = |partition: i64| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}});
        let deployment = |updated: i64, replicas: i64| {
            json!({"spec": {}, "status": {"replicas": replicas, "updatedReplicas": updated, "observedGeneration": 2,
                "unavailableReplicas": 1}})
        };
        let table = [
            ("StatefulSet", set(rolling(0), "b", 4, 2), false),
            ("StatefulSet", set(rolling(0), "b", 4, 1), true),
            ("StatefulSet", set(rolling(0), "a", 1, 2), true),
            ("StatefulSet", set(rolling(0), "a", 4, 2), true),
            // A canary that is to stay one.
            ("StatefulSet", set(rolling(3), "a", 1, 2), false),
            ("StatefulSet", set(rolling(2), "a", 1, 2), true),
            ("StatefulSet", set(json!({"updateStrategy": {"type": "OnDelete"}}), "a", 0, 2), false),
            // One that is out of service is not available, which is no rollout.
            ("Deployment", deployment(3, 3), false),
            ("Deployment", deployment(1, 4), true),
            ("LeaderWorkerSet", deployment(1, 2), true),
        ];
        for (kind, data, expected) in table {
            assert_eq!(read(kind, 2, &data).rollout.is_some(), expected, "{kind} {data}");
        }
    }

    #[test]
    fn ordinals_may_begin_anywhere() {
        let of = |spec: Value| {
            read("StatefulSet", 1, &json!({"spec": spec, "status": {}})).first_ordinal
        };
        assert_eq!(of(json!({})), Some(0));
        assert_eq!(of(json!({"ordinals": {"start": 5}})), Some(5));
    }

    #[test]
    fn some_go_in_turn() {
        let of = |policy: &str| {
            read("StatefulSet", 1, &json!({"spec": {"podManagementPolicy": policy}})).is_ordered
        };
        assert!(of("OrderedReady"));
        assert!(!of("Parallel"));
    }
}
