//! The PodMonitor object of one target: how it is read, applied and deleted.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{Arc, LazyLock},
    time::Duration,
};

use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, Preconditions},
};
use llm_autoscaler_api::{
    LLMAutoscaler,
    conditions::{ConditionUpdate, Reason},
    managers, pod_monitor_name,
};
use serde_json::{Value, json};
use tracing::warn;

use crate::{
    cluster::watched_versions::{ObjectState, WatchedVersions},
    kube_api::{CallError, WritePermit, apply_as, reads::Reads, writes::Writes},
    lease::Leases,
    pod_monitor::{
        cluster_pod_monitors,
        plan::{CONDITION, ExistingPodMonitor, ObjectVersion, PodMonitorPlan, Unwanted},
    },
    supervise::Supervisor,
    telemetry::WriteKind,
};

/// The time that one reconciliation may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// What the latest reconciliation has left behind.
#[derive(Clone, Debug, Default)]
pub(super) enum Outcome {
    /// The next one begins without knowledge.
    #[default]
    Unknown,
    /// There is no object, and there is to be none.
    Nothing,
    /// The object is as it was to be.
    Applied {
        /// A hash of the object that was applied.
        wanted: u64,
        /// The object as it is since.
        existing: ExistingPodMonitor,
    },
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
    /// Tells which objects are as they were.
    pub versions: WatchedVersions,
    /// Limits the reads.
    pub reads: Reads,
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
pub(super) struct OwnPodMonitor {
    api: Api<DynamicObject>,
    versions: WatchedVersions,
    writes: Writes,
    reads: Reads,
    namespace: String,
    permit: WritePermit,
    pub(super) owner: Arc<LLMAutoscaler>,
    pub(super) name: String,
}

impl OwnPodMonitor {
    pub(super) fn new(
        writer: &PodMonitorWriter,
        owner: &Arc<LLMAutoscaler>,
        role: Option<&str>,
    ) -> Self {
        let namespace = owner.namespace().unwrap_or_default();
        Self {
            api: cluster_pod_monitors::api(&writer.client, Some(&namespace)),
            versions: writer.versions.clone(),
            writes: writer.writes.clone(),
            reads: writer.reads.clone(),
            permit: writer.leases.permit(&namespace),
            owner: owner.clone(),
            name: pod_monitor_name(owner, role),
            namespace,
        }
    }

    /// Returns true if a spec that asks for no object never asked for one, because it is the one
    /// that the autoscaler was created with.
    pub(super) fn was_never_asked_for(&self) -> bool {
        self.owner.metadata.generation == Some(1)
    }

    /// Reads the object; `None` if it does not exist, or its kind does not.
    pub(super) async fn get(&self) -> Result<Option<ExistingPodMonitor>, CallError> {
        match self.reads.run(&self.namespace, self.api.get(&self.name)).await {
            Ok(found) => Ok(Some(ExistingPodMonitor::of(&found, &self.owner))),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has the versions of PodMonitors watched, so that [`is_current`](Self::is_current) can be
    /// answered.
    pub(super) fn want_versions(&self) {
        self.versions.want(&cluster_pod_monitors::resource());
    }

    /// Returns whether an object is known to be as it was.
    pub(super) fn is_current(&self, existing: &ExistingPodMonitor) -> bool {
        let Some(resource_version) = existing.version.resource_version.as_deref() else {
            return false;
        };
        let namespace = &*self.owner.namespace().unwrap_or_default();
        let object = ObjectState { namespace, name: &self.name, resource_version };
        self.versions.is_current(&cluster_pod_monitors::resource(), object)
    }

    /// Applies the object, on the condition that it still is the one that was read. One that was
    /// applied before, and is as it was since, is not applied again.
    async fn apply(
        &self,
        mut wanted: Value,
        existing: Option<ObjectVersion>,
        is_covered: bool,
        before: Option<(u64, ExistingPodMonitor)>,
    ) -> (ConditionUpdate, Outcome) {
        let hash = hash(&wanted);
        if let Some((applied, object)) = before
            && applied == hash
            && existing.as_ref() == Some(&object.version)
        {
            let outcome = Outcome::Applied { wanted: hash, existing: object };
            return (self.up_to_date(is_covered), outcome);
        }
        if let Some(ObjectVersion { uid, resource_version }) = existing {
            wanted["metadata"]["uid"] = json!(uid);
            wanted["metadata"]["resourceVersion"] = json!(resource_version);
        }
        let (params, patch) = (apply_as(managers::CHILDREN), Patch::Apply(&wanted));
        let call = self.api.patch(&self.name, &params, &patch);
        match self.writes.send(WriteKind::PodMonitor, &self.permit, call).await {
            Err(error) if error.status() == Some(404) => {
                let message = "the cluster has no PodMonitor (monitoring.coreos.com/v1); scaling \
                               does not need it";
                let reason = Reason::MonitoringNotInstalled;
                (ConditionUpdate::no(CONDITION, reason, message), Outcome::Unknown)
            }
            Err(error) => (failed(&error), Outcome::Unknown),
            Ok(object) => {
                let existing = ExistingPodMonitor::of(&object, &self.owner);
                (self.up_to_date(is_covered), Outcome::Applied { wanted: hash, existing })
            }
        }
    }

    fn up_to_date(&self, is_covered: bool) -> ConditionUpdate {
        let covered = if is_covered { COVERED } else { "" };
        let message = format!("the PodMonitor {} is up to date{covered}", self.name);
        ConditionUpdate::yes(CONDITION, Reason::Applied, message)
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

    /// Carries a plan out. Returns the condition that reports the result, and what is left behind.
    /// `before` is what was applied last, if the object is as it was since.
    pub(super) async fn carry_out(
        &self,
        plan: PodMonitorPlan,
        before: Option<(u64, ExistingPodMonitor)>,
    ) -> (Option<ConditionUpdate>, Outcome) {
        match plan {
            PodMonitorPlan::Apply { wanted, existing, is_covered } => {
                let (condition, outcome) = self.apply(wanted, existing, is_covered, before).await;
                (Some(condition), outcome)
            }
            PodMonitorPlan::Remove { existing, because } => {
                self.delete(existing).await;
                (because.condition(&self.name), Outcome::Unknown)
            }
            PodMonitorPlan::LeaveAlone(because) => {
                let outcome = match because {
                    Unwanted::NotAskedFor => Outcome::Nothing,
                    Unwanted::NotOurs | Unwanted::Duplicate { .. } => Outcome::Unknown,
                };
                (because.condition(&self.name), outcome)
            }
        }
    }

    /// Deletes the object, if the autoscaler has created it.
    async fn remove(&self) {
        if let Ok(existing) = self.get().await {
            let plan = PodMonitorPlan::without(existing.as_ref(), Unwanted::NotAskedFor);
            self.carry_out(plan, None).await;
        }
    }
}

/// Returns the condition that reports a call that failed.
pub(super) fn failed(error: &CallError) -> ConditionUpdate {
    let reason = match error.status() {
        Some(403) => Reason::Forbidden,
        _ => Reason::ApplyFailed,
    };
    let message = format!("the PodMonitor could not be applied: {error}");
    ConditionUpdate::no(CONDITION, reason, message)
}

/// Returns a hash of an object that is the same for the life of the process.
fn hash(wanted: &Value) -> u64 {
    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    HASHER.hash_one(wanted.to_string())
}
