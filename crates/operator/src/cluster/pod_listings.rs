//! Lists the pods of namespaces that are followed after the watch has listed the cluster.

use futures::{StreamExt, stream::FuturesUnordered};
use kube::{Api, Client, ResourceExt};
use llm_autoscaler_observe::pod::Pod;
use tracing::warn;

use crate::{
    cluster::{
        pods::{NamespaceListing, PodStore},
        watch::NAME,
        watched_pod::WatchedPod,
    },
    kube_api::{CallError, DEADLINE, pages::Pages},
    supervise::Supervisor,
};

/// The number of listings at once.
const AT_ONCE: usize = 4;

/// Lists namespaces as they need it, for the life of the process. Those that fail wait aside.
pub(crate) async fn run(store: PodStore, client: Client, supervisor: Supervisor) {
    // Those of a task that has panicked never end.
    store.void_listings();
    let (mut running, mut waiting) = (FuturesUnordered::new(), FuturesUnordered::new());
    loop {
        while running.len() < AT_ONCE
            && let Some(listing) = store.next_listing()
        {
            let (store, client, supervisor) = (&store, &client, &supervisor);
            running.push(async move {
                let result = list(store, client, supervisor, &listing).await;
                (listing, result)
            });
        }
        tokio::select! {
            () = store.wanted() => {}
            Some((listing, result)) = running.next() => {
                if let Err(error) = result
                    && let Some(wait) = store.fail(&listing, &error)
                {
                    warn!(namespace = listing.namespace, %error, "listing pods; trying again");
                    waiting.push(async move {
                        tokio::time::sleep(wait).await;
                        listing
                    });
                }
            }
            Some(listing) = waiting.next() => store.retry(&listing),
        }
    }
}

/// Lists the pods of a namespace, page by page. Ends early where the listing has become void.
async fn list(
    store: &PodStore,
    client: &Client,
    supervisor: &Supervisor,
    listing: &NamespaceListing,
) -> Result<(), CallError> {
    let api = Api::<WatchedPod>::namespaced(client.clone(), &listing.namespace);
    let mut pages = Pages::new(api, DEADLINE);
    while let Some(page) = pages.next().await? {
        for pod in page.items {
            let add = || Pod::of(&pod.0).is_none_or(|pod| store.add_listed(listing, pod));
            // A pod at which the operator panics is left out, as in the watch.
            if !supervisor.call(NAME, add).unwrap_or(true) {
                return Ok(());
            }
            store.record_version(&listing.namespace, &pod.0.name_any(), pod.0.resource_version());
        }
    }
    store.complete(listing);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use kube::core::Selector;
    use serde_json::json;

    use super::*;
    use crate::{
        clock::Clock,
        kube_api::stand_in::{Answer, Received, StandIn, until},
    };

    fn listing(pods: &[&str]) -> Answer {
        let pod = |name: &&str| {
            let metadata = json!({"name": name, "namespace": "ns", "uid": name});
            json!({"metadata": metadata, "spec": {"containers": []}})
        };
        let items: Vec<_> = pods.iter().map(pod).collect();
        Answer::Json(200, json!({"metadata": {"resourceVersion": "5"}, "items": items}))
    }

    /// A listing of another namespace hangs beside it.
    #[tokio::test]
    async fn the_first_follower_of_a_namespace_has_its_pods_listed_and_a_failure_is_tried_again() {
        let failures = AtomicUsize::new(1);
        let api = StandIn::start(move |request: &Received| {
            if request.path.starts_with("/api/v1/namespaces/hangs/pods?") {
                return Answer::Never;
            }
            assert!(request.path.starts_with("/api/v1/namespaces/ns/pods?"), "{}", request.path);
            match failures.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) {
                Ok(_) => Answer::refusal(403),
                Err(_) => listing(&["a", "b"]),
            }
        })
        .await;
        let store = PodStore::new(Clock::start());
        store.begin_listing();
        store.end_listing(&crate::cluster::pods::Listed::new());
        store.health().record_listing();
        let run = run(store.clone(), api.client.clone(), Supervisor::impatient());
        #[expect(clippy::disallowed_methods, reason = "a panic fails the test")]
        tokio::spawn(run);

        let _hangs = store.follow("hangs");
        let mut view = store.view("ns", Selector::default());
        let failed = "the pods of the namespace ns cannot be listed: refused with 403";
        until("the failure", || store.problem("ns").as_deref() == Some(failed)).await;
        assert!(view.members().is_empty());
        until("the pods", || store.problem("ns").is_none()).await;
        assert_eq!(view.members().keys().collect::<Vec<_>>(), ["a", "b"]);
        assert!(store.problem("hangs").is_some());
    }
}
