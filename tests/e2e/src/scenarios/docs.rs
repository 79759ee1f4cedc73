//! The YAML of README and the pages in `docs`, as a reader would apply it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::PostParams};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};

use crate::{
    Stage,
    pages::{self, Block},
};

/// Groups of kinds that other projects install. Their objects are read as YAML where the API server
/// has no such kind. An object of any other group that it does not have is a mistake in the page.
const FOREIGN: [&str; 18] = [
    "argoproj.io",
    "cert-manager.io",
    "disaggregatedset.x-k8s.io",
    "example.com",
    "grove.io",
    "helm.toolkit.fluxcd.io",
    "keda.sh",
    "kustomize.config.k8s.io",
    "kustomize.toolkit.fluxcd.io",
    "leaderworkerset.x-k8s.io",
    "monitoring.coreos.com",
    "networking.istio.io",
    "nvidia.com",
    "policy.linkerd.io",
    "security.istio.io",
    "serving.kserve.io",
    "source.toolkit.fluxcd.io",
    "workloads.x-k8s.io",
];

/// The fewest objects and fragments that the pages have. Fewer were found if blocks are overlooked.
const FEWEST: usize = 30;

/// How long the operator may take to judge one spec, on a busy machine.
const JUDGED: Duration = Duration::from_mins(1);

/// The documents of all pages, by how they are checked.
#[derive(Default)]
struct Documents {
    /// Objects of kinds that the API server has, and fragments within such an object.
    objects: Vec<(String, Value)>,
    /// Kinds that the API server does not have.
    foreign: BTreeSet<String>,
    /// Blocks that are no Kubernetes objects.
    other: usize,
}

