//! Keeps the PodMonitor of a target as it should be, in a task beside the steps of the autoscaler.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, Preconditions},
};
use llm_autoscaler_api::{
    LLMAutoscaler, PodMonitorBuilder, PodMonitorMode, TargetConfig,
    conditions::{ConditionUpdate, Reason},
    managers, pod_monitor_name, selector,
};
use llm_autoscaler_core::Monotonic;
use serde_json::{Value, json};
use tokio::task::AbortHandle;
use tracing::warn;

use crate::{
    kube_api::{CallError, WritePermit, apply_as, within, writes::Writes},
    lease::Leases,
    lock::lock,
    pod_monitor::{
        cluster_pod_monitors::{self, ClusterPodMonitors},
        plan::{
            CONDITION, ExistingPodMonitor, MonitoredPods, ObjectVersion, PodMonitorPlan, Unwanted,
        },
    },
    supervise::Supervisor,
    telemetry::WriteKind,
};

/// The time between two reconciliations while the spec does not change.
const PERIOD: Duration = Duration::from_mins(1);
/// The shortest time between two reconciliations, however often the spec changes.
const SHORTEST: Duration = Duration::from_secs(5);
/// The time that one reconciliation may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Reconciles the PodMonitor of one target.
pub(crate) struct PodMonitorReconciler {
    /// The name of the target, where it is one of several.
    role: Option<String>,
    api: PodMonitorWriter,
    monitors: ClusterPodMonitors,
    /// The start of the latest reconciliation.
    started: Option<Monotonic>,
    /// True if the spec has changed since.
    is_due: bool,
    condition: Arc<Mutex<Option<ConditionUpdate>>>,
    task: Option<AbortHandle>,
}

impl PodMonitorReconciler {
    /// Creates a reconciler. `role` is the name of the target, where it is one of several.
    pub(crate) fn new(
        api: PodMonitorWriter,
        monitors: ClusterPodMonitors,
        role: Option<String>,
    ) -> Self {
        let condition = Arc::default();
        let (started, is_due, task) = (None, false, None);
        Self { role, api, monitors, started, is_due, condition, task }
    }

    /// Makes a call of [`reconcile`](Self::reconcile) start one soon, because the spec has changed.
    pub(crate) fn make_due(&mut self) {
        self.is_due = true;
    }

    /// Returns the result of the latest reconciliation; `None` if there was none, or the spec asks
    /// for no PodMonitor.
    pub(crate) fn condition(&self) -> Option<ConditionUpdate> {
        lock(&self.condition).clone()
    }

    /// Starts a reconciliation if it is due, and aborts one that still runs. Returns at once.
    pub(crate) fn reconcile(
        &mut self,
        owner: &Arc<LLMAutoscaler>,
        config: &Arc<TargetConfig>,
        pods: impl FnOnce() -> MonitoredPods,
        now: Monotonic,
    ) {
        if !is_due(self.started, self.is_due, now) {
            return;
        }
        (self.started, self.is_due) = (Some(now), false);
        self.abort();
        let work = Reconciliation {
            object: OwnPodMonitor::new(&self.api, owner, self.role.as_deref()),
            monitors: self.monitors.clone(),
            config: config.clone(),
            pods: pods(),
        };
        let condition = self.condition.clone();
        let task = self.api.supervisor.spawn("pod_monitor", async move {
            let result = match tokio::time::timeout(DEADLINE, work.run()).await {
                Ok(result) => result,
                Err(_) => Some(not_in_time()),
            };
            *lock(&condition) = result;
        });
        self.task = Some(task);
    }

    /// Deletes the PodMonitor, because the autoscaler no longer has this target.
    pub(crate) fn delete(&mut self, owner: &Arc<LLMAutoscaler>) {
        self.abort();
        self.api.delete(owner, self.role.as_deref());
    }

