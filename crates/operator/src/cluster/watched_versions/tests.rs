use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use serde_json::{Value, json};

use super::*;
use crate::kube_api::stand_in::{Answer, Received, StandIn, until};

fn state<'a>(namespace: &'a str, name: &'a str, resource_version: &'a str) -> ObjectState<'a> {
    ObjectState { namespace, name, resource_version }
}

fn stateful_sets() -> ApiResource {
    ApiResource::erase::<k8s_openapi::api::apps::v1::StatefulSet>(&())
}

fn set(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": name, "namespace": "ns", "resourceVersion": version, "uid": name},
    })
}

fn listing(items: &[Value]) -> Answer {
    let metadata = json!({"resourceVersion": "5"});
    let kind = "PartialObjectMetadataList";
    Answer::Json(200, json!({"kind": kind, "metadata": metadata, "items": items}))
}

fn versions(api: &StandIn) -> WatchedVersions {
    let clock = Clock::start();
    let is_plain: IsPlain = |metadata| metadata.owner_references.is_none();
    WatchedVersions::new((api.client.clone(), is_plain), None, clock, Supervisor::impatient())
}

#[test]
fn a_version_is_that_of_one_object() {
    let mut versions = Versions::default();
    versions.set(state("ns", "a", "7"), false);
    versions.set(state("ns", "b", "8"), true);
    // object; known as that
    let table = [
        (state("ns", "a", "7"), true),
        (state("ns", "a", "8"), false),
        (state("ns", "b", "8"), true),
        (state("other", "a", "7"), false),
        (state("n", "sa", "7"), false),
    ];
    for (object, expected) in table {
        assert_eq!(versions.has(object), expected, "{object:?}");
    }
    assert!(!versions.has_plain(state("ns", "a", "7")), "its metadata is not plain");
    assert!(versions.has_plain(state("ns", "b", "8")));
    assert!(!versions.has_plain(state("ns", "b", "7")), "another version may have an owner");
    versions.set(state("ns", "a", "9"), true);
    assert!(!versions.has(state("ns", "a", "7")), "it has changed since");
    assert!(versions.has(state("ns", "a", "9")));
    versions.remove("ns", "a");
    assert!(!versions.has(state("ns", "a", "9")), "it is gone");
    versions.begin();
    assert!(!versions.has(state("ns", "b", "8")), "a listing has begun");
}

#[tokio::test]
async fn an_object_is_current_until_the_watch_tells_of_a_change() {
    let api = StandIn::start(|request: &Received| {
        if request.is_watch() {
            let deleted = json!({"type": "DELETED", "object": set("c", "8")});
            let changed = json!({"type": "MODIFIED", "object": set("b", "7")});
            return Answer::Silence(vec![changed, deleted]);
        }
        listing(&[set("a", "1"), set("b", "2"), set("c", "3")])
    })
    .await;
    let (versions, sets) = (versions(&api), stateful_sets());
    let is = |name, version| versions.is_current(&sets, state("ns", name, version));
    assert!(!is("a", "1"), "nothing is known yet");
    assert!(api.received(|_| true).is_empty(), "a question begins no watch");
    versions.want(&sets);
    until("the changes", || is("b", "7") && !is("c", "3")).await;
    let found = [is("a", "1"), is("a", "0"), is("b", "2"), is("c", "8"), is("d", "1")];
    assert_eq!(found, [true, false, false, false, false]);
    let asked = api.received(|request| !request.path.starts_with("/apis/apps/v1/statefulsets?"));
    assert!(asked.is_empty(), "{asked:?}");
}

/// Each of ten thousand targets used to have its metadata read when the operator starts.
#[tokio::test]
async fn objects_without_owners_are_plain_once_they_are_listed() {
    let api = StandIn::start(|request: &Received| {
        if request.is_watch() {
            return Answer::Silence(Vec::new());
        }
        let mut owned = set("owned", "2");
        owned["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "x/v1", "kind": "X", "name": "x", "uid": "x"}]);
        listing(&[set("plain", "1"), owned])
    })
    .await;
    let (versions, sets) = (versions(&api), stateful_sets());
    let plain = state("ns", "plain", "1");
    assert!(!versions.is_plain(&sets, plain).await, "the kind is not watched");
    versions.want(&sets);
    assert!(versions.is_plain(&sets, plain).await, "the first listing is waited for");
    assert!(!versions.is_plain(&sets, state("ns", "plain", "0")).await);
    assert!(!versions.is_plain(&sets, state("ns", "owned", "2")).await);
    assert!(!versions.is_plain(&sets, state("ns", "unknown", "1")).await);
}

/// What cannot be watched is read; a permission that is missing is not asked for all the time.
#[tokio::test]
async fn nothing_is_current_without_a_watch_that_works() {
    let code = Arc::new(AtomicU16::new(403));
    let answers = code.clone();
    let api = StandIn::start(move |request: &Received| match answers.load(Relaxed) {
        200 if request.is_watch() => Answer::refusal(500),
        200 => listing(&[set("a", "1")]),
        code => Answer::refusal(code),
    })
    .await;
    for (refused_with, most) in [(403, 1), (404, 1), (200, usize::MAX)] {
        code.store(refused_with, Relaxed);
        let before = api.received(|_| true).len();
        let (versions, sets) = (versions(&api), stateful_sets());
        versions.want(&sets);
        let requests = || api.received(|_| true).len() - before;
        until("a request", || requests() > 0 && (most == 1 || requests() > 2)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!versions.is_current(&sets, state("ns", "a", "1")), "{refused_with}");
        assert!(requests() <= most, "{refused_with}: {}", requests());
    }
}

#[tokio::test]
async fn kinds_beyond_the_limit_are_not_watched() {
    let api = StandIn::start(|_: &Received| Answer::Never).await;
    let versions = versions(&api);
    for number in 0..MOST_KINDS + 8 {
        let resource = ApiResource { plural: format!("kind{number}s"), ..stateful_sets() };
        versions.want(&resource);
        assert!(!versions.is_current(&resource, state("ns", "a", "1")));
    }
    assert_eq!(lock(&versions.kinds).len(), MOST_KINDS);
}
