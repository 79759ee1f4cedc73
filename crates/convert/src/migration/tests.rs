//! Migrations on a world of values.

mod refusals;

use std::time::Duration;

use llm_autoscaler_api::{LLMAutoscaler, workloads::keda};
use serde_json::{Value, json};

use super::*;

fn autoscaler(changes: &Value) -> LLMAutoscaler {
    let mut object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {"name": "a", "namespace": "n", "generation": 3, "annotations": {}},
        "spec": {
            "mode": "Recommend", "engine": "VLLM", "minReplicas": 2, "maxReplicas": 8,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
            "metrics": [{"signal": "WaitingRequests",
                         "target": {"type": "AverageValue", "averageValue": "5"}}],
        },
        "status": {"observedGeneration": 3, "desiredReplicas": 4, "conditions": [
            condition("Ready", "True", "recommending"), condition("Recommending", "True", ""),
            condition("ScalingActive", "True", ""), condition("SamplesComplete", "True", ""),
        ]},
    });
    merge(&mut object, changes);
    serde_json::from_value(object).unwrap()
}

fn condition(type_: &str, status: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": "Test", "message": message,
           "lastTransitionTime": "2026-11-28T00:00:00Z"})
}

/// Merges a patch as the API server does.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut object[key], value);
        }
    }
}

fn hpa(changes: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "old", "namespace": "n", "uid": "1", "resourceVersion": "7",
                     "labels": {"team": "x"}, "managedFields": []},
        "spec": {"scaleTargetRef": target("a"), "minReplicas": 1, "maxReplicas": 9},
        "status": {"currentReplicas": 3},
    });
    merge(&mut object, changes);
    object
}

fn target(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name})
}

fn scaled_object(changes: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": "old", "namespace": "n", "uid": "2", "resourceVersion": "8"},
        "spec": {"scaleTargetRef": target("a"), "minReplicaCount": 1,
                 "advanced": {"restoreToOriginalReplicaCount": true}},
    });
    merge(&mut object, changes);
    object
}

/// The HPA that KEDA creates for [`scaled_object`].
fn kedas_hpa() -> Value {
    let owner = json!({"kind": "ScaledObject", "name": "old", "uid": "2", "controller": true});
    hpa(&json!({"metadata": {"name": "keda-hpa-old", "uid": "3", "ownerReferences": [owner]}}))
}

fn sight(others: Vec<Value>) -> Sight {
    Sight {
        autoscaler: autoscaler(&json!({})),
        neighbours: Vec::new(),
        others,
        size: Some(Size { replicas: 3, is_adopted: false }),
        quiet: Duration::ZERO,
    }
}

/// A cluster of values, in which each step has the effect that the real one has.
struct World(Sight);

impl World {
    fn write_record(&mut self, record: Option<&Record>, mode: Option<&str>) {
        let mut object = serde_json::to_value(&self.0.autoscaler).unwrap();
        let text = record.map(|record| record.text().unwrap());
        let mut patch = json!({"metadata": {"annotations": {MIGRATION: text}}});
        if let Some(mode) = mode.filter(|mode| object["spec"]["mode"] != **mode) {
            let generation = object["metadata"]["generation"].as_i64().unwrap() + 1;
            patch["spec"] = json!({"mode": mode});
            patch["metadata"]["generation"] = json!(generation);
        }
        merge(&mut object, &patch);
        self.0.autoscaler = serde_json::from_value(object).unwrap();
    }

    /// The operator looks at the spec.
    fn observe(&mut self, recommending: &str) {
        let mut object = serde_json::to_value(&self.0.autoscaler).unwrap();
        object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
        object["status"]["conditions"][1]["status"] = json!(recommending);
        self.0.autoscaler = serde_json::from_value(object).unwrap();
    }

    fn write(&mut self, write: &Write) {
        let name = |object: &Value| object["metadata"]["name"].clone();
        match write {
            Write::Delete { object } => self.0.others.retain(|it| name(it) != name(object)),
            Write::Create { object } => {
                let mut object = object.clone();
                object["metadata"]["uid"] = json!("new");
                self.0.others.push(object);
            }
            Write::Patch { object, patch } => {
                let its = self.0.others.iter_mut().find(|it| name(it) == name(object)).unwrap();
                merge(its, patch);
            }
        }
    }

