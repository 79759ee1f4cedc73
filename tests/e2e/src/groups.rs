//! RoleBasedGroups on a stage, with the stand-in for their controller.

use std::collections::BTreeMap;
use std::fmt::Debug;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use llm_autoscaler_testbed::RbgController;
use llm_autoscaler_testbed::rbg::{Kind, Options};
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};

use crate::{SOON, Stage};

/// The prefix of the controller's labels.
pub const PREFIX: &str = "rbg.workloads.x-k8s.io";

/// The groups of a stage's namespace, which the stand-in reconciles.
pub struct Groups<'a> {
    /// The stage.
    pub stage: &'a Stage,
    controller: Option<RbgController>,
}

/// The counts of a role in `roleStatuses`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// The number of existing replicas.
    pub replicas: i64,
    /// The number of ready replicas.
    pub ready: i64,
    /// The number of replicas with the latest template.
    pub updated: i64,
}

impl<'a> Groups<'a> {
    /// Starts the stand-in.
    ///
    /// # Errors
    /// Fails if its CRDs are refused.
    pub async fn start(stage: &'a Stage) -> Result<Self> {
        Self::start_with(stage, |_| {}).await
    }

    /// Like [`Groups::start`], with other options.
    ///
    /// # Errors
    /// Same as [`Groups::start`].
    pub async fn start_with(stage: &'a Stage, change: impl Fn(&mut Options)) -> Result<Self> {
        let mut options = Options::in_namespace(&stage.namespace);
        change(&mut options);
        let controller = Some(RbgController::start(stage.control_plane(), options).await?);
        Ok(Self { stage, controller })
    }

    /// Stops the stand-in; from then on writes have no effect.
    pub fn stop(&mut self) {
        self.controller = None;
    }

