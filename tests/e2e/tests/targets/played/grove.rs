//! Plays Grove's controllers.
//!
//! ```text
//!  PodCliqueSet  ->  PodCliqueScalingGroup  ->  a PodClique for each replica and clique  ->  pods
//!                ->  PodClique that is in no group                                       ->  pods
//! ```
//!
//! **Sources.** It follows ai-dynamo/grove, commits 0385a7b, 075aad0, 31420ec and 0ed6b2f: names,
//! labels, owners and paths of scales. The `status.replicas` of a group repeats the spec. A replica
//! is available when each of its cliques has `minAvailable` ready pods. Only cliques that are in no
//! group have a selector. Groups and cliques take their replicas from the set only when they are
//! created.
//!
//! **Limits.** It has one replica of each set, no gangs and no gates for them, no start order, no
//! updates and no webhooks. Names of real pods end with random characters. By the source, the age
//! of its gang decides which replica of a group is deleted; here it is the highest.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{ApiResource, DynamicObject},
};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::world::{INTERVAL, Labels, World, install, is_leaving, is_ready, kind, report};

const GROUP: &str = "grove.io/podcliquescalinggroup";
const INDEX: &str = "grove.io/podcliquescalinggroup-replica-index";
const CLIQUE: &str = "grove.io/podclique";
const SET: &str = "app.kubernetes.io/part-of";
const MANAGER: &str = "app.kubernetes.io/managed-by=grove-operator";

/// A kind of Grove.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// PodCliqueSet.
    Set,
    /// PodCliqueScalingGroup.
    Group,
    /// PodClique.
    Clique,
}

impl Kind {
    fn resource(self) -> ApiResource {
        let (name, plural) = match self {
            Self::Set => ("PodCliqueSet", "podcliquesets"),
            Self::Group => ("PodCliqueScalingGroup", "podcliquescalinggroups"),
            Self::Clique => ("PodClique", "podcliques"),
        };
        kind("grove.io", "v1alpha1", name, plural)
    }
}

/// The selectors of groups and cliques. Up to v0.1.0-alpha.8 Grove did not publish them, unless it
/// made an HPA for the object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selectors {
    /// Published, as since pull request 591.
    Published,
    /// Missing, as before.
    Missing,
}

/// Grove in a stage's namespace. Dropping it stops it.
pub(crate) struct Grove {
    world: World,
    _task: JoinSet<()>,
}

impl Grove {
    /// Installs the CRDs, and starts to reconcile.
    pub(crate) async fn start(stage: &Stage, selectors: Selectors) -> Result<Self> {
        let names =
            ["podcliquesets.grove.io", "podcliquescalinggroups.grove.io", "podcliques.grove.io"];
        install(stage, include_str!("../../../fixtures/grove-crds.yaml"), &names).await?;
        let world = World::of(stage);
        let mut task = JoinSet::new();
        let its = world.clone();
        task.spawn(async move {
            loop {
                report("Grove", pass(&its, selectors).await);
                tokio::time::sleep(INTERVAL).await;
            }
        });
        Ok(Self { world, _task: task })
    }

    /// Creates a PodCliqueSet with these cliques (name, number of pods) and groups (name, cliques,
    /// replicas).
    pub(crate) async fn set(
        &self,
        name: &str,
        cliques: &[(&str, i64)],
        groups: &[(&str, &[&str], i64)],
    ) -> Result<()> {
        let spec = set_spec(cliques, groups, &Labels::new());
        self.world.create(&Kind::Set.resource(), name, Labels::new(), None, spec).await
    }

    /// Returns the replicas that an object requests.
    pub(crate) async fn replicas(&self, kind: Kind, name: &str) -> Result<i64> {
        let object = self.world.api(&kind.resource()).get(name).await?;
        object.data["spec"]["replicas"].as_i64().with_context(|| format!("{name} has no replicas"))
    }

    /// Waits until an object requests this many replicas.
    pub(crate) async fn until_replicas(&self, kind: Kind, name: &str, replicas: i64) -> Result<()> {
        wait::until(&format!("{name} to be scaled to {replicas}"), SOON, async || {
            Ok((self.replicas(kind, name).await? == replicas).then_some(()))
        })
        .await
    }

