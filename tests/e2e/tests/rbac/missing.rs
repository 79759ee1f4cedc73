//! Each permission that is missing is told where one looks: in a condition of the autoscaler that
//! suffers, or in the log.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use kube::api::ListParams;
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::wait;

use crate::{
    grants::{self, Grant},
    world::{DRAINED, World},
};

/// The time within which a missing permission has to be told.
const TOLD: Duration = Duration::from_secs(30);

/// What makes the operator need a permission.
#[derive(Clone, Copy, Debug)]
enum Need {
    /// It starts.
    Start,
    /// It starts, and the size of the target of this resource is not the one that it wants.
    Size(&'static str),
    /// The scale-down of a target with marked replicas.
    Drain(&'static str),
    /// A pod with the readiness gate.
    Gate,
    /// A PodMonitor that does not exist yet.
    Monitor,
    /// A PodMonitor that is not wanted any more.
    NoMonitor,
    /// An event that repeats one.
    Repetition,
    /// A wake call.
    Wake,
}

use Need::{Drain, Gate, Monitor, NoMonitor, Repetition, Size, Start, Wake};

/// The place where a missing permission is told.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// A condition of an LLMAutoscaler.
    Status,
    /// The operator's log.
    Log,
}

use Place::{Log, Status};

/// A row: API group, resource, verb; what needs it, and where its absence is told.
type Row = (&'static str, &'static str, &'static str, Need, Place);

/// The permissions for everything but the targets.
const GENERAL: [Row; 24] = [
    ("llmautoscaler.io", "llmautoscalers", "list", Start, Log),
    ("llmautoscaler.io", "llmautoscalers", "watch", Start, Log),
    ("llmautoscaler.io", "llmautoscalers/status", "patch", Size("statefulsets"), Log),
    ("", "pods", "list", Start, Log),
    ("", "pods", "watch", Start, Log),
    ("events.k8s.io", "events", "create", Size("statefulsets"), Log),
    ("events.k8s.io", "events", "patch", Repetition, Log),
    ("autoscaling", "horizontalpodautoscalers", "list", Start, Log),
    ("keda.sh", "scaledobjects", "list", Start, Log),
    ("autoscaling.aibrix.ai", "podautoscalers", "list", Start, Log),
    ("monitoring.coreos.com", "podmonitors", "get", Start, Status),
    ("monitoring.coreos.com", "podmonitors", "list", Start, Log),
    ("monitoring.coreos.com", "podmonitors", "watch", Start, Log),
    ("monitoring.coreos.com", "podmonitors", "patch", Start, Status),
    ("monitoring.coreos.com", "podmonitors", "create", Monitor, Status),
    ("monitoring.coreos.com", "podmonitors", "delete", NoMonitor, Log),
    ("resource.k8s.io", "resourceclaims", "get", Start, Log),
    ("authentication.k8s.io", "tokenreviews", "create", Wake, Log),
    ("authorization.k8s.io", "subjectaccessreviews", "create", Wake, Log),
    ("", "secrets", "get", Start, Status),
    ("", "configmaps", "get", Start, Status),
    ("", "pods/status", "patch", Gate, Status),
    ("", "pods", "patch", Drain(DRAINED[0]), Status),
    ("workloads.x-k8s.io", "roleinstances", "list", Drain(DRAINED[1]), Status),
];

/// The permissions for targets that are not a `get` or a `patch` of a scale, or a `get`, `list` or
/// `watch` of its object.
const OF_TARGETS: [Row; 6] = [
    ("workloads.x-k8s.io", "roleinstances", "patch", Drain(DRAINED[1]), Status),
    ("workloads.x-k8s.io", "rolebasedgroups", "get", Start, Status),
    ("workloads.x-k8s.io", "rolebasedgroups", "patch", Size("rolebasedgroups"), Status),
    ("workloads.x-k8s.io", "rolebasedgroupscalingadapters", "get", Start, Status),
    ("workloads.x-k8s.io", "rolebasedgroups", "list", Start, Log),
    ("workloads.x-k8s.io", "rolebasedgroups", "watch", Start, Log),
];
const SCALERS: &str = "disaggregatedsetrolescalers";

/// The resources of targets with a scale.
const SCALED: [(&str, &str); 13] = [
    ("apps", "statefulsets"),
    ("apps", "deployments"),
    ("workloads.x-k8s.io", "roleinstancesets"),
    ("leaderworkerset.x-k8s.io", "leaderworkersets"),
    ("disaggregatedset.x-k8s.io", SCALERS),
    ("nvidia.com", "dynamographdeploymentscalingadapters"),
    ("grove.io", "podcliquescalinggroups"),
    ("grove.io", "podcliques"),
    ("grove.io", "podcliquesets"),
    ("workload.serving.volcano.sh", "modelservings"),
    ("orchestration.aibrix.ai", "stormservices"),
    ("kaito.sh", "inferencesets"),
    ("kubeai.org", "models"),
];

/// Returns all rows.
fn rows() -> Vec<(Grant, Need, Place)> {
    let row = |(group, resource, verb, need, place): Row| {
        (Grant::new(group, resource, verb), need, place)
    };
    let mut rows: Vec<_> = GENERAL.into_iter().chain(OF_TARGETS).map(row).collect();
    let adapters = "rolebasedgroupscalingadapters";
    let scale = |resource: &str| format!("{resource}/scale");
    let patch = Grant::new("workloads.x-k8s.io", &scale(adapters), "patch");
    rows.push((patch, Size(adapters), Status));
    for (group, resource) in SCALED {
        rows.extend([
            (Grant::new(group, resource, "get"), Start, Log),
            (Grant::new(group, resource, "list"), Start, Log),
            (Grant::new(group, resource, "watch"), Start, Log),
            (Grant::new(group, &scale(resource), "get"), Start, Status),
            (Grant::new(group, &scale(resource), "patch"), Size(resource), Status),
        ]);
    }
    rows
}

/// Takes one permission after the other away. The API server's answer, which names the verb and the
/// resource, is to be read somewhere; and with all permissions back everything works.
pub(crate) async fn each_missing_permission_is_told(stage: &Stage) -> Result<String> {
    grants::grant_all(stage).await?;
    let world = World::create(stage).await?;
    world.until_scaled().await?;
    let (granted, rows) = (grants::granted(stage).await?, rows());
    let listed: BTreeSet<_> = rows.iter().map(|(grant, ..)| grant).collect();
    for grant in granted.keys() {
        ensure!(listed.contains(grant), "no row says where the absence of {grant} is told");
    }
    let mut faults = Vec::new();
    for (grant, need, place) in &rows {
        let role = granted.get(grant).with_context(|| format!("no role grants {grant}"))?;
        if let Err(error) = is_told(&world, grant, role, *need, *place).await {
            faults.push(format!("{grant}: {error:#}"));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n    "));
    stage.operator.start()?;
    for selector in DRAINED {
        world.fill(selector).await?;
    }
    world.until_scaled().await?;
    Ok(format!("{} verbs on resources, each missed", rows.len()))
}

async fn is_told(
    world: &World<'_>,
    grant: &Grant,
    role: &str,
    need: Need,
    place: Place,
) -> Result<()> {
    let stage = world.stage;
    prepare(world, need).await?;
    grants::remove(stage, grant, role).await?;
    let result = async {
        cause(world, need).await?;
        until_told(stage, &text_of(grant), place).await
    };
    let result = result.await;
    grants::restore(stage, grant, role).await?;
    if matches!(need, NoMonitor) {
        world.set_pod_monitor("Create").await?;
    }
    result
}

/// Brings about the state in which the permission is not needed yet.
async fn prepare(world: &World<'_>, need: Need) -> Result<()> {
    match need {
        Drain(selector) => {
            world.stage.operator.start()?;
            world.fill(selector).await
        }
        NoMonitor => {
            world.stage.operator.start()?;
            world.until_pod_monitor(true).await
        }
        Repetition => {
            world.stage.operator.start()?;
            world.down_and_up().await
        }
        // Their loads were taken off by the rows about drains.
        Size("deployments") => world.fill(DRAINED[0]).await,
        Size("rolebasedgroupscalingadapters") => world.fill(DRAINED[1]).await,
        Start | Size(_) | Gate | Monitor | Wake => Ok(()),
    }
}

/// Makes the operator need the permission.
async fn cause(world: &World<'_>, need: Need) -> Result<()> {
    let stage = world.stage;
    match need {
        Start => stage.operator.start(),
        Size(resource) => {
            stage.operator.kill();
            world.disturb(resource).await?;
            stage.operator.start()
        }
        Drain(selector) => world.empty(selector).await,
        Gate => {
            stage.operator.start()?;
            world.replace_pod().await
        }
        Monitor => {
            stage.operator.kill();
            let delete = ["-n", &stage.namespace, "delete", "podmonitor", "plain"];
            stage.control_plane().kubectl(delete).await?;
            stage.operator.start()
        }
        NoMonitor => world.set_pod_monitor("Disabled").await,
        Repetition => world.down_and_up().await,
        Wake => {
            stage.operator.start()?;
            wait::until("an answer to the call", TOLD, async || {
                Ok(world.wake().await.ok().filter(|status| *status == 503))
            })
            .await
            .map(drop)
        }
    }
}

/// Returns what is to be read if a permission is missing.
fn text_of(grant: &Grant) -> String {
    match &*grant.resource {
        "secrets" => "the operator is not allowed to read Secret".to_owned(),
        "configmaps" => "the operator is not allowed to read ConfigMap".to_owned(),
        _ => grant.refusal(),
    }
}

async fn until_told(stage: &Stage, text: &str, place: Place) -> Result<()> {
    wait::until(&format!("{place:?} to tell: {text}"), TOLD, async || {
        let is_told = match place {
            Status => {
                let all = stage.api::<LLMAutoscaler>().list(&ListParams::default()).await?;
                let statuses = all.items.into_iter().filter_map(|object| object.status);
                let mut conditions = statuses.flat_map(|status| status.conditions);
                conditions.any(|condition| condition.message.contains(text))
            }
            // The log escapes quotation marks.
            Log => stage.operator.log_tail(10_000).replace('\\', "").contains(text),
        };
        Ok(is_told.then_some(()))
    })
    .await
}
