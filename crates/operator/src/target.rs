//! Scale targets: any kind of the cluster that has a scale subresource, found by discovery, and roles of groups.

mod metadata;
mod roles;
mod rollout;

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use k8s_openapi::api::autoscaling::v1 as autoscaling;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
    discovery,
};
use llm_autoscaler_api::{ScaleTargetRef, dialect, managers};
use llm_autoscaler_core::Scale;
use serde_json::json;

pub use metadata::{author, objects};
pub use rollout::{Object, Progress};

/// What a target's scale subresource said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleView {
    /// Its two numbers.
    pub scale: Scale,
    /// The selector of its pods, as text; empty if there is none.
    pub selector: String,
    /// The UID of the object that is scaled.
    pub uid: String,
    /// The version that was read; a write says it again, so that nobody's change is overwritten.
    pub resource_version: Option<String>,
    /// Where another size is written.
    pub place: Place,
}

/// Where the size of a target is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// To the target's own scale subresource.
    Own,
    /// To that of a role's adapter, by its name.
    Adapter(String),
    /// To the role itself, by its place among the roles of the group.
    Role(usize),
}

/// Why a target's scale could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// `apiVersion` is no group and version.
    #[error("spec.scaleTargetRef.apiVersion {0:?} is not GROUP/VERSION")]
    BadApiVersion(String),
    /// The cluster does not know such a kind (now).
    #[error("the cluster has no kind {kind} in {api_version}")]
    NoSuchKind {
        /// As in the reference.
        api_version: String,
        /// As in the reference.
        kind: String,
    },
    /// It knows the kind, and the kind cannot be scaled.
    #[error("{kind} in {api_version} has no scale subresource; scale an object that has one")]
    NotScalable {
        /// As in the reference.
        api_version: String,
        /// As in the reference.
        kind: String,
    },
    /// The kind can be scaled, and does not belong to namespaces.
    #[error("{kind} in {api_version} does not belong to a namespace")]
    NotNamespaced {
        /// As in the reference.
        api_version: String,
        /// As in the reference.
        kind: String,
    },
    /// The group has no such role (now).
    #[error("the RoleBasedGroup {group} has no role {role}; its roles are {}", .roles.join(", "))]
    NoSuchRole {
        /// The group's name.
        group: String,
        /// As in the reference.
        role: String,
        /// What it has.
        roles: Vec<String>,
    },
    /// It is on its way.
    #[error("{0}")]
    NotYet(String),
    /// Whoever else is in charge of it would undo, or ignore, what is written to it.
    #[error("{0}")]
    Refused(String),
    /// The operator may not write to groups.
    #[error(
        "{0}; enable the role's scalingAdapter, or let the operator patch RoleBasedGroups (docs/targets.md)"
    )]
    RoleForbidden(String),
    /// Somebody else wrote in between.
    #[error("the target was changed by someone else in between")]
    Conflict,
    /// The API server refused or did not answer.
    #[error("{}", api_text(.0))]
    Api(#[from] kube::Error),
    /// The API server did not answer in time.
    #[error("the API server did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

impl TargetError {
    /// Whether waiting will not help: the reference itself is wrong.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::BadApiVersion(_)
                | Self::NotScalable { .. }
                | Self::NotNamespaced { .. }
                | Self::Refused(_)
        )
    }

    /// Whether there is no such target, as opposed to not being able to look.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::NoSuchKind { .. } | Self::NoSuchRole { .. } => true,
            Self::Api(kube::Error::Api(status)) => status.code == 404,
            _ => false,
        }
    }

    /// Whether a write may have been done although it failed.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Api(kube::Error::Api(status)) => status.code >= 500,
            Self::Api(_) | Self::Timeout(_) => true,
            _ => false,
        }
    }
}

/// The server's own sentence where there is one: `statefulsets.apps "qwen3" not found`.
pub fn api_text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

/// How long a call to the API server may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long an answer of discovery is believed; a CRD may be installed a minute later.
const BELIEVED: Duration = Duration::from_mins(1);

/// Reads and writes scales.
pub struct Targets {
    client: Client,
    kinds: Mutex<HashMap<(String, String), (Instant, ApiResource)>>,
}

impl Targets {
    /// Uses this client.
    pub fn new(client: Client) -> Self {
        Self { client, kinds: Mutex::default() }
    }

