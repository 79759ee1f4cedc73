//! Keeps the kinds of targets watched that this copy of the operator may have to take over, so that
//! its first steps need not wait for a listing of them.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use kube::ResourceExt;
use llm_autoscaler_api::{LLMAutoscaler, ScaleTargetRef};
use tracing::debug;

use crate::{
    lock::lock,
    reconcile::{context::Context, tasks::Tasks},
};

/// The time between two looks at the kinds of targets. An answer of discovery is as old as this, or
/// twice as old, when a Lease comes.
const EVERY: Duration = Duration::from_secs(30);

/// One target of each kind, with its namespace, by its `apiVersion` and `kind`.
pub(super) type Kinds = BTreeMap<(String, String), (String, ScaleTargetRef)>;

/// Adds the kinds of an autoscaler's targets.
pub(super) fn add_kinds(kinds: &mut Kinds, object: &LLMAutoscaler) {
    let roles = object.spec.roles.iter().flatten();
    let targets = roles.filter_map(|role| role.scale_target_ref.as_ref());
    for target in targets.chain(&object.spec.scale_target_ref) {
        let is_known = kinds
            .keys()
            .any(|(version, kind)| *version == target.api_version && *kind == target.kind);
        if !is_known {
            let key = (target.api_version.clone(), target.kind.clone());
            kinds.insert(key, (object.namespace().unwrap_or_default(), target.clone()));
        }
    }
}

/// Follows the autoscalers that stand by, for the life of the process.
pub(super) async fn prepare(context: &Context, tasks: &Mutex<Tasks>) {
    context.autoscalers.listed().await;
    loop {
        let kinds = lock(tasks).kinds_standing_by();
        for (namespace, target) in kinds.into_values() {
            if let Err(error) = context.scales.prepare(&namespace, &target).await {
                let kind = &*target.kind;
                debug!(kind, %error, "a kind of targets that may be taken over is not watched");
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        kube_api::stand_in::{Answer, Received, StandIn, until},
        lease::Leases,
        reconcile::tasks::tests::{context_of, object},
    };

    #[test]
    fn each_kind_of_targets_is_there_once() {
        let mut object = object("ns", "1", 1).0.unwrap();
        let target =
            |kind: &str, name: &str| json!({"apiVersion": "apps/v1", "kind": kind, "name": name});
        object.spec.roles = serde_json::from_value(json!([
            {"name": "p", "scaleTargetRef": target("Deployment", "p")},
            {"name": "d", "scaleTargetRef": target("Deployment", "d")},
            {"name": "e", "scaleTargetRef": target("StatefulSet", "e")},
        ]))
        .unwrap();
        let mut kinds = Kinds::new();
        add_kinds(&mut kinds, &object);
        let found: Vec<_> = kinds.keys().map(|(_, kind)| &**kind).collect();
        assert_eq!(found, ["Deployment", "StatefulSet"]);
    }

    /// Without it a follower that gets the Lease begins a watch of ten thousand targets at the
    /// first step, and the first decision waits for their listing.
    #[tokio::test]
    async fn the_targets_of_autoscalers_that_stand_by_are_watched() {
        let api = StandIn::start(|request: &Received| {
            if request.path == "/apis/apps/v1" {
                let resource = |name: &str| {
                    json!({
                        "name": name, "singularName": "", "kind": "StatefulSet",
                        "namespaced": true, "verbs": ["get", "list", "watch"],
                    })
                };
                let resources = [resource("statefulsets"), resource("statefulsets/scale")];
                let list = json!({"groupVersion": "apps/v1", "resources": resources});
                return Answer::Json(200, list);
            }
            if request.is_watch() {
                return Answer::Silence(Vec::new());
            }
            let metadata = json!({"resourceVersion": "5"});
            Answer::Json(200, json!({"metadata": metadata, "items": []}))
        })
        .await;
        let context = context_of(&api, &Leases::by_hand(1));
        context.autoscalers.record_listing();
        let tasks = Mutex::new(Tasks::new(context.clone()));
        lock(&tasks).apply(object("ns", "1", 1));
        let is_watched = |request: &Received| {
            request.is_watch() && request.path.starts_with("/apis/apps/v1/statefulsets?")
        };
        tokio::select! {
            () = until("the watch", || !api.received(is_watched).is_empty()) => {}
            () = prepare(&context, &tasks) => {}
        }
        assert_eq!(lock(&tasks).count(), 0, "nothing is served");
    }
}
