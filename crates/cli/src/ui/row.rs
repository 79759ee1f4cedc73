//! One line of the list.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{LLMAutoscaler, LLMAutoscalerStatus, PastDecision, time};
use serde::Serialize;

use super::{
    detail::Item,
    standing::{Judgement, Standing, judge},
};

/// One line of the list: compact, because a page may have thousands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    namespace: String,
    name: String,
    standing: Standing,
    headline: String,
    /// The time that the headline is about, in seconds since 1970.
    at: Option<i64>,
    /// The target, as the status has it.
    reference: String,
    /// The metrics, abbreviated.
    summary: String,
    min: i32,
    max: i32,
    /// The numbers of replicas of all roles together; `None` without a status.
    current: Option<i32>,
    desired: Option<i32>,
    ready: Option<i32>,
    /// The size in the past: the time in seconds since 1970, and the size from then on. The first
    /// entry has the time 0.
    sizes: Vec<(i64, i32)>,
}

impl Row {
    /// Returns the line about an object.
    pub(super) fn new(item: &Item, now: DateTime<Utc>) -> Self {
        let (namespace, name) = (item.namespace.clone(), item.name.clone());
        match &item.object {
            Ok(object) => Self::of_object(namespace, name, object, now),
            Err(error) => Self {
                namespace,
                name,
                standing: Standing::Trouble,
                headline: format!("this version cannot read it: {error}"),
                at: None,
                reference: String::new(),
                summary: String::new(),
                min: 0,
                max: 0,
                current: None,
                desired: None,
                ready: None,
                sizes: Vec::new(),
            },
        }
    }

    fn of_object(
        namespace: String,
        name: String,
        object: &LLMAutoscaler,
        now: DateTime<Utc>,
    ) -> Self {
        let Judgement { standing, headline, at } = judge(object, now);
        let empty = LLMAutoscalerStatus::default();
        let status = object.status.as_ref().unwrap_or(&empty);
        let targets = &status.targets;
        let total = |of: fn(&llm_autoscaler_api::TargetStatus) -> i32| {
            (!targets.is_empty()).then(|| targets.iter().map(|target| of(target)).sum())
        };
        let minima = |roles: &Vec<llm_autoscaler_api::RoleSpec>| {
            roles.iter().map(|role| role.min_replicas).sum()
        };
        Self {
            namespace,
            name,
            standing,
            headline,
            at: at.map(|at| at.timestamp()),
            reference: status.reference.clone().unwrap_or_default(),
            summary: status.summary.clone().unwrap_or_default(),
            min: object.spec.roles.as_ref().map_or(object.spec.min_replicas, minima),
            max: object.spec.max_replicas,
            current: total(|target| target.current_replicas),
            desired: total(|target| target.desired_replicas),
            ready: total(|target| target.ready_replicas),
            sizes: sizes(status),
        }
    }
}

/// Returns the past sizes of all targets together, oldest first. The latest changes of each target
/// are known, so the sum is followed back from now.
fn sizes(status: &LLMAutoscalerStatus) -> Vec<(i64, i32)> {
    let targets = &status.targets;
    let latest = |target: &Arc<llm_autoscaler_api::TargetStatus>| {
        target.decisions.first().map_or(target.current_replicas, |past| past.to)
    };
    let mut size: i32 = targets.iter().map(latest).sum();
    let mut changes: Vec<&PastDecision> =
        targets.iter().flat_map(|it| &it.decisions).filter(|past| past.from != past.to).collect();
    changes.sort_by_key(|past| std::cmp::Reverse(time::from_kubernetes(&past.time)));
    let mut sizes = Vec::with_capacity(changes.len() + 1);
    for past in changes {
        sizes.push((time::from_kubernetes(&past.time).timestamp(), size));
        size -= past.to - past.from;
    }
    sizes.push((0, size));
    sizes.reverse();
    sizes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_sizes_of_all_roles_are_followed_back_from_now() {
        let status: LLMAutoscalerStatus = serde_json::from_value(json!({"targets": [
            {"name": "prefill", "currentReplicas": 4, "readyReplicas": 4, "desiredReplicas": 4,
             "decisions": [
                {"time": "1970-01-01T00:05:00Z", "from": 4, "to": 4, "limitedBy": "TooFewReplicas"},
                {"time": "1970-01-01T00:03:00Z", "from": 2, "to": 4, "limitedBy": ""},
             ]},
            {"name": "decode", "currentReplicas": 8, "readyReplicas": 8, "desiredReplicas": 8,
             "decisions": [
                {"time": "1970-01-01T00:04:00Z", "from": 9, "to": 8, "limitedBy": ""},
                {"time": "1970-01-01T00:02:00Z", "from": 1, "to": 9, "limitedBy": ""},
             ]},
        ]}))
        .unwrap();
        assert_eq!(sizes(&status), [(0, 3), (120, 11), (180, 13), (240, 12)]);
        assert_eq!(sizes(&LLMAutoscalerStatus::default()), [(0, 0)]);
    }

    #[test]
    fn a_line_is_small() {
        let object = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
            "metadata": {"name": "a", "namespace": "chat", "generation": 1},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
                "engine": "VLLM", "minReplicas": 2, "maxReplicas": 8, "metrics": [],
            },
            "status": {
                "observedGeneration": 1, "reference": "StatefulSet/a", "summary": "waiting 4/5",
                "targets": [{"name": "a", "currentReplicas": 4, "readyReplicas": 3,
                             "desiredReplicas": 4}],
            },
        });
        let item = Item::new(serde_json::from_value(object).unwrap());
        let row = serde_json::to_value(Row::new(&item, DateTime::UNIX_EPOCH)).unwrap();
        let expected = json!({
            "namespace": "chat", "name": "a", "standing": "moving",
            "headline": "nothing until a number can be computed", "at": null,
            "reference": "StatefulSet/a", "summary": "waiting 4/5", "min": 2, "max": 8,
            "current": 4, "desired": 4, "ready": 3, "sizes": [[0, 4]],
        });
        assert_eq!(row, expected);
    }

    #[test]
    fn an_object_of_another_version_is_told_and_hides_no_other() {
        let object = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
            "metadata": {"name": "a", "namespace": "chat"}, "spec": {"engine": 5},
        });
        let item = Item::new(serde_json::from_value(object).unwrap());
        let row = Row::new(&item, DateTime::UNIX_EPOCH);
        assert_eq!((row.standing, &*row.name), (Standing::Trouble, "a"));
        assert!(row.headline.starts_with("this version cannot read it: "), "{}", row.headline);
    }
}
