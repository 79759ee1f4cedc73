//! Keeps the PodMonitor of a target as it should be, in a task beside the steps of the autoscaler.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use llm_autoscaler_api::{
    LLMAutoscaler, PodMonitorBuilder, PodMonitorMode, TargetConfig,
    conditions::{ConditionUpdate, Reason},
    selector,
};
use llm_autoscaler_core::Monotonic;
use serde_json::Value;
use tokio::task::AbortHandle;

use crate::{
    lock::lock,
    pod_monitor::{
        cluster_pod_monitors::ClusterPodMonitors,
        object::{DEADLINE, Outcome, OwnPodMonitor, PodMonitorWriter, failed},
        plan::{CONDITION, MonitoredPods, PodMonitorPlan},
    },
};

/// The time between two reconciliations while the spec does not change.
const PERIOD: Duration = Duration::from_mins(1);
/// The time between two reconciliations while there is no object, and is to be none.
const IDLE_PERIOD: Duration = Duration::from_hours(1);
/// The shortest time between two reconciliations, however often the spec changes.
const SHORTEST: Duration = Duration::from_secs(5);

/// Reconciles the PodMonitor of one target.
pub(crate) struct PodMonitorReconciler {
    /// The name of the target, where it is one of several.
    role: Option<String>,
    api: Arc<PodMonitorWriter>,
    monitors: Arc<ClusterPodMonitors>,
    /// The start of the latest reconciliation.
    started: Option<Monotonic>,
    /// True if the spec has changed since.
    is_due: bool,
    condition: Arc<Mutex<Option<ConditionUpdate>>>,
    outcome: Arc<Mutex<Outcome>>,
    task: Option<AbortHandle>,
}