    /// KEDA acts on the annotation.
    fn keda(&mut self) {
        self.0.others.retain(|it| it["metadata"]["name"] != "keda-hpa-old");
        let status = json!({"status": {"conditions": [{"type": "Paused", "status": "True"}]}});
        self.0.others.iter_mut().for_each(|it| merge(it, &status));
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Record(record) => self.write_record(Some(record), None),
            Step::Stop(write) | Step::Restore(write) => self.write(write),
            Step::AwaitStopped { .. } => {
                self.keda();
                self.0.quiet = SETTLED;
            }
            Step::Adopt { .. } => self.0.size.as_mut().unwrap().is_adopted = true,
            Step::Switch(record) => self.write_record(Some(record), Some("Scale")),
            Step::AwaitScaling { .. } => self.observe("False"),
            Step::Withdraw(record) => self.write_record(Some(record), Some("Recommend")),
            Step::AwaitWithdrawn => self.observe("True"),
            Step::Forget => self.write_record(None, None),
        }
    }

    /// Takes the first step of each plan until none is left, and returns them in words. Each plan
    /// has announced the steps that follow.
    fn walk(&mut self, plan: fn(&Sight) -> Result<Plan, Refusal>) -> Vec<String> {
        let words = |plan: &Plan| plan.steps.iter().map(Step::to_string).collect::<Vec<_>>();
        let announced = words(&plan(&self.0).unwrap());
        let mut taken = Vec::new();
        loop {
            let next = plan(&self.0).unwrap();
            let Some(step) = next.steps.first() else { break };
            assert!(taken.len() < 12, "it does not end: {taken:?}");
            taken.push(step.to_string());
            self.take(step);
        }
        assert_eq!(taken, announced);
        taken
    }
}

#[test]
fn a_migration_from_an_hpa_and_back() {
    let before = hpa(&json!({}));
    let mut world = World(sight(vec![before.clone()]));
    assert_eq!(
        world.walk(forward),
        [
            "write the manifest of the HorizontalPodAutoscaler old to the annotation \
             llmautoscaler.io/migration",
            "delete the HorizontalPodAutoscaler old",
            "wait until the HorizontalPodAutoscaler old has stopped, and the size has been the \
             same for 15 s",
            "note in the annotation llmautoscaler.io/migration that the HorizontalPodAutoscaler \
             old has stopped",
            "adopt spec.replicas of StatefulSet/a as it is: 3",
            "set mode: Scale",
            "wait until the operator scales StatefulSet/a",
        ]
    );
    assert_eq!(forward(&world.0).unwrap().steps, [], "a second call has nothing left to do");
    assert_eq!(
        world.walk(back),
        [
            "set mode: Recommend",
            "wait until the operator has confirmed that it only recommends",
            "create the HorizontalPodAutoscaler old from the record",
            "remove the annotation llmautoscaler.io/migration",
        ]
    );
    let after = &world.0.others[0];
    assert_eq!(
        (&after["spec"], &after["metadata"]["labels"]),
        (&before["spec"], &json!({"team": "x"}))
    );
    let annotations = world.0.autoscaler.metadata.annotations.clone().unwrap_or_default();
    assert!(annotations.is_empty(), "{annotations:?}");
}

#[test]
fn a_migration_from_a_scaled_object_and_back() {
    let mut world = World(sight(vec![scaled_object(&json!({})), kedas_hpa()]));
    let taken = world.walk(forward);
    assert_eq!(
        taken[1],
        "pause the ScaledObject old (autoscaling.keda.sh/paused), with \
         restoreToOriginalReplicaCount: false"
    );
    let taken = world.walk(back);
    assert_eq!(taken[2], "resume the ScaledObject old, with restoreToOriginalReplicaCount: true");
    let mut expected = scaled_object(&json!({"metadata": {"annotations": {}}}));
    merge(&mut expected, &json!({"status": world.0.others[0]["status"]}));
    assert_eq!(world.0.others, [expected]);
}

#[test]
fn a_scaled_object_that_has_stopped_is_left_alone_beside_an_hpa() {
    let paused = json!({"metadata": {"name": "so", "annotations": {keda::PAUSED: "true"}},
                        "status": {"conditions": [{"type": "Paused", "status": "True"}]}});
    let mut world = World(sight(vec![scaled_object(&paused), hpa(&json!({}))]));
    let taken = world.walk(forward);
    assert_eq!(taken[1], "delete the HorizontalPodAutoscaler old");
    assert_eq!(world.0.others, [scaled_object(&paused)]);
}

