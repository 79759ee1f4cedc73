//! The object of a target, as far as scale-downs that drain depend on it: its rollout, its first
//! ordinal, and the rule by which a smaller size removes replicas.

use llm_autoscaler_api::{ScaleTargetRef, workloads};
use llm_autoscaler_observe::workload::{RolloutProgress, Workload};
use serde_json::Value;

use crate::scale::{
    client::{ScaleClient, within_deadline},
    error::TargetError,
    kinds,
};

/// The partition of a StatefulSet's rolling update.
const SET_PARTITION: &str = "/spec/updateStrategy/rollingUpdate/partition";
/// The partition of a RoleInstanceSet's rollout, as a number or a percentage.
const INSTANCES_PARTITION: &str = "/spec/updateStrategy/partition";
/// The partition of a LeaderWorkerSet's rolling update. Other kinds have none.
const GROUPS_PARTITION: &str = "/spec/rolloutStrategy/rollingUpdateConfiguration/partition";

impl ScaleClient {
    /// Reads the object of a target, where its kind is known. If the operator may not read it, the
    /// answer is the default: nothing is known of the object.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub(crate) async fn get_workload(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<Workload, TargetError> {
        if workloads::victims(target).is_none() {
            return Ok(Workload::default());
        }
        if kinds::is_group_role(target) {
            return self.get_role_workload(namespace, target).await;
        }
        let found = if target.kind == workloads::ROLE_SCALER {
            self.get_scaler_workload(namespace, target).await
        } else {
            self.get_own_workload(namespace, target).await
        };
        match found {
            Err(error) if error.is_forbidden() => {
                self.log_refusal(namespace, &target.name, &error);
                Ok(Workload::default())
            }
            found => found,
        }
    }

    /// Reads the object that a reference names, which is of a known kind.
    pub(super) async fn get_own_workload(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<Workload, TargetError> {
        let api = self.api(namespace, target).await?;
        let found = within_deadline(api.get(&target.name)).await?;
        let generation = found.metadata.generation.unwrap_or_default();
        let annotations = found.metadata.annotations.unwrap_or_default();
        let victims = workloads::has_modes(target).then(|| workloads::role_victims(&annotations));
        Ok(Workload { victims, ..parse(&target.kind, generation, &found.data) })
    }
}

/// Parses the fields of an object of a known kind, without the rule for its victims.
pub(super) fn parse(kind: &str, generation: i64, data: &Value) -> Workload {
    let is_set = kind == "StatefulSet";
    let partition = match kind {
        "StatefulSet" => SET_PARTITION,
        "RoleInstanceSet" => INSTANCES_PARTITION,
        _ => GROUPS_PARTITION,
    };
    let partition = share(data, partition).unwrap_or(0);
    let replicas = number(data, "/status/replicas").unwrap_or(0);
    let progress = RolloutProgress {
        updated: number(data, "/status/updatedReplicas").unwrap_or(0),
        // Replicas below a partition keep their revision on purpose.
        wanted: (replicas - partition).max(0),
        ready: number(data, "/status/readyReplicas").unwrap_or(0),
        generation,
    };
    let is_unobserved =
        number(data, "/status/observedGeneration").is_some_and(|observed| observed < generation);
    let is_unfinished = progress.updated < progress.wanted;
    let is_in_progress = if !is_set {
        is_unobserved || is_unfinished
    } else if text(data, "/spec/updateStrategy/type") == Some("OnDelete") {
        // A replica is updated when something else deletes its pod, which may be never.
        is_unobserved
    } else {
        let revisions =
            ["/status/currentRevision", "/status/updateRevision"].map(|path| text(data, path));
        is_unobserved || is_unfinished || partition == 0 && revisions[0] != revisions[1]
    };
    Workload {
        first_ordinal: Some(number(data, "/spec/ordinals/start").unwrap_or(0) as i32),
        victims: None,
        is_ordered: text(data, "/spec/podManagementPolicy") == Some(workloads::ORDERED_READY),
        rollout: is_in_progress.then_some(progress),
        is_given_up: is_given_up(data),
    }
}

/// Returns whether a Deployment's controller has given its rollout up.
fn is_given_up(data: &Value) -> bool {
    let conditions = data.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["reason"] == "ProgressDeadlineExceeded")
}

/// Returns a number, or a percentage of the requested replicas, rounded up.
fn share(data: &Value, path: &str) -> Option<i64> {
    let requested = number(data, "/spec/replicas").unwrap_or(1);
    let percent = |text: &str| text.strip_suffix('%')?.parse::<i64>().ok();
    let of_requested = |percent: i64| (percent * requested + 99) / 100;
    number(data, path).or_else(|| Some(of_requested(percent(text(data, path)?)?)))
}

