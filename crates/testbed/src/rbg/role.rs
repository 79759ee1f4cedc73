//! The roles of a group's spec.

use anyhow::{Context, Result, bail};
use kube::api::{ApiResource, DynamicObject};
use serde_json::{Map, Value};

use super::labels::{PATTERN, WORKLOAD_TYPE};
use super::objects::Kind;
use super::world;

/// A role of a group, parsed from the spec.
#[derive(Debug, Clone)]
pub(super) struct Role {
    pub(super) name: String,
    pub(super) replicas: i64,
    /// The further labels of its adapter; `None` if it has no adapter.
    pub(super) adapter: Option<Map<String, Value>>,
    pub(super) workload: Workload,
    /// True if its instances have random names instead of ordinals.
    pub(super) is_stateless: bool,
    /// True if instances are created one after the other, and a scale-down waits for unready ones.
    /// Always false for stateless roles.
    pub(super) is_ordered: bool,
    pub(super) rollout: Rollout,
    /// The pods of a replica, or the error for which the role is refused.
    pub(super) pattern: Result<Pattern, String>,
}

/// The workload kind of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Workload {
    InstanceSet,
    StatefulSet,
    Deployment,
}

/// The limits of a rollout of a new template.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Rollout {
    /// True if no instance is replaced.
    pub(super) is_paused: bool,
    /// The number of instances that keep an outdated template: a number or a percentage.
    partition: Value,
    /// The number of instances that may be unavailable at a time: a number or a percentage.
    max_unavailable: Value,
    /// The number of further instances during a rollout: a number or a percentage.
    max_surge: Value,
    /// True if pods are never updated in place.
    pub(super) recreates: bool,
    /// The same, as the spec has it.
    pub(super) strategy: Value,
}

/// The pods of one replica.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pub(super) shape: Shape,
    pub(super) components: Vec<Component>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Standalone,
    LeaderWorker,
    Custom,
}

impl Shape {
    /// Returns its name in the label `role-type`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Standalone => "PodTemplate",
            Self::LeaderWorker => "LeaderWorkerSet",
            Self::Custom => "Components",
        }
    }
}

/// A number of pods of one template.
#[derive(Debug, Clone)]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) size: i64,
    pub(super) template: Value,
}

impl Workload {
    pub(super) const ALL: [Self; 3] = [Self::InstanceSet, Self::StatefulSet, Self::Deployment];

    pub(super) fn resource(self) -> ApiResource {
        match self {
            Self::InstanceSet => Kind::InstanceSet.resource(),
            Self::StatefulSet => world::stateful_sets(),
            Self::Deployment => world::deployments(),
        }
    }

    ///
    ///
    /// # Errors
    /// Fails for a kind that the stand-in does not support.
    fn of(role: &Value) -> Result<Self> {
        Ok(match role["annotations"][WORKLOAD_TYPE].as_str() {
            None | Some("workloads.x-k8s.io/v1alpha2/RoleInstanceSet") => Self::InstanceSet,
            Some("apps/v1/StatefulSet") => Self::StatefulSet,
            Some("apps/v1/Deployment") => Self::Deployment,
            Some(other) => bail!("the stand-in makes no {other}"),
        })
    }
}

impl Rollout {
    fn of(strategy: &Value) -> Self {
        Self {
            is_paused: strategy["paused"] == true,
            partition: strategy["partition"].clone(),
            max_unavailable: strategy["maxUnavailable"].clone(),
            max_surge: strategy["maxSurge"].clone(),
            recreates: strategy["type"] == "RecreatePod",
            strategy: strategy.clone(),
        }
    }

    /// Returns the number of `replicas` that keep an outdated template.
    pub(super) fn partition(&self, replicas: i64) -> i64 {
        share(&self.partition, replicas).unwrap_or(0)
    }

    /// Returns the number of `replicas` that may be unavailable at a time: at least one where there
    /// is no surge, or no rollout would proceed.
    pub(super) fn max_unavailable(&self, replicas: i64) -> i64 {
        let least = i64::from(self.max_surge(replicas) == 0);
        share(&self.max_unavailable, replicas).unwrap_or(1).max(least)
    }

