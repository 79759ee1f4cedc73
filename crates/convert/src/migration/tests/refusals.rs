//! The table of refusals.

use serde_json::{Value, json};

use super::{
    super::*, World, after, autoscaler, condition, hpa, merge, scaled_object, sight, target,
};

fn doubtful(status: &Value) -> Sight {
    let mut doubtful = sight(vec![hpa(&json!({}))]);
    doubtful.autoscaler = autoscaler(&json!({"status": status}));
    doubtful
}

fn sized(replicas: i32) -> Sight {
    let size = Some(Size { replicas, is_adopted: false });
    Sight { size, ..sight(vec![hpa(&json!({}))]) }
}

#[test]
fn a_switch_that_is_not_safe_is_refused_with_words() {
    let owners = |kind: &str| json!([{"kind": kind, "name": "o", "uid": "9", "controller": true}]);
    let rival = autoscaler(&json!({"metadata": {"name": "b"}, "spec": {"mode": "Scale"}}));
    let scale = autoscaler(&json!({"spec": {"mode": "Scale"}}));
    let paused = autoscaler(&json!({"metadata": {"annotations": {"llmautoscaler.io/paused": ""}}}));
    let incomplete = json!({"conditions": [condition("SamplesComplete", "False", "2 of 3 pods")]});
    let one = || vec![hpa(&json!({}))];
    let held = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": "3"}}});
    let of_kserve = hpa(&json!({"metadata": {"ownerReferences": owners("InferenceService")}}));
    let elsewhere =
        hpa(&json!({"metadata": {"name": "a"}, "spec": {"scaleTargetRef": target("b")}}));
    let two = vec![hpa(&json!({})), scaled_object(&json!({"metadata": {"name": "other"}}))];
    let table: Vec<(Sight, &str)> = vec![
        (doubtful(&incomplete), "(SamplesComplete is False: 2 of 3 pods)"),
        (doubtful(&json!({"conditions": []})), "(Ready is not True)"),
        (doubtful(&json!({"desiredReplicas": null})), "(there is no recommendation yet)"),
        (doubtful(&json!({"observedGeneration": 2})), "has not looked at the LLMAutoscaler a"),
        (sized(1), "would go from 1 to 2 replicas at once, because of minReplicas"),
        (sized(9), "would go from 9 to 8 replicas at once, because of maxReplicas"),
        (sized(0), "StatefulSet/a is at 0 replicas"),
        (Sight { size: None, ..sight(one()) }, "StatefulSet/a does not exist"),
        (Sight { neighbours: vec![rival], ..sight(one()) }, "scaled by the LLMAutoscaler b"),
        (Sight { autoscaler: scale, ..sight(one()) }, "has mode: Scale already"),
        (Sight { autoscaler: paused, ..sight(one()) }, "kubectl annotate llmas a"),
        (sight(two), "HorizontalPodAutoscaler old and the ScaledObject other at once"),
        (sight(vec![of_kserve]), "belongs to the InferenceService o, which would create it again"),
        (sight(vec![scaled_object(&held)]), "holds its target at a size"),
        (sight(vec![elsewhere]), "the HorizontalPodAutoscaler a scales StatefulSet/b"),
    ];
    for (sight, expected) in table {
        let refused = forward(&sight).map(|plan| plan.steps).unwrap_err().0;
        assert!(refused.contains(expected), "{expected:?} is not in {refused:?}");
    }
}

#[test]
fn a_surprise_on_the_way_is_refused_with_words() {
    let mut again = after(3);
    again.0.others.push(hpa(
        &json!({"metadata": {"uid": "2", "labels": {"app.kubernetes.io/managed-by": "Helm"}}}),
    ));
    let mut third = after(3);
    third.0.others.push(scaled_object(&json!({"metadata": {"name": "third"}})));
    let mut shrunk = after(3);
    shrunk.0.size = Some(Size { replicas: 1, is_adopted: false });
    let mut going_back = after(7);
    let plan = back(&going_back.0).unwrap();
    going_back.take(&plan.steps[0]);
    for (world, expected) in [
        (&again, "has been created again, it seems by Helm"),
        (&third, "scaled by the ScaledObject third now"),
        (&shrunk, "from 1 to 2 replicas at once, because of minReplicas"),
        (&going_back, "going back has begun"),
    ] {
        let refused = forward(&world.0).map(|plan| plan.steps).unwrap_err().0;
        assert!(refused.contains(expected), "{expected:?} is not in {refused:?}");
    }

    let mut large = after(7);
    large.0.size = Some(Size { replicas: 12, is_adopted: true });
    let changed = |changes: &Value| {
        let mut world = after(7);
        let mut record = Record::of(&world.0.autoscaler).unwrap().unwrap();
        merge(&mut record.source.as_mut().unwrap().manifest, changes);
        world.write_record(Some(&record), None);
        world
    };
    let another_kind = changed(&json!({"apiVersion": "v1", "kind": "Secret"}));
    let another_target = changed(&json!({"spec": {"scaleTargetRef": target("b")}}));
    let mut by_hand = World(sight(Vec::new()));
    by_hand.write_record(None, Some("Scale"));
    let mut other_spec = after(7);
    other_spec.0.others.push(hpa(&json!({"spec": {"maxReplicas": 20}})));
    for (world, expected) in [
        (&large, "from 12 to 9 replicas at once, because the HorizontalPodAutoscaler old"),
        (&other_spec, "is there again with another spec"),
        (&by_hand, "no migration is recorded"),
        (&another_kind, "has a Secret old that does not scale StatefulSet/a"),
        (&another_target, "has a HorizontalPodAutoscaler old that does not scale StatefulSet/a"),
    ] {
        let refused = back(&world.0).map(|plan| plan.steps).unwrap_err().0;
        assert!(refused.contains(expected), "{expected:?} is not in {refused:?}");
    }
}
