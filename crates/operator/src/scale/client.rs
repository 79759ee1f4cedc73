//! The access to scale targets: which API a kind has, how calls to it end, and what is read of a scale.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, PatchParams},
    discovery,
};
use llm_autoscaler_api::{ScaleTargetRef, managers, workloads};
use llm_autoscaler_core::{Monotonic, Scale};
use serde_json::json;

use crate::{
    clock::Clock,
    kube_api::{CallError, DEADLINE, patch_as, within},
    lock::lock,
};

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
    /// Another writer has changed it since it was read.
    #[error("the target was changed by another writer in between")]
    Conflict,
    /// The permission to write has ended.
    #[error("this copy of the operator may not write any more")]
    NoPermit,
    /// The API server refused or did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
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
            Self::Call(error) => error.status() == Some(404),
            _ => false,
        }
    }

    /// Whether a write may have been done although it failed.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_ambiguous())
    }
}

/// How long an answer of discovery is believed; a CRD may be installed a minute later.
const BELIEVED: Duration = Duration::from_mins(1);

/// Reads and writes scales.
pub struct Targets {
    client: Client,
    clock: Clock,
    kinds: Mutex<HashMap<(String, String), (Monotonic, ApiResource)>>,
}

impl Targets {
    pub(super) fn now(&self) -> Monotonic {
        self.clock.monotonic()
    }

    /// Uses this client.
    pub fn new(client: Client, clock: Clock) -> Self {
        Self { client, clock, kinds: Mutex::default() }
    }

    pub(super) async fn api(
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
            && self.clock.monotonic().since(*since) < BELIEVED
        {
            return Ok(resource.clone());
        }
        let resource = self.discover(target).await?;
        self.kinds().insert(key, (self.clock.monotonic(), resource.clone()));
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
                Err(TargetError::Call(CallError::Api(error))) if is_unknown(&error) => {
                    return Err(TargetError::NoSuchKind { api_version, kind });
                }
                result => result?,
            };
        if capabilities.scope != discovery::Scope::Namespaced {
            return Err(TargetError::NotNamespaced { api_version, kind });
        }
        if !has_roles(target)
            && !capabilities
                .subresources
                .iter()
                .any(|(subresource, _)| subresource.plural == "scale")
        {
            return Err(TargetError::NotScalable { api_version, kind });
        }
        Ok(resource)
    }

    fn kinds(&self) -> MutexGuard<'_, HashMap<(String, String), (Monotonic, ApiResource)>> {
        lock(&self.kinds)
    }
}

/// One write of a size, on the condition that nothing has changed the target since it was read.
#[derive(Clone, Copy)]
pub(super) struct ScaleWrite<'a> {
    pub(super) namespace: &'a str,
    pub(super) target: &'a ScaleTargetRef,
    /// The scale that was decided by.
    pub(super) seen: &'a ScaleView,
    pub(super) replicas: i32,
    /// The time that the write may take.
    pub(super) deadline: Duration,
}

impl ScaleWrite<'_> {
    /// The merge patch of a scale subresource. With the resourceVersion, no change by something else is overwritten.
    pub(super) fn scale_patch(&self) -> serde_json::Value {
        json!({
            "metadata": {"resourceVersion": self.seen.resource_version},
            "spec": {"replicas": self.replicas},
        })
    }

    /// The scale after the write.
    pub(super) fn written(&self, resource_version: Option<String>) -> ScaleView {
        let scale = Scale { current: self.replicas, ..self.seen.scale };
        ScaleView { scale, resource_version, ..self.seen.clone() }
    }
}

pub(super) fn params() -> PatchParams {
    patch_as(managers::SCALE)
}

fn is_unknown(error: &kube::Error) -> bool {
    match error {
        kube::Error::Discovery(_) => true,
        kube::Error::Api(status) => status.code == 404,
        _ => false,
    }
}

pub(super) async fn deadline<T>(
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, TargetError> {
    Ok(within(DEADLINE, call).await?)
}

/// Whether a target is one of the kinds of this module.
pub(super) fn is_about(target: &ScaleTargetRef) -> bool {
    let group = target.api_version.split_once('/').map(|(group, _)| group);
    group == Some(workloads::RBG_GROUP)
        && matches!(&*target.kind, workloads::RBG_KIND | workloads::RBG_ADAPTER)
}

/// Whether a kind is scaled although it has no scale subresource.
pub(super) fn has_roles(target: &ScaleTargetRef) -> bool {
    is_about(target) && target.kind == workloads::RBG_KIND
}

/// An object of the same group and version.
pub(super) fn sibling(target: &ScaleTargetRef, kind: &str, name: &str) -> ScaleTargetRef {
    ScaleTargetRef {
        api_version: target.api_version.clone(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        role: None,
    }
}