    /// Waits until a field of an object's status has this number.
    pub(crate) async fn until_status(
        &self,
        kind: Kind,
        name: &str,
        field: &str,
        count: i64,
    ) -> Result<()> {
        wait::until(&format!("{name} to have {count} {field}"), SOON, async || {
            let object = self.world.api(&kind.resource()).get_opt(name).await?;
            Ok(object.filter(|object| object.data["status"][field] == count).map(drop))
        })
        .await
    }
}

/// Returns the spec of a PodCliqueSet; the pods of all cliques get these labels.
pub(crate) fn set_spec(
    cliques: &[(&str, i64)],
    groups: &[(&str, &[&str], i64)],
    labels: &Labels,
) -> Value {
    let clique = |(name, pods): &(&str, i64)| {
        json!({
            "name": name,
            "labels": labels,
            "spec": {"roleName": name, "replicas": pods, "minAvailable": pods},
        })
    };
    let group = |(name, cliques, replicas): &(&str, &[&str], i64)| {
        json!({
            "name": name,
            "cliqueNames": cliques,
            "replicas": replicas,
            "minAvailable": 1,
        })
    };
    json!({"replicas": 1, "template": {
        "cliques": cliques.iter().map(clique).collect::<Vec<_>>(),
        "podCliqueScalingGroups": groups.iter().map(group).collect::<Vec<_>>(),
    }})
}

async fn pass(world: &World, selectors: Selectors) -> Result<()> {
    let sets = world.all(&Kind::Set.resource()).await?;
    let groups = world.all(&Kind::Group.resource()).await?;
    let cliques = world.all(&Kind::Clique.resource()).await?;
    let pods = world.pods(MANAGER).await?;
    for set in &sets {
        expand(world, set, &groups, &cliques).await?;
    }
    for group in &groups {
        let set = sets.iter().find(|set| Some(&set.name_any()) == group.labels().get(SET));
        if let Some(set) = set {
            keep_cliques(world, set, group, &cliques).await?;
        }
        write_group_status(world, group, &cliques, selectors).await?;
    }
    world.keep(&cliques.iter().flat_map(pods_of).collect(), &pods).await?;
    for clique in &cliques {
        write_clique_status(world, clique, &pods, selectors).await?;
    }
    Ok(())
}

/// Creates the groups and cliques of a set, once; afterwards they are scaled on their own.
async fn expand(
    world: &World,
    set: &DynamicObject,
    groups: &[DynamicObject],
    cliques: &[DynamicObject],
) -> Result<()> {
    let template = &set.data["spec"]["template"];
    let its_groups = template["podCliqueScalingGroups"].as_array().map_or(&[][..], Vec::as_slice);
    for group in its_groups {
        let name = format!("{}-0-{}", set.name_any(), text(group, "name"));
        if groups.iter().all(|there| there.name_any() != name) {
            let labels = labels_of(set, "pcs-podcliquescalinggroup");
            let spec = json!({
                "replicas": group["replicas"],
                "minAvailable": group["minAvailable"],
                "cliqueNames": group["cliqueNames"],
            });
            world.create(&Kind::Group.resource(), &name, labels, Some(set), spec).await?;
        }
    }
    for clique in template["cliques"].as_array().into_iter().flatten() {
        let is_in = |group: &Value| {
            group["cliqueNames"].as_array().is_some_and(|names| names.contains(&clique["name"]))
        };
        let name = format!("{}-0-{}", set.name_any(), text(clique, "name"));
        if !its_groups.iter().any(is_in) && cliques.iter().all(|there| there.name_any() != name) {
            let labels = with(labels_of(set, "pcs-podclique"), &clique["labels"]);
            world
                .create(&Kind::Clique.resource(), &name, labels, Some(set), clique["spec"].clone())
                .await?;
        }
    }
    Ok(())
}