    /// Returns the number of instances above `replicas` during a rollout.
    pub(super) fn max_surge(&self, replicas: i64) -> i64 {
        share(&self.max_surge, replicas).unwrap_or(0)
    }
}

/// Returns a number, or a percentage of `of`, rounded down.
fn share(value: &Value, of: i64) -> Option<i64> {
    let percent = |text: &str| text.strip_suffix('%')?.parse::<i64>().ok();
    value.as_i64().or_else(|| Some(percent(value.as_str()?)? * of / 100))
}

/// Parses the roles of a group.
pub(super) fn roles(group: &DynamicObject) -> Vec<Role> {
    let roles = group.data["spec"]["roles"].as_array();
    roles.into_iter().flatten().map(|role| read(group, role)).collect()
}

fn read(group: &DynamicObject, role: &Value) -> Role {
    let name = role["name"].as_str().unwrap_or_default().to_owned();
    let wants_adapter = role["scalingAdapter"]["enable"].as_bool().unwrap_or(false);
    let labels = || role["scalingAdapter"]["labels"].as_object().cloned().unwrap_or_default();
    let workload = Workload::of(role);
    let error = workload.as_ref().err().map(ToString::to_string);
    let pattern = pattern(group, &name, role).map_err(|error| format!("{error:#}"));
    Role {
        replicas: role["replicas"].as_i64().unwrap_or(1),
        is_stateless: role["annotations"][PATTERN] == "Stateless",
        is_ordered: role["podManagementPolicy"] == "OrderedReady",
        rollout: Rollout::of(&role["rolloutStrategy"]["rollingUpdate"]),
        adapter: wants_adapter.then(labels),
        workload: workload.unwrap_or(Workload::InstanceSet),
        pattern: error.map_or(pattern, Err),
        name,
    }
}

fn pattern(group: &DynamicObject, name: &str, role: &Value) -> Result<Pattern> {
    let component =
        |name: &str, size: i64, template| Component { name: name.to_owned(), size, template };
    if let Some(standalone) = role.get("standalonePattern") {
        let components = vec![component(name, 1, template(group, standalone)?)];
        return Ok(Pattern { shape: Shape::Standalone, components });
    }
    if let Some(nodes) = role.get("leaderWorkerPattern") {
        let base = template(group, nodes)?;
        let patched = |patch: &str| {
            let mut template = base.clone();
            merge(&mut template, nodes.get(patch).unwrap_or(&Value::Object(Map::new())));
            template
        };
        let workers = nodes["size"].as_i64().unwrap_or(1) - 1;
        let leader = component("leader", 1, patched("leaderTemplatePatch"));
        let workers = component("worker", workers, patched("workerTemplatePatch"));
        return Ok(Pattern { shape: Shape::LeaderWorker, components: vec![leader, workers] });
    }
    if let Some(custom) = role["customComponentsPattern"]["components"].as_array() {
        let read = |part: &Value| {
            let name = part["name"].as_str().unwrap_or_default();
            Ok(component(name, part["size"].as_i64().unwrap_or(1), template(group, part)?))
        };
        let components = custom.iter().map(read).collect::<Result<_>>()?;
        return Ok(Pattern { shape: Shape::Custom, components });
    }
    bail!("no valid pattern found")
}

/// Returns the pod template of a pattern, or the group's template that it refers to.
fn template(group: &DynamicObject, pattern: &Value) -> Result<Value> {
    if let Some(template) = pattern.get("template") {
        return Ok(template.clone());
    }
    let wanted =
        pattern["templateRef"]["name"].as_str().context("neither template nor templateRef")?;
    let templates = group.data["spec"]["roleTemplates"].as_array();
    let found = templates.into_iter().flatten().find(|template| template["name"] == wanted);
    let mut template =
        found.with_context(|| format!("no role template {wanted}"))?["template"].clone();
    merge(&mut template, pattern["templateRef"].get("patch").unwrap_or(&Value::Object(Map::new())));
    Ok(template)
}

/// Applies a JSON merge patch.
fn merge(base: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *base = patch.clone();
        return;
    };
    if !base.is_object() {
        *base = Value::Object(Map::new());
    }
    for (key, value) in patch {
        if value.is_null() {
            base.as_object_mut().map(|base| base.remove(key));
        } else {
            merge(&mut base[key], value);
        }
    }
}