#[test]
fn a_target_that_nothing_scales_is_adopted_and_given_back() {
    let mut world = World(sight(Vec::new()));
    assert_eq!(world.walk(forward).len(), 4);
    assert_eq!(world.walk(back).len(), 3);
}

#[test]
fn going_back_is_possible_after_each_step() {
    for count in 1..=7 {
        let mut world = World(sight(vec![hpa(&json!({}))]));
        for _ in 0..count {
            let plan = forward(&world.0).unwrap();
            world.take(&plan.steps[0]);
        }
        world.walk(back);
        assert_eq!(world.0.others.len(), 1, "{count}: the HPA is there again");
    }
}

#[test]
fn a_paused_scaled_object_stays_paused_when_going_back() {
    let paused = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}},
                        "spec": {"advanced": null},
                        "status": {"conditions": [{"type": "Paused", "status": "True"}]}});
    let mut world = World(sight(vec![scaled_object(&paused)]));
    let forward = world.walk(forward);
    assert!(forward.iter().all(|step| !step.contains("pause the")), "{forward:?}");
    let back = world.walk(back);
    assert!(back.iter().all(|step| !step.contains("resume")), "{back:?}");
}

/// A world in which a migration from an HPA has taken `count` steps.
fn after(count: usize) -> World {
    let mut world = World(sight(vec![hpa(&json!({}))]));
    for _ in 0..count {
        let plan = forward(&world.0).unwrap();
        world.take(&plan.steps[0]);
    }
    world
}

#[test]
fn an_autoscaler_is_stopped_again_where_it_works_again() {
    let mut world = World(sight(vec![scaled_object(&json!({}))]));
    for _ in 0..4 {
        let plan = forward(&world.0).unwrap();
        world.take(&plan.steps[0]);
    }
    merge(&mut world.0.others[0], &json!({"metadata": {"annotations": null}}));
    let plan = forward(&world.0).unwrap();
    assert!(matches!(plan.steps[0], Step::Stop(_)), "{:?}", plan.steps);
}

#[test]
fn targets_of_other_kinds_are_found_where_they_are() {
    let reference = json!({"targetRef": {"name": "chat"}});
    let table = [
        ("PodAutoscaler", json!({"scaleTargetRef": target("a")}), vec!["StatefulSet/a"]),
        ("ScaledObject", json!({"scaleTargetRef": {"name": "a"}}), vec!["Deployment/a"]),
        (
            "AutoscalingPolicy",
            json!({"homogeneousTarget": {"target": reference}}),
            vec!["ModelServing/chat"],
        ),
        (
            "AutoscalingPolicyBinding",
            json!({"scalingConfiguration": {"target": reference}}),
            vec!["ModelServing/chat"],
        ),
        (
            "AutoscalingPolicy",
            json!({"heterogeneousTarget": {"params": [{"target": reference}, {"target": reference}]}}),
            vec!["ModelServing/chat", "ModelServing/chat"],
        ),
        ("AutoscalingPolicy", json!({}), vec![]),
    ];
    for (kind, spec, expected) in table {
        let object = json!({"kind": kind, "spec": spec});
        let found: Vec<String> =
            source::Source(&object).targets().iter().map(look::reference).collect();
        assert_eq!(found, expected, "{kind}");
    }
}

#[test]
fn notes_tell_what_follows_the_switch() {
    let helm = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}});
    let variant = json!({
        "apiVersion": "llmd.ai/v1alpha1", "kind": "VariantAutoscaling",
        "metadata": {"name": "v", "uid": "5"}, "spec": {"scaleTargetRef": target("a")},
    });
    let plan = forward(&sight(vec![hpa(&helm), variant])).unwrap();
    let expected = [
        "StatefulSet/a grows from 3 to 4 replicas after the switch.",
        "created by Helm: remove it there too",
        "the VariantAutoscaling v is followed by nothing afterwards",
        "if a file or a repository has mode: Recommend for the LLMAutoscaler a",
    ];
    assert_eq!(plan.notes.len(), expected.len(), "{:?}", plan.notes);
    for (note, part) in plan.notes.iter().zip(expected) {
        assert!(note.contains(part), "{part:?} is not in {note:?}");
    }
    let mut fewer = sight(vec![hpa(&json!({}))]);
    fewer.autoscaler = autoscaler(&json!({"status": {"desiredReplicas": 2}}));
    let notes = forward(&fewer).unwrap().notes;
    assert!(notes[0].contains("keeps 3 replicas for a whole window"), "{notes:?}");
}
