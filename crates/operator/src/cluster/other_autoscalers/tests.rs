use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::{Value, json};

use super::*;
use crate::kube_api::stand_in::{Answer, StandIn};

fn object(namespace: &str, name: &str, reference: &Value) -> DynamicObject {
    let object = json!({
        "apiVersion": "x/v1", "kind": "X", "metadata": {"namespace": namespace, "name": name},
        "spec": {"scaleTargetRef": reference},
    });
    serde_json::from_value(object).unwrap()
}

fn target(api_version: &str, kind: &str, name: &str) -> ScaleTargetRef {
    ScaleTargetRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        role: None,
    }
}

#[tokio::test]
async fn one_that_came_after_the_latest_listing_is_found_by_the_next_one() {
    let (exists, is_broken) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (hpa_exists, keda_is_broken) = (exists.clone(), is_broken.clone());
    let server = StandIn::start(move |request| {
        let is_of_hpas = request.path.contains("/horizontalpodautoscalers");
        match (is_of_hpas, hpa_exists.load(SeqCst), keda_is_broken.load(SeqCst)) {
            (true, false, _) => Answer::Json(200, json!({"metadata": {}, "items": []})),
            (true, true, _) => {
                let hpa = object("ns", "late", &json!({"kind": "StatefulSet", "name": "a"}));
                Answer::Json(200, json!({"metadata": {}, "items": [hpa]}))
            }
            (false, _, is_broken) => Answer::refusal(if is_broken { 500 } else { 404 }),
        }
    })
    .await;
    let others = OtherAutoscalers::new(server.client.clone(), None);
    let targets = [target("", "StatefulSet", "a")];
    let find = |since| others.find("ns", &targets, since);
    let scenario = async {
        assert_eq!(find(Listing::default()).await.unwrap(), None);
        exists.store(true, SeqCst);
        is_broken.store(true, SeqCst);
        assert_eq!(find(Listing::default()).await.unwrap(), None, "none was asked for");
        // A listing in which a kind fails does not count: one of that kind may have come too.
        let mended = async {
            tokio::time::sleep(2 * SHORTEST_PERIOD).await;
            is_broken.swap(false, SeqCst)
        };
        let (found, was_broken) = tokio::join!(find(others.ask()), mended);
        assert!(was_broken);
        assert_eq!(found.unwrap().map(|found| found.name).as_deref(), Some("late"));
    };
    tokio::select! {
        () = others.clone().watch() => unreachable!("it has no end"),
        () = scenario => {}
    }
    let lists = server.received(|request| request.path.contains("/horizontalpodautoscalers"));
    assert!(lists.len() >= 3, "the listing with a failure was not repeated: {lists:?}");
}

#[test]
fn an_error_of_a_listing_is_logged_once() {
    let mut known = Known::default();
    let found = ["403", "403", "500", "403"].map(|error| known.is_new(error));
    assert_eq!(found, [true, false, true, true]);
    known = Known::listed(Vec::new());
    assert!(known.is_new("403"), "it was listed in between");
}

#[test]
fn a_scaled_object_that_has_stopped_scales_nothing() {
    let [scaled_object, _, hpa] = &AUTOSCALER_KINDS;
    let mut paused = object("ns", "so", &json!({"name": "a"}));
    paused.annotations_mut().insert(keda::PAUSED.to_owned(), "true".to_owned());
    assert!(OtherAutoscaler::parse(scaled_object, &paused).is_some(), "KEDA has not acted yet");
    paused.data["status"] = json!({"conditions": [{"type": "Paused", "status": "True"}]});
    assert!(OtherAutoscaler::parse(scaled_object, &paused).is_none());
    assert!(OtherAutoscaler::parse(hpa, &paused).is_some(), "it is no ScaledObject");
}

#[test]
fn an_autoscaler_scales_the_target_that_it_names() {
    let [keda, _, hpa] = &AUTOSCALER_KINDS;
    let full = |name: &str| json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name});
    let objects = [
        (keda, object("ns", "bare", &json!({"name": "bare"}))),
        (keda, object("ns", "empty", &json!({"apiVersion": "", "kind": "", "name": "empty"}))),
        (keda, object("ns", "by-keda", &full("a"))),
        (hpa, object("ns", "keda-hpa-by-keda", &full("a"))),
        (hpa, object("ns", "by-hpa", &full("b"))),
        (hpa, object("ns", "nothing", &json!({}))),
        (hpa, object("elsewhere", "by-hpa", &full("c"))),
        (hpa, object("ns", "large", &full(&"x".repeat(1 << 20)))),
    ];
    let all: Vec<OtherAutoscaler> =
        objects.iter().filter_map(|(kind, object)| OtherAutoscaler::parse(kind, object)).collect();
    assert!(all.iter().all(|autoscaler| autoscaler.name != "large"), "it is not kept");
    let find =
        |targets: &[ScaleTargetRef]| all.iter().find(|autoscaler| autoscaler.scales("ns", targets));
    // target; the autoscaler that scales it
    let table = [
        (target("apps/v1", "StatefulSet", "a"), Some("by-keda")),
        (target("apps/v1", "StatefulSet", "b"), Some("by-hpa")),
        (target("apps/v1", "Deployment", "b"), None),
        (target("apps/v1", "StatefulSet", "c"), None),
        (target("apps/v1", "Deployment", "bare"), Some("bare")),
        (target("apps/v1", "Deployment", "empty"), Some("empty")),
    ];
    for (target, expected) in table {
        let found = find(std::slice::from_ref(&target));
        assert_eq!(found.map(|found| &*found.name), expected, "{target:?}");
    }
    let adapter = target("apps/v1", "StatefulSet", "b");
    let both = [target("apps/v1", "Deployment", "x"), adapter];
    assert_eq!(find(&both).map(|found| found.kind), Some(hpa.kind));
}
