//! Keeps the PodMonitor of an autoscaler: beside the scaling, in a task of its own, never in its way.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, Preconditions},
    core::Selector,
};
use llm_autoscaler_api::{
    LLMAutoscaler, POD_MONITOR, PodMonitorMode, conditions::ConditionUpdate, managers, pod_monitor, selector,
};
use tokio::task::AbortHandle;

use crate::target::api_text;

/// The condition that tells how it stands.
pub const CONDITION: &str = "PodMonitorReady";
/// How often it is looked after when nothing has changed.
const EVERY: Duration = Duration::from_mins(1);
/// How long the API server may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Looks after the PodMonitor of one autoscaler.
pub struct PodMonitorKeeper {
    client: Client,
    at: Option<Instant>,
    condition: Arc<Mutex<Option<ConditionUpdate>>>,
    task: Option<AbortHandle>,
}

impl PodMonitorKeeper {
    /// Nothing has been looked at yet.
    pub fn new(client: Client) -> Self {
        Self { client, at: None, condition: Arc::default(), task: None }
    }

    /// The next call of [`keep`](Self::keep) does not wait its time.
    pub fn look_again(&mut self) {
        self.at = None;
    }

    /// How it stood when last looked at; `None` if there is to be no PodMonitor, or nobody knows yet.
    pub fn condition(&self) -> Option<ConditionUpdate> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins to look after it, if it is time.
    pub fn keep(&mut self, owner: &Arc<LLMAutoscaler>, pods: &Selector) {
        if self.at.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.at = Some(Instant::now());
        self.end();
        let (client, owner, pods) = (self.client.clone(), owner.clone(), pods.clone());
        let condition = self.condition.clone();
        let task = tokio::spawn(async move {
            let kept = tokio::time::timeout(DEADLINE, bring_about(&client, &owner, &pods)).await;
            let late = |_| {
                let message = format!("the API server did not answer within {} s", DEADLINE.as_secs());
                Some(ConditionUpdate::no(CONDITION, "ApplyFailed", message))
            };
            *condition.lock().unwrap_or_else(PoisonError::into_inner) = kept.unwrap_or_else(late);
        });
        self.task = Some(task.abort_handle());
    }

    fn end(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for PodMonitorKeeper {
    fn drop(&mut self) {
        self.end();
    }
}

/// Brings the PodMonitor to what the spec says; the condition that follows, or `None` if there is to be none.
async fn bring_about(client: &Client, owner: &LLMAutoscaler, pods: &Selector) -> Option<ConditionUpdate> {
    let api = api(client, &owner.namespace().unwrap_or_default());
    let spec = owner.spec.pod_monitor.clone().unwrap_or_default();
    match spec.mode {
        PodMonitorMode::Disabled => {
            remove(&api, owner).await;
            None
        }
        PodMonitorMode::Create => {
            let wanted = pod_monitor(owner, &spec, &selector::to_label_selector(pods));
            Some(apply(&api, owner, &wanted).await)
        }
    }
}

fn api(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let [group, version, kind, plural] = POD_MONITOR;
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Applies it, unless somebody else's is in its place.
async fn apply(
    api: &Api<DynamicObject>,
    owner: &LLMAutoscaler,
    wanted: &serde_json::Value,
) -> ConditionUpdate {
    let name = owner.name_any();
    match api.get(&name).await {
        Ok(found) if !is_ours(&found, owner) => {
            let message = format!("the PodMonitor {name} was not made by this autoscaler and is left alone");
            return ConditionUpdate::no(CONDITION, "NotOurs", message);
        }
        // Absent, as an object or as a kind: what follows tells which.
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return failed(&error),
        Ok(_) => {}
    }
    let params = PatchParams::apply(managers::CHILDREN).force();
    match api.patch(&name, &params, &Patch::Apply(wanted)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => ConditionUpdate::no(
            CONDITION,
            "MonitoringNotInstalled",
            "the cluster has no PodMonitor (monitoring.coreos.com/v1); scaling does not need it",
        ),
        Err(error) => failed(&error),
        Ok(_) => ConditionUpdate::yes(CONDITION, "Applied", format!("the PodMonitor {name} is up to date")),
    }
}

fn failed(error: &kube::Error) -> ConditionUpdate {
    let reason = match error {
        kube::Error::Api(status) if status.code == 403 => "Forbidden",
        _ => "ApplyFailed",
    };
    let message = format!("the PodMonitor could not be applied: {}", api_text(error));
    ConditionUpdate::no(CONDITION, reason, message)
}

/// Removes the one that this autoscaler made, and no other; if that fails it is tried again later.
async fn remove(api: &Api<DynamicObject>, owner: &LLMAutoscaler) {
    if let Ok(Some(found)) = api.get_opt(&owner.name_any()).await
        && is_ours(&found, owner)
    {
        let preconditions = Preconditions { uid: found.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let _ = api.delete(&owner.name_any(), &params).await;
    }
}

fn is_ours(found: &DynamicObject, owner: &LLMAutoscaler) -> bool {
    let references = found.owner_references().iter();
    references
        .filter(|reference| reference.controller == Some(true))
        .any(|reference| Some(&reference.uid) == owner.uid().as_ref())
}
