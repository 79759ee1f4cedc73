//! Counts scale-downs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use tokio::task::AbortHandle;

/// The latest size and the number of decreases, by name.
type Seen = Arc<Mutex<HashMap<String, (i32, usize)>>>;

/// Counts the decreases of StatefulSets' requested replicas.
pub(super) struct ScaleDowns {
    seen: Seen,
    watch: AbortHandle,
}

impl Drop for ScaleDowns {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl ScaleDowns {
    /// Starts to count in a namespace.
    pub(super) fn watch(api: Api<StatefulSet>) -> Self {
        let seen = Seen::default();
        let watch = tokio::spawn(follow(api, seen.clone())).abort_handle();
        Self { seen, watch }
    }

    /// Returns the total number of decreases of these StatefulSets.
    pub(super) fn of(&self, names: &[String]) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().filter_map(|name| seen.get(name)).map(|(_, scale_downs)| scale_downs).sum()
    }
}

async fn follow(api: Api<StatefulSet>, seen: Seen) {
    let mut events =
        watcher(api, watcher::Config::default()).default_backoff().applied_objects().boxed();
    while let Some(event) = events.next().await {
        let Ok(set) = event else { continue }; // the watcher recovers on its own
        let name = set.name_any();
        let size = set.spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, scale_downs) = seen.entry(name).or_insert((size, 0));
        *scale_downs += usize::from(size < *last);
        *last = size;
    }
}