/// The API server accepts every object in the documentation and every fragment of one, and the
/// operator every spec of an LLMAutoscaler in it.
pub(super) async fn every_yaml_of_the_docs_is_accepted(stage: &Stage) -> Result<String> {
    let served = groups(stage).await?;
    let mut documents = Documents::default();
    let mut unread = Vec::new();
    for block in pages::blocks("yaml")? {
        if let Err(error) = documents.add(&block, &served) {
            unread.push(format!("{}: {error:#}", block.place));
        }
    }
    ensure!(unread.is_empty(), "{}", unread.join("\n    "));
    let Documents { objects, foreign, other } = documents;
    ensure!(objects.len() >= FEWEST, "only {} objects were found in the pages", objects.len());
    create_namespaces(stage, &objects).await?;
    let (mut specs, mut faults) = (BTreeMap::new(), Vec::new());
    for (index, (place, object)) in objects.iter().enumerate() {
        if let Err(error) = dry_run(stage, object).await {
            faults.push(format!("{place}: {error:#}"));
        } else if object["kind"] == "LLMAutoscaler" {
            specs.insert(format!("docs-{index}"), (place, object["spec"].clone()));
        }
    }
    for (name, (place, spec)) in &specs {
        create(stage, name, spec).await.with_context(|| format!("in {place}"))?;
    }
    for (name, (place, _)) in &specs {
        if let Err(error) = judged(stage, name).await {
            faults.push(format!("{place}: {error:#}"));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n    "));
    let foreign: Vec<String> = foreign.into_iter().collect();
    Ok(format!(
        "{} objects and fragments were accepted, {} of them LLMAutoscalers; read as YAML only: {other} \
         blocks that are no objects, and {}",
        objects.len(),
        specs.len(),
        foreign.join(", ")
    ))
}

impl Documents {
    fn add(&mut self, block: &Block, served: &BTreeSet<String>) -> Result<()> {
        let found: Vec<Value> = serde_saphyr::from_multiple(&block.text)?;
        match block.marks.iter().find_map(|mark| mark.strip_prefix("fragment=")) {
            Some(path) => {
                for fragment in found {
                    self.objects.push((block.place.clone(), whole(path, fragment)?));
                }
            }
            None if block.marks.iter().any(|mark| mark == "other") => self.other += 1,
            None => {
                for object in found {
                    self.add_object(block, object, served)?;
                }
            }
        }
        Ok(())
    }

    fn add_object(
        &mut self,
        block: &Block,
        object: Value,
        served: &BTreeSet<String>,
    ) -> Result<()> {
        let (Some(version), Some(kind)) = (object["apiVersion"].as_str(), object["kind"].as_str())
        else {
            bail!(
                "the block has no apiVersion and kind: begin it with ```yaml fragment=LLMAutoscaler/spec \
                 (a part of that object), or with ```yaml other (no Kubernetes object)"
            );
        };
        let group = version.split_once('/').map_or("", |(group, _)| group);
        if served.contains(group) {
            self.objects.push((block.place.clone(), object));
        } else {
            ensure!(FOREIGN.contains(&group), "the API server has no group {group}");
            self.foreign.insert(format!("{kind} ({group})"));
        }
        Ok(())
    }
}

/// Returns the object that a fragment completes. `path` is a kind, and the fields that lead to the
/// fragment unless it begins at the top: `LLMAutoscaler`, `StatefulSet/spec/template/spec`.
fn whole(path: &str, fragment: Value) -> Result<Value> {
    let (kind, fields) = path.split_once('/').unwrap_or((path, ""));
    let mut object = match kind {
        "LLMAutoscaler" => json!({
            "apiVersion": "llmautoscaler.io/v1alpha1", "kind": kind,
            "metadata": {"name": "qwen3"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "qwen3"},
                "engine": "VLLM", "maxReplicas": 8,
                "metrics": [{
                    "signal": "InFlightRequests",
                    "target": {"type": "AverageValue", "averageValue": "32"},
                }],
            },
        }),
        "StatefulSet" | "Deployment" => json!({
            "apiVersion": "apps/v1", "kind": kind,
            "metadata": {"name": "qwen3"},
            "spec": {
                "selector": {"matchLabels": {"app": "qwen3"}},
                "template": {
                    "metadata": {"labels": {"app": "qwen3"}},
                    "spec": {"containers": [{"name": "engine", "image": "vllm/vllm-openai"}]},
                },
            },
        }),
        other => bail!("there is no object around a fragment of {other}"),
    };
    let names = fields.rsplit('/').filter(|name| !name.is_empty());
    let nested = names.fold(fragment, |inner, field| match field.parse::<usize>() {
        Ok(_) => Value::Array(vec![inner]),
        Err(_) => json!({field: inner}),
    });
    merge(&mut object, nested);
    Ok(object)
}

/// Merges objects field by field. Other values are replaced, lists too.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (field, value) in from {
                merge(into.entry(field).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Returns the groups that the API server has; the core group is empty.
async fn groups(stage: &Stage) -> Result<BTreeSet<String>> {
    let groups = stage.client().list_api_groups().await?.groups;
    let names = groups.into_iter().map(|group| group.name);
    // Another scenario installs this one, and takes it away again.
    let mut names: BTreeSet<String> =
        names.filter(|name| name != "monitoring.coreos.com").collect();
    names.insert(String::new());
    Ok(names)
}

async fn create_namespaces(stage: &Stage, objects: &[(String, Value)]) -> Result<()> {
    let api: Api<Namespace> = Api::all(stage.client());
    let named = objects.iter().filter_map(|(_, object)| object["metadata"]["namespace"].as_str());
    for name in named.collect::<BTreeSet<_>>() {
        if api.get_opt(name).await?.is_none() {
            let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
            api.create(&PostParams::default(), &namespace).await?;
        }
    }
    Ok(())
}

/// Applies an object as `kubectl apply --server-side` does, without keeping it.
async fn dry_run(stage: &Stage, object: &Value) -> Result<()> {
    let file = stage.folder()?.join("docs.json");
    tokio::fs::write(&file, object.to_string()).await?;
    let file = file.to_string_lossy();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(&stage.namespace);
    let apply = ["apply", "--server-side", "--dry-run=server", "--force-conflicts"];
    let args = [&["-n", namespace][..], &apply, &["-f", &file]].concat();
    stage.control_plane().kubectl(args).await?;
    Ok(())
}

/// Creates an LLMAutoscaler of this spec, for a target that does not exist.
async fn create(stage: &Stage, name: &str, spec: &Value) -> Result<()> {
    let object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {"name": name, "namespace": stage.namespace},
        "spec": spec,
    });
    let object: LLMAutoscaler = serde_json::from_value(object)?;
    stage.api::<LLMAutoscaler>().create(&PostParams::default(), &object).await?;
    Ok(())
}

/// Waits until the operator has reported on a spec, and fails if it refuses the spec.
async fn judged(stage: &Stage, name: &str) -> Result<()> {
    let conditions = wait::until(&format!("{name} to be judged"), JUDGED, async || {
        let conditions = stage.status(name).await?.conditions;
        Ok(conditions.iter().any(|it| it.type_ == "Ready").then_some(conditions))
    })
    .await?;
    let refused = conditions.iter().find(|it| it.reason == "InvalidSpec");
    ensure!(refused.is_none(), "the operator refuses the spec: {refused:?}");
    Ok(())
}