    /// Reads the scale of a target.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub async fn get(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<ScaleView, TargetError> {
        if roles::is_about(target) {
            return self.get_role(namespace, target).await;
        }
        let api = self.api(namespace, target).await?;
        view(deadline(api.get_scale(&target.name)).await?, target)
    }

    /// Asks for `replicas`, on the condition that nobody has changed the target since it was `seen`.
    ///
    /// # Errors
    /// [`TargetError::Conflict`] if somebody has: read again, and decide again.
    pub async fn set(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
        seen: &ScaleView,
        replicas: i32,
    ) -> Result<ScaleView, TargetError> {
        let result = match &seen.place {
            Place::Own => self.set_own(namespace, target, seen, replicas).await,
            Place::Adapter(name) => {
                self.set_adapter(namespace, (target, name), seen, replicas).await
            }
            Place::Role(index) => self.set_role(namespace, (target, *index), seen, replicas).await,
        };
        match result {
            Err(TargetError::Api(kube::Error::Api(status))) if status.code == 409 => {
                Err(TargetError::Conflict)
            }
            result => result,
        }
    }

    async fn set_own(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
        seen: &ScaleView,
        replicas: i32,
    ) -> Result<ScaleView, TargetError> {
        let api = self.api(namespace, target).await?;
        let patch = scale_patch(seen, replicas);
        let scale =
            deadline(api.patch_scale(&target.name, &params(), &Patch::Merge(&patch))).await?;
        view(scale, target)
    }

    async fn api(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<Api<DynamicObject>, TargetError> {
        let resource = self.resource(target).await?;
        Ok(Api::namespaced_with(self.client.clone(), namespace, &resource))
    }

    async fn resource(&self, target: &ScaleTargetRef) -> Result<ApiResource, TargetError> {
        let key = (target.api_version.clone(), target.kind.clone());
        if let Some((since, resource)) = self.kinds().get(&key)
            && since.elapsed() < BELIEVED
        {
            return Ok(resource.clone());
        }
        let resource = self.discover(target).await?;
        self.kinds().insert(key, (Instant::now(), resource.clone()));
        Ok(resource)
    }

    async fn discover(&self, target: &ScaleTargetRef) -> Result<ApiResource, TargetError> {
        let ScaleTargetRef { api_version, kind, .. } = target.clone();
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        if version.is_empty() || version.contains('/') {
            return Err(TargetError::BadApiVersion(api_version));
        }
        let gvk = GroupVersionKind::gvk(group, version, &kind);
        let (resource, capabilities) =
            match deadline(discovery::pinned_kind(&self.client, &gvk)).await {
                Err(TargetError::Api(error)) if is_unknown(&error) => {
                    return Err(TargetError::NoSuchKind { api_version, kind });
                }
                result => result?,
            };
        if capabilities.scope != discovery::Scope::Namespaced {
            return Err(TargetError::NotNamespaced { api_version, kind });
        }
        if !roles::has_roles(target)
            && !capabilities
                .subresources
                .iter()
                .any(|(subresource, _)| subresource.plural == "scale")
        {
            return Err(TargetError::NotScalable { api_version, kind });
        }
        Ok(resource)
    }

    fn kinds(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<(String, String), (Instant, ApiResource)>> {
        self.kinds.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The patch of a scale subresource, for as long as nobody else has changed it.
fn scale_patch(seen: &ScaleView, replicas: i32) -> serde_json::Value {
    json!({
        "metadata": {"resourceVersion": seen.resource_version},
        "spec": {"replicas": replicas},
    })
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(managers::SCALE.to_owned()), ..PatchParams::default() }
}

fn is_unknown(error: &kube::Error) -> bool {
    match error {
        kube::Error::Discovery(_) => true,
        kube::Error::Api(status) => status.code == 404,
        _ => false,
    }
}

async fn deadline<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, TargetError> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(TargetError::Timeout(DEADLINE)),
    }
}

/// A custom resource's scale leaves `spec.replicas` out when it is 0.
fn view(scale: autoscaling::Scale, target: &ScaleTargetRef) -> Result<ScaleView, TargetError> {
    let status = scale.status.unwrap_or_default();
    let Some(uid) = scale.metadata.uid else {
        return Err(TargetError::NotScalable {
            api_version: target.api_version.clone(),
            kind: target.kind.clone(),
        });
    };
    Ok(ScaleView {
        scale: Scale {
            current: scale.spec.and_then(|spec| spec.replicas).unwrap_or(0),
            status: status.replicas,
        },
        selector: dialect::pod_selector(target).or(status.selector).unwrap_or_default(),
        uid,
        resource_version: scale.metadata.resource_version,
        place: Place::Own,
    })
}
