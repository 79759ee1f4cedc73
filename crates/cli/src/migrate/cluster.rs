//! The reads and writes of a migration. Each write names the version of the object that it rests
//! on, so that it fails if anything has changed meanwhile.

use kube::{
    Api, Client, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
        PostParams, Preconditions,
    },
    discovery,
};
use llm_autoscaler_api::{LLMAutoscaler, ScaleTargetRef, managers};
use llm_autoscaler_convert::migration::{
    MIGRATION, Record, Refusal, SOURCE_KINDS, Sight, Size, SourceKind, Step, Write,
};
use llm_autoscaler_operator::Component;
use serde_json::{Value, json};

use super::{now, quiet::Quiet};
use crate::cluster;

/// The error of a step.
#[derive(Debug)]
pub(super) enum StepError {
    /// Something has changed the object meanwhile: look again.
    Conflict(String),
    /// The API server refuses the write.
    Refused(String),
}

impl std::fmt::Display for StepError {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let (Self::Conflict(text) | Self::Refused(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for StepError {}

/// The namespace of an LLMAutoscaler.
pub(super) struct Cluster {
    client: Client,
    namespace: String,
    name: String,
}

impl Cluster {
    pub(super) async fn connect(
        context: Option<&str>,
        namespace: Option<String>,
        name: &str,
    ) -> anyhow::Result<Self> {
        let client = cluster::client(Component::Migrate, context).await?;
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        Ok(Self { client, namespace, name: name.to_owned() })
    }

    /// Returns the arguments that name the LLMAutoscaler.
    pub(super) fn address(&self) -> String {
        format!("{} -n {}", self.name, self.namespace)
    }

    fn autoscalers(&self) -> Api<LLMAutoscaler> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Reads everything that a plan rests on.
    pub(super) async fn look(&self, quiet: &mut Quiet) -> anyhow::Result<Sight> {
        let (name, namespace) = (&self.name, &self.namespace);
        let autoscaler = self.autoscalers().get(name).await;
        let autoscaler = autoscaler.map_err(|error| cluster::not_read(error, name, namespace))?;
        let all = self.autoscalers().list(&ListParams::default()).await;
        let all =
            all.map_err(|error| cluster::not_listed(error, &format!("the namespace {namespace}")))?;
        let neighbours =
            all.items.into_iter().filter(|it| it.name_any() != autoscaler.name_any()).collect();
        let mut others = Vec::new();
        for kind in SOURCE_KINDS {
            others.extend(self.list(kind).await?);
        }
        let target = autoscaler.spec.scale_target_ref.as_ref().filter(|it| it.role.is_none());
        let size = match target {
            Some(target) => self.size(target).await?.map(|(size, _)| size),
            None => None,
        };
        let mut sight =
            Sight { autoscaler, neighbours, others, size, quiet: std::time::Duration::ZERO };
        let replicas = size.map(|size| size.replicas);
        sight.quiet = quiet.record(now(), sight.is_scaled_by_others(), replicas);
        Ok(sight)
    }

    /// Lists the autoscalers of a kind. One that is not installed has none.
    async fn list(&self, kind: SourceKind) -> anyhow::Result<Vec<Value>> {
        let SourceKind { group, version, kind, plural } = kind;
        let api = self.dynamic(&GroupVersionKind::gvk(group, version, kind), plural);
        let listed = match api.list(&ListParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
            Err(kube::Error::Api(status)) => anyhow::bail!(
                "listing {plural}, one of which may scale the target: {}",
                status.message
            ),
            Err(error) => anyhow::bail!("listing {plural}: {error}"),
            Ok(listed) => listed,
        };
        let mut found = Vec::new();
        for object in listed.items {
            let mut value = serde_json::to_value(&object)?;
            // Items of a list have neither.
            value["apiVersion"] = format!("{group}/{version}").into();
            value["kind"] = kind.into();
            found.push(value);
        }
        Ok(found)
    }

    fn dynamic(&self, gvk: &GroupVersionKind, plural: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk_with_plural(gvk, plural);
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Returns the API of the target's kind; `None` if it is not installed.
    async fn target(&self, target: &ScaleTargetRef) -> anyhow::Result<Option<Api<DynamicObject>>> {
        let (group, version) =
            target.api_version.split_once('/').unwrap_or(("", &target.api_version));
        let gvk = GroupVersionKind::gvk(group, version, &target.kind);
        match discovery::pinned_kind(&self.client, &gvk).await {
            Ok((resource, _)) => {
                let client = self.client.clone();
                Ok(Some(Api::namespaced_with(client, &self.namespace, &resource)))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(kube::Error::Discovery(_)) => Ok(None),
            Err(error) => anyhow::bail!("finding the kind {}: {error}", target.kind),
        }
    }

    /// Reads the size of the target, and the version that has it.
    async fn size(&self, target: &ScaleTargetRef) -> anyhow::Result<Option<(Size, String)>> {
        let Some(api) = self.target(target).await? else { return Ok(None) };
        let label = format!("{}/{}", target.kind, target.name);
        let scale = match api.get_scale(&target.name).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(kube::Error::Api(status)) => {
                anyhow::bail!("reading the scale of {label}: {}", status.message)
            }
            other => other?,
        };
        let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or_default();
        let metadata = api.get_metadata(&target.name).await?.metadata;
        let entries = metadata.managed_fields.iter().flatten();
        let mut ours = entries.filter(|it| it.manager.as_deref() == Some(managers::SCALE));
        let is_adopted = ours.any(|entry| {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            let owns = fields.is_some_and(|it| it.pointer("/f:spec/f:replicas").is_some());
            // A kind may keep its size in another field.
            owns || entry.operation.as_deref() == Some("Apply")
        });
        let version = scale.metadata.resource_version.unwrap_or_default();
        Ok(Some((Size { replicas, is_adopted }, version)))
    }

    /// Takes a step. Returns false for a step that only waits.
    pub(super) async fn take(&self, step: &Step, sight: &Sight) -> Result<bool, StepError> {
        match step {
            Step::Record(record) => self.annotate(sight, Some(record), None).await?,
            Step::Switch(record) => self.annotate(sight, Some(record), Some("Scale")).await?,
            Step::Withdraw(record) => self.annotate(sight, Some(record), Some("Recommend")).await?,
            Step::Forget => self.annotate(sight, None, None).await?,
            Step::Stop(write) | Step::Restore(write) => self.write(write).await?,
            Step::Adopt { replicas, .. } => self.adopt(sight, *replicas).await?,
            Step::AwaitStopped { .. } | Step::AwaitScaling { .. } | Step::AwaitWithdrawn => {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the record, and the mode with it.
    async fn annotate(
        &self,
        sight: &Sight,
        record: Option<&Record>,
        mode: Option<&str>,
    ) -> Result<(), StepError> {
        let text = record.map(Record::text).transpose();
        let text = text.map_err(|Refusal(text)| StepError::Refused(text))?;
        let version = sight.autoscaler.resource_version();
        let mut patch = json!({
            "metadata": {"resourceVersion": version, "annotations": {MIGRATION: text}},
        });
        if let Some(mode) = mode {
            patch["spec"] = json!({"mode": mode});
        }
        let patched = self.autoscalers().patch(&self.name, &params(), &Patch::Merge(patch)).await;
        patched.map(drop).map_err(|error| step_error(error, "patching the LLMAutoscaler"))
    }

    /// Writes to the object of another autoscaler.
    async fn write(&self, write: &Write) -> Result<(), StepError> {
        let (Write::Delete { object } | Write::Patch { object, .. } | Write::Create { object }) =
            write;
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let Some(source) = SOURCE_KINDS.iter().find(|source| source.kind == kind) else {
            return Err(StepError::Refused(format!("the kind {kind} is unknown")));
        };
        let gvk = GroupVersionKind::gvk(source.group, source.version, kind);
        let api = self.dynamic(&gvk, source.plural);
        let done = match write {
            Write::Delete { .. } => {
                let preconditions = Preconditions {
                    uid: Some(text("/metadata/uid").to_owned()),
                    resource_version: Some(text("/metadata/resourceVersion").to_owned()),
                };
                let params =
                    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                api.delete(name, &params).await.map(drop)
            }
            Write::Patch { patch, .. } => {
                api.patch(name, &params(), &Patch::Merge(patch)).await.map(drop)
            }
            Write::Create { .. } => {
                let object: DynamicObject = serde_json::from_value(object.clone())
                    .map_err(|error| StepError::Refused(format!("the record: {error}")))?;
                let params = PostParams {
                    field_manager: Some(managers::MIGRATE.to_owned()),
                    ..PostParams::default()
                };
                api.create(&params, &object).await.map(drop)
            }
        };
        done.map_err(|error| step_error(error, &format!("to {write}")))
    }

    /// Becomes an owner of the size that was seen, beside its other owners. A patch with the same
    /// value would make it no owner, so the value is applied, and never forced.
    async fn adopt(&self, sight: &Sight, replicas: i32) -> Result<(), StepError> {
        let refused = |error: anyhow::Error| StepError::Refused(format!("{error:#}"));
        let gone = || StepError::Conflict("the target is gone".to_owned());
        let target = sight.autoscaler.spec.scale_target_ref.as_ref().ok_or_else(gone)?;
        let api = self.target(target).await.map_err(refused)?.ok_or_else(gone)?;
        let (size, version) = self.size(target).await.map_err(refused)?.ok_or_else(gone)?;
        if size.replicas != replicas {
            return Err(StepError::Conflict("the size has changed".to_owned()));
        }
        let apply = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {
                "name": target.name, "namespace": self.namespace, "resourceVersion": version,
            },
            "spec": {"replicas": replicas},
        });
        let params = PatchParams::apply(managers::SCALE);
        let done = api.patch_scale(&target.name, &params, &Patch::Apply(apply)).await;
        done.map(drop).map_err(|error| step_error(error, "adopting the size"))
    }
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(managers::MIGRATE.to_owned()), ..PatchParams::default() }
}

/// Returns the error of a write. An object that is gone or there already is looked at again.
fn step_error(error: kube::Error, doing: &str) -> StepError {
    match error {
        kube::Error::Api(status) if matches!(status.code, 404 | 409) => {
            StepError::Conflict(format!("{doing}: {}", status.message))
        }
        kube::Error::Api(status) => StepError::Refused(format!("{doing}: {}", status.message)),
        error => StepError::Refused(format!(
            "{doing}: {error}; it may have been done: call again to go on"
        )),
    }
}
