//! Keeps the PodMonitor of an autoscaler: beside the scaling, in a task of its own, never in its way.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, Preconditions},
    core::Selector,
};
use llm_autoscaler_api::{
    LLMAutoscaler, PodMonitorBuilder, PodMonitorMode, Port, TargetConfig,
    conditions::{ConditionType, ConditionUpdate, Reason},
    managers, pod_monitor_name, selector, time,
};
use llm_autoscaler_core::Monotonic;
use tokio::task::AbortHandle;

use crate::{
    kube_api::{apply_as, error_text},
    pod_monitor::cluster_pod_monitors::{self, Monitor, Monitors},
};
use llm_autoscaler_observe::pod::Members;

/// The condition that tells how it stands.
pub const CONDITION: ConditionType = ConditionType::PodMonitorReady;
/// How often it is looked after when nothing has changed.
const EVERY: Duration = Duration::from_mins(1);
/// How long the API server may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Looks after the PodMonitor of one target of an autoscaler.
pub struct PodMonitorKeeper {
    role: Option<String>,
    client: Client,
    monitors: Monitors,
    at: Option<Monotonic>,
    condition: Arc<Mutex<Option<ConditionUpdate>>>,
    task: Option<AbortHandle>,
}

/// Whose pages are to be published.
#[derive(Clone)]
pub struct Published {
    /// What selects the target's pods.
    pub selector: Selector,
    /// The pods that are read, the target's or others.
    pub pods: Members,
    /// The port that they serve on.
    pub port: Port,
    /// The path of the page.
    pub path: String,
}