/// Creates and deletes the cliques of a group's replicas.
async fn keep_cliques(
    world: &World,
    set: &DynamicObject,
    group: &DynamicObject,
    cliques: &[DynamicObject],
) -> Result<()> {
    let replicas = group.data["spec"]["replicas"].as_i64().unwrap_or(1);
    for index in 0..replicas {
        for clique in set.data["spec"]["template"]["cliques"].as_array().into_iter().flatten() {
            let is_in = group.data["spec"]["cliqueNames"]
                .as_array()
                .is_some_and(|names| names.contains(&clique["name"]));
            let name = format!("{}-{index}-{}", group.name_any(), text(clique, "name"));
            if is_in && cliques.iter().all(|there| there.name_any() != name) {
                let mut labels = with(labels_of(set, "pcsg-podclique"), &clique["labels"]);
                labels.insert(GROUP.to_owned(), group.name_any());
                labels.insert(INDEX.to_owned(), index.to_string());
                world
                    .create(
                        &Kind::Clique.resource(),
                        &name,
                        labels,
                        Some(group),
                        clique["spec"].clone(),
                    )
                    .await?;
            }
        }
    }
    for (clique, index) in of_group(group, cliques) {
        if index >= replicas {
            world.delete(&Kind::Clique.resource(), &clique.name_any()).await?;
        }
    }
    Ok(())
}

async fn write_group_status(
    world: &World,
    group: &DynamicObject,
    cliques: &[DynamicObject],
    selectors: Selectors,
) -> Result<()> {
    let size = group.data["spec"]["cliqueNames"].as_array().map_or(0, Vec::len);
    let mut ready: BTreeMap<i64, usize> = BTreeMap::new();
    for (clique, index) in of_group(group, cliques) {
        let pods = clique.data["status"]["readyReplicas"].as_i64().unwrap_or(0);
        let is_available = Some(pods) >= clique.data["spec"]["minAvailable"].as_i64();
        *ready.entry(index).or_default() += usize::from(is_available);
    }
    let available = ready.values().filter(|cliques| **cliques == size).count();
    let mut status = json!({
        "replicas": group.data["spec"]["replicas"],
        "scheduledReplicas": ready.len(),
        "availableReplicas": available,
        "updatedReplicas": available,
    });
    if selectors == Selectors::Published {
        status["selector"] = json!(selector(group, GROUP));
    }
    world.status(&Kind::Group.resource(), group, status).await
}

async fn write_clique_status(
    world: &World,
    clique: &DynamicObject,
    pods: &[Pod],
    selectors: Selectors,
) -> Result<()> {
    let name = clique.name_any();
    let its = |pod: &&Pod| pod.labels().get(CLIQUE) == Some(&name) && !is_leaving(pod);
    let its: Vec<_> = pods.iter().filter(its).collect();
    let mut status = json!({
        "replicas": its.len(),
        "readyReplicas": its.iter().filter(|pod| is_ready(pod)).count(),
    });
    if selectors == Selectors::Published && !clique.labels().contains_key(GROUP) {
        status["hpaPodSelector"] = json!(selector(clique, CLIQUE));
    }
    world.status(&Kind::Clique.resource(), clique, status).await
}

/// Returns the pods that a clique should have, as (name, (labels, annotations)).
fn pods_of(clique: &DynamicObject) -> Vec<(String, (Labels, Labels))> {
    let mut labels = clique.labels().clone();
    labels.insert(CLIQUE.to_owned(), clique.name_any());
    let replicas = clique.data["spec"]["replicas"].as_i64().unwrap_or(1);
    let pod = |index| (format!("{}-{index}", clique.name_any()), (labels.clone(), Labels::new()));
    (0..replicas).map(pod).collect()
}

/// Returns the cliques of a group, each with the index of its replica.
fn of_group<'a>(
    group: &DynamicObject,
    cliques: &'a [DynamicObject],
) -> impl Iterator<Item = (&'a DynamicObject, i64)> {
    let name = group.name_any();
    cliques.iter().filter_map(move |clique| {
        let labels = clique.labels();
        let index = labels.get(INDEX)?.parse().ok()?;
        (labels.get(GROUP) == Some(&name)).then_some((clique, index))
    })
}

fn labels_of(set: &DynamicObject, component: &str) -> Labels {
    let (manager, grove) = MANAGER.split_once('=').unwrap_or_default();
    let labels = [
        (manager, grove.to_owned()),
        (SET, set.name_any()),
        ("app.kubernetes.io/component", component.to_owned()),
        ("grove.io/podcliqueset-replica-index", "0".to_owned()),
    ];
    labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn with(mut labels: Labels, more: &Value) -> Labels {
    for (key, value) in more.as_object().into_iter().flatten() {
        labels.insert(key.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    labels
}

fn selector(object: &DynamicObject, label: &str) -> String {
    let set = object.labels().get(SET).map(String::as_str).unwrap_or_default();
    format!("{MANAGER},{SET}={set},{label}={}", object.name_any())
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}