    fn abort(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for PodMonitorReconciler {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Returns whether a reconciliation is due, by the start of the latest one, and whether the spec
/// has changed since.
fn is_due(started: Option<Monotonic>, is_changed: bool, now: Monotonic) -> bool {
    let period = if is_changed { SHORTEST } else { PERIOD };
    started.is_none_or(|at| now.since(at) >= period)
}

/// The handles that writes of PodMonitors need. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PodMonitorWriter {
    /// The client of the API server.
    pub client: Client,
    /// Sends the writes.
    pub writes: Writes,
    /// Permits them.
    pub leases: Leases,
    /// Spawns the tasks that write.
    pub supervisor: Supervisor,
}

impl PodMonitorWriter {
    /// Deletes the PodMonitor of a target that the autoscaler no longer has, if there is one.
    /// Returns at once.
    pub(crate) fn delete(&self, owner: &Arc<LLMAutoscaler>, role: Option<&str>) {
        let object = OwnPodMonitor::new(self, owner, role);
        self.supervisor.spawn("pod_monitor", async move {
            let _ = tokio::time::timeout(DEADLINE, object.remove()).await;
        });
    }
}

/// The end of the message where another namespace's PodMonitor has the same pods.
const COVERED: &str = "; one of another namespace selects the same pods, so Prometheus may store \
                       every series twice: set podMonitor.mode to Disabled, or name its namespace \
                       in the operator's --monitoring-namespaces";

/// The PodMonitor object of one target, which may not exist.
struct OwnPodMonitor {
    api: Api<DynamicObject>,
    writes: Writes,
    permit: WritePermit,
    owner: Arc<LLMAutoscaler>,
    name: String,
}

impl OwnPodMonitor {
    fn new(writer: &PodMonitorWriter, owner: &Arc<LLMAutoscaler>, role: Option<&str>) -> Self {
        let namespace = owner.namespace().unwrap_or_default();
        Self {
            api: cluster_pod_monitors::api(&writer.client, Some(&namespace)),
            writes: writer.writes.clone(),
            permit: writer.leases.permit(&namespace),
            owner: owner.clone(),
            name: pod_monitor_name(owner, role),
        }
    }

    /// Reads the object; `None` if it does not exist, or its kind does not.
    async fn get(&self) -> Result<Option<ExistingPodMonitor>, CallError> {
        match within(DEADLINE, self.api.get(&self.name)).await {
            Ok(found) => Ok(Some(ExistingPodMonitor::of(&found, &self.owner))),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Applies the object, on the condition that it still is the one that was read.
    async fn apply(
        &self,
        mut wanted: Value,
        existing: Option<ObjectVersion>,
        is_covered: bool,
    ) -> ConditionUpdate {
        if let Some(ObjectVersion { uid, resource_version }) = existing {
            wanted["metadata"]["uid"] = json!(uid);
            wanted["metadata"]["resourceVersion"] = json!(resource_version);
        }
        let (params, patch) = (apply_as(managers::CHILDREN), Patch::Apply(&wanted));
        let call = self.api.patch(&self.name, &params, &patch);
        match self.writes.send(WriteKind::PodMonitor, &self.permit, call).await {
            Err(error) if error.status() == Some(404) => ConditionUpdate::no(
                CONDITION,
                Reason::MonitoringNotInstalled,
                "the cluster has no PodMonitor (monitoring.coreos.com/v1); scaling does not need \
                 it",
            ),
            Err(error) => failed(&error),
            Ok(_) => ConditionUpdate::yes(
                CONDITION,
                Reason::Applied,
                format!(
                    "the PodMonitor {} is up to date{}",
                    self.name,
                    if is_covered { COVERED } else { "" }
                ),
            ),
        }
    }

    /// Deletes this version of the object, and no other object of its name. A later reconciliation
    /// repeats an attempt that fails.
    async fn delete(&self, ObjectVersion { uid, resource_version }: ObjectVersion) {
        let preconditions = Some(Preconditions { uid: Some(uid), resource_version });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        let call = self.api.delete(&self.name, &params);
        match self.writes.send(WriteKind::PodMonitor, &self.permit, call).await {
            Err(error) if error.status() != Some(404) => {
                warn!(name = self.name, %error, "the PodMonitor could not be deleted");
            }
            _ => {}
        }
    }

    /// Carries a plan out. Returns the condition that reports the result.
    async fn carry_out(&self, plan: PodMonitorPlan) -> Option<ConditionUpdate> {
        match plan {
            PodMonitorPlan::Apply { wanted, existing, is_covered } => {
                Some(self.apply(wanted, existing, is_covered).await)
            }
            PodMonitorPlan::Remove { existing, because } => {
                self.delete(existing).await;
                because.condition(&self.name)
            }
            PodMonitorPlan::LeaveAlone(because) => because.condition(&self.name),
        }
    }

    /// Deletes the object, if the autoscaler has created it.
    async fn remove(&self) {
        if let Ok(existing) = self.get().await {
            let plan = PodMonitorPlan::without(existing.as_ref(), Unwanted::NotAskedFor);
            self.carry_out(plan).await;
        }
    }
}

/// A reconciliation of one PodMonitor, with its inputs.
struct Reconciliation {
    object: OwnPodMonitor,
    monitors: ClusterPodMonitors,
    config: Arc<TargetConfig>,
    pods: MonitoredPods,
}

impl Reconciliation {
    /// Reads the cluster, plans, and carries the plan out. Returns the condition that reports the
    /// result; `None` if the spec asks for no PodMonitor.
    async fn run(self) -> Option<ConditionUpdate> {
        let object = &self.object;
        let wanted = self.wanted();
        let existing = match object.get().await {
            Ok(existing) => existing,
            Err(error) => return wanted.map(|_| failed(&error)),
        };
        let all = match wanted {
            Some(_) => self.monitors.all().await,
            None => Arc::default(),
        };
        object.carry_out(PodMonitorPlan::new(wanted, &self.pods, existing.as_ref(), &all)).await
    }

    /// Builds the object that the spec asks for, if it does.
    fn wanted(&self) -> Option<Value> {
        match self.config.pod_monitor.spec.mode {
            PodMonitorMode::Disabled => None,
            PodMonitorMode::Create => {
                let builder = PodMonitorBuilder {
                    owner: &self.object.owner,
                    name: &self.object.name,
                    plan: &self.config,
                    selector: &selector::to_label_selector(&self.pods.selector),
                    port: &self.pods.port,
                };
                Some(builder.build())
            }
        }
    }
}

fn not_in_time() -> ConditionUpdate {
    let message = format!("the API server did not answer within {} s", DEADLINE.as_secs());
    ConditionUpdate::no(CONDITION, Reason::ApplyFailed, message)
}

fn failed(error: &CallError) -> ConditionUpdate {
    let reason = match error.status() {
        Some(403) => Reason::Forbidden,
        _ => Reason::ApplyFailed,
    };
    let message = format!("the PodMonitor could not be applied: {error}");
    ConditionUpdate::no(CONDITION, reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_that_changes_all_the_time_is_applied_every_five_seconds() {
        let at = |seconds| Monotonic(Duration::from_secs(seconds));
        // the latest start, whether the spec has changed since, the time; whether one is due
        let table = [
            (None, false, 0, true),
            (Some(100), false, 159, false),
            (Some(100), false, 160, true),
            (Some(100), true, 104, false),
            (Some(100), true, 105, true),
        ];
        for (started, is_changed, now, expected) in table {
            let found = is_due(started.map(at), is_changed, at(now));
            assert_eq!(found, expected, "{started:?} {is_changed} {now}");
        }
    }
}
