//! Plays the controllers of Dynamo's DynamoGraphDeployments and of their scaling adapters.
//!
//! ```text
//!  DynamoGraphDeployment  <->  DynamoGraphDeploymentScalingAdapter  (autoscalers write its /scale)
//!          |
//!     Grove's PodCliqueSet, or LeaderWorkerSets  ->  pods, one for each node of a replica
//! ```
//!
//! **Sources.** It follows ai-dynamo/dynamo, commits 0670f73, 0fddc01 and 5b768b0. An adapter is
//! created for each component with `scalingAdapter`. It is named GRAPH-COMPONENT in lower case and
//! has the component's replicas; from then on its number overrides the component's. Its
//! `status.replicas` repeats its spec, and its selector matches all pods of the component. On Grove
//! a component of several nodes is a scaling group of the cliques COMPONENT-ldr and COMPONENT-wkr.
//! With LeaderWorkerSets it was one set per replica until pull request 5468, which is what this
//! plays.
//!
//! **Limits.** It has no webhooks, no conversion, no component groups, no updates and no frontends.
//! It creates pods of LeaderWorkerSets without their controller.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use kube::{
    ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    grove::set_spec,
    world::{INTERVAL, Labels, World, install, kind, report},
};

const GRAPH: &str = "nvidia.com/dynamo-graph-deployment-name";
const COMPONENT: &str = "nvidia.com/dynamo-component";
const LWS: &str = "leaderworkerset.sigs.k8s.io";

/// The controller that creates the pods of components of several nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    /// Grove, which has to be played, too.
    Grove,
    /// LeaderWorkerSets, one per replica.
    LeaderWorkerSets,
    /// A controller that gives its pods no label with their replica.
    Unlabelled,
}

/// Dynamo in a stage's namespace. Dropping it stops it.
pub(crate) struct Dynamo {
    world: World,
    _task: JoinSet<()>,
}

impl Dynamo {
    /// Installs the CRDs, and starts to reconcile.
    pub(crate) async fn start(stage: &Stage, provider: Provider) -> Result<Self> {
        Self::start_with(stage, provider, Duration::ZERO).await
    }

    /// Like [`Dynamo::start`], with adapters that have no status for the time `binding`.
    pub(crate) async fn start_with(
        stage: &Stage,
        provider: Provider,
        binding: Duration,
    ) -> Result<Self> {
        let names = [
            "dynamographdeployments.nvidia.com",
            "dynamographdeploymentscalingadapters.nvidia.com",
        ];
        install(stage, include_str!("../../../fixtures/dynamo-crds.yaml"), &names).await?;
        let world = World::of(stage);
        let mut task = JoinSet::new();
        let mut played = Played { world: world.clone(), provider, binding, seen: HashMap::new() };
        task.spawn(async move {
            loop {
                report("Dynamo", played.pass().await);
                tokio::time::sleep(INTERVAL).await;
            }
        });
        Ok(Self { world, _task: task })
    }

    /// Creates a graph with one component that has an adapter; each replica has `nodes` nodes.
    pub(crate) async fn graph(
        &self,
        name: &str,
        component: &str,
        nodes: i64,
        replicas: i64,
    ) -> Result<()> {
        let component = json!({
            "name": component, "type": "worker", "replicas": replicas, "scalingAdapter": {},
            "multinode": {"nodeCount": nodes},
        });
        self.world
            .create(&graphs(), name, Labels::new(), None, json!({"components": [component]}))
            .await
    }

    /// Returns the replicas of a graph's first component and of its adapter.
    pub(crate) async fn replicas(&self, graph: &str) -> Result<(i64, i64)> {
        let graph = self.world.api(&graphs()).get(graph).await?;
        let component = component_of(&graph).context("a graph without components")?;
        let adapter = self.world.api(&adapters()).get(&adapter_of(&graph, component)).await?;
        let count = |of: &Value| of["replicas"].as_i64().unwrap_or(-1);
        Ok((count(component), count(&adapter.data["spec"])))
    }

    /// Waits until both request this many replicas.
    pub(crate) async fn until_replicas(&self, graph: &str, replicas: i64) -> Result<()> {
        wait::until(&format!("{graph} to be scaled to {replicas}"), SOON, async || {
            Ok((self.replicas(graph).await.ok() == Some((replicas, replicas))).then_some(()))
        })
        .await
    }
}

struct Played {
    world: World,
    provider: Provider,
    binding: Duration,
    /// The time at which each adapter was first seen, by UID.
    seen: HashMap<String, Instant>,
}

impl Played {
    async fn pass(&mut self) -> Result<()> {
        let adapters = self.world.all(&adapters()).await?;
        for graph in self.world.all(&graphs()).await? {
            let Some(component) = component_of(&graph) else { continue };
            let name = adapter_of(&graph, component);
            match adapters.iter().find(|adapter| adapter.name_any() == name) {
                Some(adapter) => self.propagate(&graph, component, adapter).await?,
                None => self.make_adapter(&graph, component, &name).await?,
            }
            if self.provider == Provider::Grove {
                self.on_grove(&graph, component).await?;
            } else {
                self.make_pods(&graph, component).await?;
            }
        }
        Ok(())
    }