impl PodMonitorKeeper {
    /// Nothing has been looked at yet. `role` is the name of the target, where it is one of several.
    pub fn new(client: Client, monitors: Monitors, role: Option<String>) -> Self {
        Self { role, client, monitors, at: None, condition: Arc::default(), task: None }
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
    pub fn keep(
        &mut self,
        owner: &Arc<LLMAutoscaler>,
        plan: &Arc<TargetConfig>,
        published: impl FnOnce() -> Published,
        now: Monotonic,
    ) {
        if self.at.is_some_and(|at| now.since(at) < EVERY) {
            return;
        }
        self.at = Some(now);
        self.end();
        let (client, monitors, owner) = (self.client.clone(), self.monitors.clone(), owner.clone());
        let (condition, published, plan) = (self.condition.clone(), published(), plan.clone());
        let name = pod_monitor_name(&owner, self.role.as_deref());
        let task = tokio::spawn(async move {
            let work = bring_about(&client, &monitors, (&owner, &name), &plan, &published);
            let kept = tokio::time::timeout(DEADLINE, work).await;
            let late = |_| {
                let message =
                    format!("the API server did not answer within {} s", DEADLINE.as_secs());
                Some(ConditionUpdate::no(CONDITION, Reason::ApplyFailed, message))
            };
            *condition.lock().unwrap_or_else(PoisonError::into_inner) = kept.unwrap_or_else(late);
        });
        self.task = Some(task.abort_handle());
    }

    /// Removes it: the target is none of the autoscaler's any longer, and nobody looks after it from now on.
    pub fn retire(&mut self, owner: &Arc<LLMAutoscaler>) {
        self.end();
        retire(&self.client, owner, self.role.as_deref());
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

/// Removes the PodMonitor of a target that is none of the autoscaler's any longer, if there is one.
pub fn retire(client: &Client, owner: &Arc<LLMAutoscaler>, role: Option<&str>) {
    let (client, owner, name) = (client.clone(), owner.clone(), pod_monitor_name(owner, role));
    tokio::spawn(async move {
        let api = cluster_pod_monitors::api(&client, Some(&owner.namespace().unwrap_or_default()));
        let _ = tokio::time::timeout(DEADLINE, remove(&api, (&owner, &name))).await;
    });
}

/// Brings the PodMonitor to what the spec says; the condition that follows, or `None` if there is to be none.
async fn bring_about(
    client: &Client,
    monitors: &Monitors,
    (owner, name): (&LLMAutoscaler, &str),
    plan: &TargetConfig,
    published: &Published,
) -> Option<ConditionUpdate> {
    let api = cluster_pod_monitors::api(client, Some(&owner.namespace().unwrap_or_default()));
    match plan.pod_monitor.spec.mode {
        PodMonitorMode::Disabled => {
            remove(&api, (owner, name)).await;
            None
        }
        PodMonitorMode::Create => {
            let Published { selector, port, .. } = published;
            let wanted = PodMonitorBuilder {
                owner,
                name,
                plan,
                selector: &selector::to_label_selector(selector),
                port,
            }
            .build();
            Some(apply(&api, monitors, (owner, name), published, &wanted).await)
        }
    }
}

/// Applies it, unless somebody else's is in its place, or publishes the same pages already.
async fn apply(
    api: &Api<DynamicObject>,
    monitors: &Monitors,
    (owner, name): (&LLMAutoscaler, &str),
    published: &Published,
    wanted: &serde_json::Value,
) -> ConditionUpdate {
    let found = match api.get(name).await {
        Ok(found) if !is_ours(&found, owner) => {
            let message =
                format!("the PodMonitor {name} was not made by this autoscaler and is left alone");
            return ConditionUpdate::no(CONDITION, Reason::NotOurs, message);
        }
        // Absent, as an object or as a kind: what follows tells which.
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        Err(error) => return failed(&error),
        Ok(found) => Some(found),
    };
    if let Some(other) = in_the_way(&monitors.all().await, found.as_ref(), published) {
        if found.is_some() {
            remove(api, (owner, name)).await;
        }
        let message = format!(
            "the PodMonitor {other} publishes these pods already; a second one would have every series twice"
        );
        return ConditionUpdate::no(CONDITION, Reason::AlreadyMonitored, message);
    }
    let params = apply_as(managers::CHILDREN);
    match api.patch(name, &params, &Patch::Apply(wanted)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => ConditionUpdate::no(
            CONDITION,
            Reason::MonitoringNotInstalled,
            "the cluster has no PodMonitor (monitoring.coreos.com/v1); scaling does not need it",
        ),
        Err(error) => failed(&error),
        Ok(_) => ConditionUpdate::yes(
            CONDITION,
            Reason::Applied,
            format!("the PodMonitor {name} is up to date"),
        ),
    }
}

/// Another PodMonitor that publishes one of these pods at the same port and goes before ours.
fn in_the_way(
    all: &[Monitor],
    ours: Option<&DynamicObject>,
    published: &Published,
) -> Option<String> {
    let uid = ours.and_then(ResourceExt::uid);
    let created = ours.and_then(ResourceExt::creation_timestamp);
    let created = created.map(|created| time::from_kubernetes(&created)).zip(uid.as_deref());
    let has_them = |monitor: &&Monitor| {
        published.pods.values().any(|pod| {
            let port = pod.port(&published.port);
            port.is_some_and(|port| monitor.publishes(pod, port, &published.path))
        })
    };
    let others = all.iter().filter(|monitor| Some(&*monitor.uid) != uid.as_deref());
    let other = others.filter(|monitor| monitor.goes_before(created)).find(has_them)?;
    Some(format!("{}/{}", other.namespace, other.name))
}

fn failed(error: &kube::Error) -> ConditionUpdate {
    let reason = match error {
        kube::Error::Api(status) if status.code == 403 => Reason::Forbidden,
        _ => Reason::ApplyFailed,
    };
    let message = format!("the PodMonitor could not be applied: {}", error_text(error));
    ConditionUpdate::no(CONDITION, reason, message)
}

/// Removes the one that this autoscaler made, and no other; if that fails it is tried again later.
async fn remove(api: &Api<DynamicObject>, (owner, name): (&LLMAutoscaler, &str)) {
    if let Ok(Some(found)) = api.get_opt(name).await
        && is_ours(&found, owner)
    {
        let preconditions = Preconditions { uid: found.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let _ = api.delete(name, &params).await;
    }
}

fn is_ours(found: &DynamicObject, owner: &LLMAutoscaler) -> bool {
    let references = found.owner_references().iter();
    references
        .filter(|reference| reference.controller == Some(true))
        .any(|reference| Some(&reference.uid) == owner.uid().as_ref())
}
