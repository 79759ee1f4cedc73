//! Keeps the kinds of targets watched that this copy of the operator may have to take over, so that
//! its first steps need not wait for a listing of them.

use std::{sync::Mutex, time::Duration};

use tracing::debug;

use crate::{
    lock::lock,
    reconcile::{context::Context, tasks::Tasks},
};

/// The time between two looks at the kinds of targets. An answer of discovery is as old as this, or
/// twice as old, when a Lease comes.
const EVERY: Duration = Duration::from_secs(30);

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
