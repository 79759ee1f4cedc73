//! Watches the requested replicas of targets.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
    runtime::{WatchStreamExt, watcher},
};
use llm_autoscaler_e2e::Stage;
use tokio::{sync::Notify, task::AbortHandle, time::Instant};

/// The current sizes of all targets of a kind and a namespace.
pub(crate) struct Sizes {
    known: Arc<Known>,
    task: AbortHandle,
}

#[derive(Default)]
struct Known {
    /// The size of each target, and the time of its last change.
    sizes: Mutex<HashMap<String, (i32, Instant)>>,
    changed: Notify,
}

impl Sizes {
    /// Starts the watch of a stage's StatefulSets.
    pub(crate) fn of_stateful_sets(stage: &Stage) -> Self {
        let resource = ApiResource::erase::<StatefulSet>(&());
        let api = Api::namespaced_with(stage.client(), &stage.namespace, &resource);
        Self::watch(api, "replicas")
    }

    /// Starts the watch. The size is in this field of the spec.
    pub(crate) fn watch(api: Api<DynamicObject>, field: &'static str) -> Self {
        let known = Arc::new(Known::default());
        let task = tokio::spawn(follow(api, field, known.clone()));
        Self { known, task: task.abort_handle() }
    }

    /// Waits until a target requests `replicas`. Returns the time of that change.
    ///
    /// # Errors
    /// Fails if it does not within this time.
    pub(crate) async fn until(
        &self,
        name: &str,
        replicas: i32,
        within: Duration,
    ) -> Result<Instant> {
        let wait = async {
            loop {
                let changed = self.known.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(since) = self.known.since(name, replicas) {
                    return since;
                }
                changed.await;
            }
        };
        tokio::time::timeout(within, wait).await.with_context(|| {
            format!("{name} did not request {replicas} replicas within {within:?}")
        })
    }
}

impl Drop for Sizes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Known {
    fn since(&self, name: &str, replicas: i32) -> Option<Instant> {
        let sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        sizes.get(name).filter(|(size, _)| *size == replicas).map(|(_, since)| *since)
    }
}

async fn follow(api: Api<DynamicObject>, field: &str, known: Arc<Known>) {
    let mut events =
        watcher(api, watcher::Config::default()).default_backoff().applied_objects().boxed();
    loop {
        match events.try_next().await {
            Ok(Some(object)) => {
                let size = object.data["spec"][field].as_i64().unwrap_or(1);
                let size = i32::try_from(size).unwrap_or(i32::MAX);
                let mut sizes = known.sizes.lock().unwrap_or_else(PoisonError::into_inner);
                let entry = sizes.entry(object.name_any()).or_insert((size, Instant::now()));
                if entry.0 != size {
                    *entry = (size, Instant::now());
                }
                drop(sizes);
                known.changed.notify_waiters();
            }
            Ok(None) => return,
            Err(error) => eprintln!("watching targets: {error}"),
        }
    }
}