    /// Returns the API of a kind in the stage's namespace.
    pub fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.stage.client(), &self.stage.namespace, &kind.resource())
    }

    /// Creates an object with a spec.
    ///
    /// # Errors
    /// Fails if the API server refuses it.
    pub async fn create(&self, kind: Kind, name: &str, spec: Value) -> Result<DynamicObject> {
        let mut object = DynamicObject::new(name, &kind.resource());
        object.data = json!({"spec": spec});
        let created = self.api(kind).create(&PostParams::default(), &object).await;
        created.with_context(|| format!("creating {} {name}", kind.name()))
    }

    /// Creates a group of roles, and waits until it has all of its replicas, all are ready, and all
    /// adapters are bound and up to date.
    ///
    /// # Errors
    /// Fails if that does not happen in time.
    pub async fn group(&self, name: &str, roles: &[Value]) -> Result<()> {
        self.create(Kind::Group, name, json!({"roles": roles})).await?;
        self.until(Kind::Group, name, "Ready=True", |group| condition(group, "Ready") == "True")
            .await?;
        for role in roles.iter().filter(|role| role["scalingAdapter"]["enable"] == true) {
            let adapter = format!("{name}-{}", role["name"].as_str().unwrap_or_default());
            self.until_bound(&adapter).await?;
            let replicas = role["replicas"].as_i64();
            let knows =
                |adapter: &DynamicObject| number(adapter, "/status/readyReplicas") == replicas;
            self.until(Kind::Adapter, &adapter, "readyReplicas of its role", knows).await?;
        }
        Ok(())
    }

    /// Returns the object of a name.
    ///
    /// # Errors
    /// Fails if it does not exist.
    pub async fn get(&self, kind: Kind, name: &str) -> Result<DynamicObject> {
        self.api(kind).get(name).await.with_context(|| format!("reading {} {name}", kind.name()))
    }

    /// Waits until `expected` holds for an object, and returns the object.
    ///
    /// # Errors
    /// Fails if that does not happen in time.
    pub async fn until(
        &self,
        kind: Kind,
        name: &str,
        what: &str,
        is_so: impl Fn(&DynamicObject) -> bool,
    ) -> Result<DynamicObject> {
        let api = self.api(kind);
        let seen = wait::until(&format!("{} {name}: {what}", kind.name()), SOON, async || {
            Ok(api.get_opt(name).await?.filter(&is_so))
        })
        .await;
        match seen {
            Ok(object) => Ok(object),
            Err(error) => {
                let last = api
                    .get_opt(name)
                    .await?
                    .map(|object| (number(&object, "/spec/replicas"), object));
                let last =
                    last.map(|(replicas, object)| (replicas, object.data["status"].to_string()));
                bail!("{error:#}; its replicas and its status are {last:?}")
            }
        }
    }

    /// Waits until an adapter is bound.
    ///
    /// # Errors
    /// Fails if that does not happen in time.
    pub async fn until_bound(&self, name: &str) -> Result<DynamicObject> {
        self.until(Kind::Adapter, name, "phase Bound", |adapter| {
            text(adapter, "/status/phase") == "Bound"
        })
        .await
    }

    /// Waits until a role has `replicas` replicas, of which `ready` are ready.
    ///
    /// # Errors
    /// Fails if that does not happen in time.
    pub async fn until_role(
        &self,
        group: &str,
        role: &str,
        replicas: i64,
        ready: i64,
    ) -> Result<()> {
        let what = format!("{replicas} replicas of {role}, {ready} ready");
        let is_so = |group: &DynamicObject| {
            counts(group, role)
                .is_some_and(|counts| (counts.replicas, counts.ready) == (replicas, ready))
        };
        self.until(Kind::Group, group, &what, is_so).await.map(drop)
    }

    /// Writes the scale of an adapter as an autoscaler does.
    ///
    /// # Errors
    /// Fails if the write is refused.
    pub async fn scale(&self, adapter: &str, replicas: i64) -> Result<Scale> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let scale =
            self.api(Kind::Adapter).patch_scale(adapter, &PatchParams::default(), &patch).await;
        scale.with_context(|| format!("scaling {adapter} to {replicas}"))
    }

    /// Merges a patch into an object's spec.
    ///
    /// # Errors
    /// Fails if the API server refuses it.
    pub async fn patch(&self, kind: Kind, name: &str, spec: Value) -> Result<DynamicObject> {
        let patch = Patch::Merge(json!({"spec": spec}));
        Ok(self.api(kind).patch(name, &PatchParams::default(), &patch).await?)
    }

    /// Changes the template of a group's only role, which is a standalone one.
    ///
    /// # Errors
    /// Fails if the API server refuses it.
    pub async fn patch_template(&self, group: &str, version: &str) -> Result<()> {
        let metadata = json!({"annotations": {"version": version}});
        self.patch_role(group, 0, "standalonePattern/template/metadata", metadata).await
    }

    /// Replaces a field of the role at an index.
    ///
    /// # Errors
    /// Fails if the API server refuses it.
    pub async fn patch_role(
        &self,
        group: &str,
        index: usize,
        field: &str,
        value: Value,
    ) -> Result<()> {
        let place = format!("/spec/roles/{index}/{field}");
        let patch = json!([{"op": "add", "path": place, "value": value}]);
        let patch = Patch::<Value>::Json(serde_json::from_value(patch)?);
        self.api(Kind::Group).patch(group, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Returns the pods that match a selector, by name.
    ///
    /// # Errors
    /// Fails if the API server does not answer.
    pub async fn pods(&self, selector: &str) -> Result<BTreeMap<String, Pod>> {
        let params = ListParams::default().labels(selector);
        let pods = self.stage.api::<Pod>().list(&params).await?;
        Ok(pods.items.into_iter().map(|pod| (pod.name_any(), pod)).collect())
    }

    /// Returns the pods of a role, by name.
    ///
    /// # Errors
    /// Fails if the API server does not answer.
    pub async fn pods_of(&self, group: &str, role: &str) -> Result<BTreeMap<String, Pod>> {
        self.pods(&format!("{PREFIX}/group-name={group},{PREFIX}/role-name={role}")).await
    }
}

/// Asserts a behaviour that was measured on the real controller; `name` describes it.
///
/// # Errors
/// Fails if the stand-in behaves differently.
pub fn measured(name: &str, holds: bool, seen: impl Debug) -> Result<()> {
    ensure!(holds, "the real controller does this, the stand-in does not: {name}; seen: {seen:?}");
    Ok(())
}

/// Asserts a behaviour that was read in the real controller's source; `name` describes it.
///
/// # Errors
/// Fails if the stand-in behaves differently.
pub fn in_its_source(name: &str, holds: bool, seen: impl Debug) -> Result<()> {
    ensure!(
        holds,
        "the real controller does this by its source, the stand-in does not: {name}; observed: {seen:?}"
    );
    Ok(())
}

/// Returns a role with one pod per replica.
pub fn standalone(stage: &Stage, name: &str, replicas: i64) -> Value {
    json!({"name": name, "replicas": replicas, "standalonePattern": {"template": template(stage)}})
}

/// Returns a role with a leader and workers per replica, `size` pods in all.
pub fn leader_worker(stage: &Stage, name: &str, replicas: i64, size: i64) -> Value {
    let pattern = json!({"size": size, "template": template(stage)});
    json!({"name": name, "replicas": replicas, "leaderWorkerPattern": pattern})
}

/// Returns a role with a router and two engines per replica.
pub fn custom(stage: &Stage, name: &str, replicas: i64) -> Value {
    let component =
        |name: &str, size: i64| json!({"name": name, "size": size, "template": template(stage)});
    let pattern = json!({"components": [component("router", 1), component("engine", 2)]});
    json!({"name": name, "replicas": replicas, "customComponentsPattern": pattern})
}

/// Adds an adapter to a role.
pub fn scalable(mut role: Value) -> Value {
    role["scalingAdapter"] = json!({"enable": true});
    role
}

/// Sets a role's workload kind, such as `apps/v1/StatefulSet`.
pub fn as_kind(mut role: Value, kind: &str) -> Value {
    role["annotations"] = json!({format!("{PREFIX}/role-workload-type"): kind});
    role
}

/// Makes a role stateless: its instances have random names.
pub fn stateless(mut role: Value) -> Value {
    role["annotations"] = json!({format!("{PREFIX}/role-instance-pattern"): "Stateless"});
    role
}

fn template(stage: &Stage) -> Value {
    let port = json!({"name": "http", "containerPort": stage.port()});
    json!({"spec": {"containers": [{"name": "engine", "image": "engine", "ports": [port]}]}})
}

/// Returns the counts of a role in a group's status.
pub fn counts(group: &DynamicObject, role: &str) -> Option<Counts> {
    let statuses = group.data["status"]["roleStatuses"].as_array();
    let status = statuses?.iter().find(|status| status["name"] == role)?;
    let count = |field: &str| status[field].as_i64().unwrap_or(-1);
    let [replicas, ready, updated] = ["replicas", "readyReplicas", "updatedReplicas"].map(count);
    Some(Counts { replicas, ready, updated })
}

/// Returns the replicas of a role in a group's spec.
pub fn replicas_of(group: &DynamicObject, role: &str) -> Option<i64> {
    let roles = group.data["spec"]["roles"].as_array();
    roles?.iter().find(|found| found["name"] == role)?["replicas"].as_i64()
}

/// Returns the status of a condition.
pub fn condition<'a>(object: &'a DynamicObject, type_: &str) -> &'a str {
    let conditions = object.data["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == type_);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default()
}

/// Returns the number at a path such as `/spec/replicas`.
pub fn number(object: &DynamicObject, pointer: &str) -> Option<i64> {
    object.data.pointer(pointer).and_then(Value::as_i64)
}

/// Returns the text at a path.
pub fn text<'a>(object: &'a DynamicObject, pointer: &str) -> &'a str {
    object.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the status code and the message of a refusal; code 200 for a success.
///
/// # Errors
/// Fails if the error did not come from the API server.
pub fn refusal<T>(result: kube::Result<T>) -> Result<(u16, String)> {
    match result {
        Ok(_) => Ok((200, String::new())),
        Err(kube::Error::Api(status)) => Ok((status.code, status.message.clone())),
        Err(error) => Err(error.into()),
    }
}