    async fn make_adapter(
        &self,
        graph: &DynamicObject,
        component: &Value,
        name: &str,
    ) -> Result<()> {
        let reference = json!({"name": graph.name_any(), "componentName": component["name"]});
        let spec = json!({"replicas": component["replicas"], "dgdRef": reference});
        self.world.create(&adapters(), name, labels(graph, component), Some(graph), spec).await
    }

    /// Sets the component's replicas to the adapter's.
    async fn propagate(
        &mut self,
        graph: &DynamicObject,
        component: &Value,
        adapter: &DynamicObject,
    ) -> Result<()> {
        let since =
            *self.seen.entry(adapter.uid().unwrap_or_default()).or_insert_with(Instant::now);
        if since.elapsed() < self.binding {
            return Ok(());
        }
        let replicas = &adapter.data["spec"]["replicas"];
        if component["replicas"] != *replicas {
            let patch = json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": graph.metadata.resource_version},
                {"op": "replace", "path": "/spec/components/0/replicas", "value": replicas},
            ]);
            let patch = Patch::<Value>::Json(serde_json::from_value(patch)?);
            self.world
                .api(&graphs())
                .patch(&graph.name_any(), &PatchParams::default(), &patch)
                .await?;
        }
        let labels = labels(graph, component);
        let selector: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let status = json!({"replicas": replicas, "selector": selector.join(",")});
        self.world.status(&adapters(), adapter, status).await
    }

    /// Creates the component's PodCliqueSet, which is only a template: afterwards its scaling group
    /// is scaled.
    async fn on_grove(&self, graph: &DynamicObject, component: &Value) -> Result<()> {
        let (sets, groups) = (grove("PodCliqueSet"), grove("PodCliqueScalingGroup"));
        let (name, nodes, replicas) = (lower(component), nodes(component), replicas(component));
        if self.world.api(&sets).get_opt(&graph.name_any()).await?.is_none() {
            let (leader, worker) = (format!("{name}-ldr"), format!("{name}-wkr"));
            let members = [&*leader, &*worker];
            let cliques = [(members[0], 1), (members[1], nodes - 1)];
            let spec =
                set_spec(&cliques, &[(&name, &members, replicas)], &labels(graph, component));
            return self
                .world
                .create(&sets, &graph.name_any(), Labels::new(), Some(graph), spec)
                .await;
        }
        let group = format!("{}-0-{name}", graph.name_any());
        match self.world.api(&groups).get_opt(&group).await? {
            Some(group) => self.world.resize(&groups, &group, replicas).await,
            None => Ok(()),
        }
    }

    async fn make_pods(&self, graph: &DynamicObject, component: &Value) -> Result<()> {
        let mut wanted = BTreeMap::new();
        for replica in 0..replicas(component) {
            let set = format!("{}-{}-{replica}", graph.name_any(), lower(component));
            for node in 0..nodes(component) {
                let name = if node == 0 { format!("{set}-0") } else { format!("{set}-0-{node}") };
                let (mut labels, mut annotations) = (labels(graph, component), Labels::new());
                if self.provider == Provider::LeaderWorkerSets {
                    let its = [
                        ("name", set.clone()),
                        ("group-index", "0".to_owned()),
                        ("group-key", format!("key-of-{set}-0")),
                        ("worker-index", node.to_string()),
                    ];
                    labels.extend(its.map(|(key, value)| (format!("{LWS}/{key}"), value)));
                    annotations.insert(format!("{LWS}/size"), nodes(component).to_string());
                }
                wanted.insert(name, (labels, annotations));
            }
        }
        let there = self.world.pods(&format!("{GRAPH}={}", graph.name_any())).await?;
        self.world.keep(&wanted, &there).await
    }
}

fn graphs() -> ApiResource {
    kind("nvidia.com", "v1beta1", "DynamoGraphDeployment", "dynamographdeployments")
}

fn adapters() -> ApiResource {
    let name = "DynamoGraphDeploymentScalingAdapter";
    kind("nvidia.com", "v1beta1", name, "dynamographdeploymentscalingadapters")
}

fn grove(name: &str) -> ApiResource {
    kind("grove.io", "v1alpha1", name, &format!("{}s", name.to_lowercase()))
}

/// Returns the component that has an adapter.
fn component_of(graph: &DynamicObject) -> Option<&Value> {
    graph.data["spec"]["components"]
        .get(0)
        .filter(|component| component["scalingAdapter"].is_object())
}

fn adapter_of(graph: &DynamicObject, component: &Value) -> String {
    format!("{}-{}", graph.name_any(), lower(component))
}

fn labels(graph: &DynamicObject, component: &Value) -> Labels {
    let name = component["name"].as_str().unwrap_or_default();
    [(GRAPH, &*graph.name_any()), (COMPONENT, name)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn lower(component: &Value) -> String {
    component["name"].as_str().unwrap_or_default().to_lowercase()
}

fn nodes(component: &Value) -> i64 {
    component["multinode"]["nodeCount"].as_i64().unwrap_or(1)
}

fn replicas(component: &Value) -> i64 {
    component["replicas"].as_i64().unwrap_or(1)
}