pub(super) fn number(data: &Value, path: &str) -> Option<i64> {
    data.pointer(path).and_then(Value::as_i64)
}

fn text<'a>(data: &'a Value, path: &str) -> Option<&'a str> {
    data.pointer(path).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stateful_set(spec: &Value, current: &str, updated: i64, observed: i64) -> Value {
        json!({"spec": spec, "status": {
            "replicas": 4, "updatedReplicas": updated, "observedGeneration": observed,
            "currentRevision": current, "updateRevision": "b",
        }})
    }

    fn deployment(updated: i64, replicas: i64) -> Value {
        json!({"spec": {}, "status": {
            "replicas": replicas, "updatedReplicas": updated, "observedGeneration": 2,
            "unavailableReplicas": 1,
        }})
    }

    #[test]
    fn a_rollout_is_in_progress_by_the_rules_of_its_kind() {
        let rolling = |partition: i64| {
            let rolling = json!({"partition": partition});
            json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}})
        };
        let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
        // kind, object of generation 2; whether it rolls out
        let table = [
            ("StatefulSet", stateful_set(&rolling(0), "b", 4, 2), false),
            ("StatefulSet", stateful_set(&rolling(0), "b", 4, 1), true),
            ("StatefulSet", stateful_set(&rolling(0), "a", 1, 2), true),
            ("StatefulSet", stateful_set(&rolling(0), "a", 4, 2), true),
            // A canary that is to stay one.
            ("StatefulSet", stateful_set(&rolling(3), "a", 1, 2), false),
            ("StatefulSet", stateful_set(&rolling(2), "a", 1, 2), true),
            ("StatefulSet", stateful_set(&on_delete, "a", 0, 2), false),
            // A pod out of service is not available, which is no rollout.
            ("Deployment", deployment(3, 3), false),
            ("Deployment", deployment(1, 4), true),
            ("LeaderWorkerSet", deployment(1, 2), true),
        ];
        for (kind, data, expected) in table {
            assert_eq!(parse(kind, 2, &data).rollout.is_some(), expected, "{kind} {data}");
        }
    }

    #[test]
    fn an_instance_set_rolls_out_until_enough_instances_are_updated() {
        let set = |strategy: Value, updated: i64, observed: i64| {
            // A surge is one instance more than requested.
            let status = json!({
                "replicas": 4, "readyReplicas": 2, "updatedReplicas": updated,
                "observedGeneration": observed, "currentRevision": "a", "updateRevision": "b",
            });
            json!({"spec": {"replicas": 3, "updateStrategy": strategy}, "status": status})
        };
        // object of generation 2; whether it rolls out
        let table = [
            (set(json!({}), 0, 2), true),
            (set(json!({}), 4, 2), false),
            (set(json!({}), 4, 1), true),
            (set(json!({"partition": 2}), 2, 2), false),
            (set(json!({"partition": 2}), 1, 2), true),
            // 10 % of 3 is one instance.
            (set(json!({"partition": "10%"}), 3, 2), false),
            (set(json!({"partition": "10%"}), 2, 2), true),
        ];
        for (data, expected) in table {
            let found = parse("RoleInstanceSet", 2, &data).rollout;
            assert_eq!(found.is_some(), expected, "{data}");
        }
    }

    #[test]
    fn a_rollout_counts_the_replicas_above_the_partition() {
        let object = json!({
            "spec": {"updateStrategy": {"rollingUpdate": {"partition": 3}}},
            "status": {"replicas": 5, "updatedReplicas": 1, "readyReplicas": 4},
        });
        let expected = RolloutProgress { updated: 1, wanted: 2, ready: 4, generation: 7 };
        assert_eq!(parse("StatefulSet", 7, &object).rollout, Some(expected));
    }

    #[test]
    fn a_deployment_gives_its_rollout_up_at_its_progress_deadline() {
        let of = |reason: &str| {
            let status = json!({"conditions": [{"type": "Progressing", "reason": reason}]});
            parse("Deployment", 1, &json!({"spec": {}, "status": status})).is_given_up
        };
        assert!(of("ProgressDeadlineExceeded"));
        assert!(!of("ReplicaSetUpdated"));
    }

    #[test]
    fn ordinals_may_begin_anywhere() {
        let of = |spec: Value| {
            parse("StatefulSet", 1, &json!({"spec": spec, "status": {}})).first_ordinal
        };
        assert_eq!(of(json!({})), Some(0));
        assert_eq!(of(json!({"ordinals": {"start": 5}})), Some(5));
    }

    #[test]
    fn a_stateful_set_is_ordered_by_its_pod_management_policy() {
        let of = |policy: &str| {
            parse("StatefulSet", 1, &json!({"spec": {"podManagementPolicy": policy}})).is_ordered
        };
        assert!(of("OrderedReady"));
        assert!(!of("Parallel"));
    }
}