impl PodMonitorReconciler {
    /// Creates a reconciler. `role` is the name of the target, where it is one of several.
    pub(crate) fn new(
        api: Arc<PodMonitorWriter>,
        monitors: Arc<ClusterPodMonitors>,
        role: Option<String>,
    ) -> Self {
        let (condition, outcome) = Default::default();
        let (started, is_due, task) = (None, false, None);
        Self { role, api, monitors, started, is_due, condition, outcome, task }
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
        // The memory of a task is kept for as long as it has a handle.
        self.task.take_if(|task| task.is_finished());
        let has_nothing = matches!(*lock(&self.outcome), Outcome::Nothing);
        if !is_due(self.started, self.is_due, has_nothing, now) {
            return;
        }
        (self.started, self.is_due) = (Some(now), false);
        self.abort();
        let work = Reconciliation {
            object: OwnPodMonitor::new(&self.api, owner, self.role.as_deref()),
            monitors: self.monitors.clone(),
            config: config.clone(),
            pods: pods(),
            before: std::mem::take(&mut *lock(&self.outcome)),
        };
        let (condition, outcome) = (self.condition.clone(), self.outcome.clone());
        let task = self.api.supervisor.spawn("pod_monitor", async move {
            let result = tokio::time::timeout(DEADLINE, work.run()).await;
            let (found, left) = result.unwrap_or_else(|_| (Some(not_in_time()), Outcome::Unknown));
            (*lock(&condition), *lock(&outcome)) = (found, left);
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

/// Returns whether a reconciliation is due, by the start of the latest one, whether the spec has
/// changed since, and whether there was nothing to do.
fn is_due(started: Option<Monotonic>, is_changed: bool, has_nothing: bool, now: Monotonic) -> bool {
    let period = match (is_changed, has_nothing) {
        (true, _) => SHORTEST,
        (false, true) => IDLE_PERIOD,
        (false, false) => PERIOD,
    };
    started.is_none_or(|at| now.since(at) >= period)
}

/// A reconciliation of one PodMonitor, with its inputs.
struct Reconciliation {
    object: OwnPodMonitor,
    monitors: Arc<ClusterPodMonitors>,
    config: Arc<TargetConfig>,
    pods: MonitoredPods,
    before: Outcome,
}

impl Reconciliation {
    /// Reads the cluster, plans, and carries the plan out. Returns the condition that reports the
    /// result, which is `None` if the spec asks for no PodMonitor, and what is left behind.
    async fn run(self) -> (Option<ConditionUpdate>, Outcome) {
        let (object, wanted) = (&self.object, self.wanted());
        let before = match &self.before {
            Outcome::Applied { wanted, existing } if object.is_current(existing) => {
                Some((*wanted, existing.clone()))
            }
            _ => None,
        };
        let existing = match &before {
            Some((_, existing)) => Some(existing.clone()),
            None if wanted.is_none() && object.was_never_asked_for() => None,
            None => match object.get().await {
                Ok(existing) => existing,
                Err(error) => return (wanted.map(|_| failed(&error)), Outcome::Unknown),
            },
        };
        let all = match wanted {
            Some(_) => self.monitors.all().await,
            None => Arc::default(),
        };
        let plan = PodMonitorPlan::new(wanted, &self.pods, existing.as_ref(), &all);
        let (condition, outcome) = object.carry_out(plan, before).await;
        if let Outcome::Applied { .. } = &outcome {
            // The next reconciliation asks whether it is as it was.
            object.want_versions();
        }
        (condition, outcome)
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

#[cfg(test)]
mod tests {
    use kube::core::Selector;
    use llm_autoscaler_api::{Port, parse_spec};
    use llm_autoscaler_core::Profile;
    use serde_json::json;

    use super::*;
    use crate::{
        Config, context,
        kube_api::stand_in::{Answer, Received, StandIn, until},
    };

    /// Each of ten thousand autoscalers without one used to ask for it when the operator starts.
    #[tokio::test]
    async fn an_object_that_no_spec_has_asked_for_is_not_looked_for() {
        // the generation of the spec, the number of reads
        for (generation, reads) in [(1, 0), (2, 1)] {
            let api = StandIn::start(|_: &Received| Answer::refusal(404)).await;
            let context = context(&Config::of_tests(), &api.client, &api.client).unwrap();
            let target = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "x"});
            let owner = json!({
                "metadata": {"name": "x", "namespace": "ns", "generation": generation},
                "spec": {
                    "scaleTargetRef": target, "maxReplicas": 3, "engine": "VLLM",
                    "podMonitor": {"mode": "Disabled"},
                    "metrics": [{
                        "signal": "WaitingRequests",
                        "target": {"type": "AverageValue", "averageValue": "5"},
                    }],
                },
            });
            let owner: Arc<LLMAutoscaler> = Arc::new(serde_json::from_value(owner).unwrap());
            let parsed = parse_spec(&owner.spec, Profile::Default).unwrap();
            let config = parsed.roles.into_iter().next().unwrap().config.into();
            let (writer, monitors) = (context.pod_monitors.clone(), context.monitors.clone());
            let mut reconciler = PodMonitorReconciler::new(writer, monitors, None);
            let (selector, port, path) =
                (Selector::default(), Port::Number(8000), "/metrics".to_owned());
            let pods = || MonitoredPods { selector, pods: Arc::default(), port, path };
            reconciler.reconcile(&owner, &config, pods, Monotonic::default());
            let is_done = || matches!(*lock(&reconciler.outcome), Outcome::Nothing);
            until("the reconciliation", is_done).await;
            assert_eq!(api.received(|_| true).len(), reads, "generation {generation}");
        }
    }

    #[test]
    fn a_spec_that_changes_all_the_time_is_applied_every_five_seconds() {
        let at = |seconds| Monotonic(Duration::from_secs(seconds));
        // the latest start, whether the spec has changed since, whether there was nothing to do,
        // the time; whether one is due
        let table = [
            (None, false, false, 0, true),
            (Some(100), false, false, 159, false),
            (Some(100), false, false, 160, true),
            (Some(100), true, false, 104, false),
            (Some(100), true, false, 105, true),
            (Some(100), true, true, 105, true),
            (Some(100), false, true, 3699, false),
            (Some(100), false, true, 3700, true),
        ];
        for (started, is_changed, has_nothing, now, expected) in table {
            let found = is_due(started.map(at), is_changed, has_nothing, at(now));
            assert_eq!(found, expected, "{started:?} {is_changed} {has_nothing} {now}");
        }
    }
}
