//! An observer that watches the size of a target all the time.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{
    Api, ResourceExt,
    api::{WatchEvent, WatchParams},
};
use llm_autoscaler_e2e::Stage;

use crate::scene::NAME;

/// The field manager of the HPA's controller.
pub(crate) const HPA: &str = "kube-controller-manager";
/// The operator's field manager.
pub(crate) const OURS: &str = "llm-autoscaler-scale";

/// A size, and the managers that own it.
type Seen = (i32, Vec<String>);

/// Watches the target from its start.
pub(crate) struct Observer {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Observer {
    pub(crate) async fn start(stage: &Stage) -> Result<Self> {
        let api: Api<StatefulSet> = stage.api();
        let now = api.get(NAME).await?;
        let seen = Arc::new(Mutex::new(vec![seen(&now)]));
        let (shared, version) = (seen.clone(), now.resource_version().unwrap_or_default());
        let task = tokio::spawn(async move { watch(&api, version, &shared).await });
        Ok(Self { seen, task })
    }

    /// Fails unless the sizes since the start or the last call, without repetitions, are these, and
    /// each was written by this manager. The first size is that before.
    pub(crate) fn sizes_are(&self, expected: &[(i32, &str)]) -> Result<()> {
        ensure!(!self.task.is_finished(), "the watch has ended");
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes: Vec<&Seen> = Vec::new();
        for each in all.iter() {
            if changes.last().is_none_or(|(size, _)| *size != each.0) {
                changes.push(each);
            }
        }
        let is_so = changes.len() == expected.len()
            && changes.iter().zip(expected).all(|((size, managers), (expected, manager))| {
                size == expected && managers.iter().any(|it| it == manager)
            });
        ensure!(is_so, "expected the sizes {expected:?}, and there were {changes:?}");
        // The next call begins with this size and its writer.
        let last = changes.last().map(|last| (*last).clone());
        *all = last.into_iter().collect();
        Ok(())
    }

    /// Fails unless the operator's field manager owns the size as it was seen last.
    pub(crate) fn is_adopted(&self) -> Result<()> {
        let all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ours = |seen: &Seen| seen.1.iter().any(|manager| manager == OURS);
        ensure!(all.last().is_some_and(is_ours), "the size was not adopted: {all:?}");
        Ok(())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the size of a target, and its owners.
fn seen(target: &StatefulSet) -> Seen {
    let size = target.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let owners = target.managed_fields().iter().filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| fields.pointer("/f:spec/f:replicas").is_some())
    });
    (size, owners.filter_map(|entry| entry.manager.clone()).collect())
}

/// Records each version of the target. A watch that ends goes on from where it was.
async fn watch(api: &Api<StatefulSet>, mut version: String, all: &Mutex<Vec<Seen>>) -> Result<()> {
    let params = WatchParams::default().fields(&format!("metadata.name={NAME}"));
    loop {
        let changes = api.watch(&params, &version).await?;
        pin_mut!(changes);
        while let Some(change) = changes.next().await {
            let target = match change? {
                WatchEvent::Added(target) | WatchEvent::Modified(target) => target,
                WatchEvent::Bookmark(_) => continue,
                other => anyhow::bail!("the watch of the target: {other:?}"),
            };
            version = target.resource_version().unwrap_or_default();
            all.lock().unwrap_or_else(PoisonError::into_inner).push(seen(&target));
        }
    }
}
