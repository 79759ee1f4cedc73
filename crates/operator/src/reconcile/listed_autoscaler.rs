//! An LLMAutoscaler as a listing of versions has it: without its `managedFields`, which take more
//! time to parse than everything else of the metadata.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::{Resource, core::NamespaceResourceScope};
use llm_autoscaler_api::LLMAutoscaler;
use serde::{Deserialize, Deserializer};

use crate::kube_api::is_older;

/// The identity and the version of an LLMAutoscaler.
#[derive(Clone, Debug)]
pub(super) struct ListedAutoscaler(ObjectMeta);

/// The metadata that are read.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<Time>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
}

impl ListedAutoscaler {
    /// Returns the namespace.
    pub(super) fn namespace(&self) -> &str {
        self.0.namespace.as_deref().unwrap_or_default()
    }

    /// Returns whether it is another version than the one that is known, and not an older one.
    pub(super) fn is_newer_than(&self, known: &LLMAutoscaler) -> bool {
        let (listed, known) = (&self.0.resource_version, &known.metadata.resource_version);
        let is_older = listed
            .as_ref()
            .zip(known.as_ref())
            .is_some_and(|(listed, known)| is_older(listed, known));
        listed != known && !is_older
    }
}

impl<'de> Deserialize<'de> for ListedAutoscaler {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object { metadata } = Object::deserialize(deserializer)?;
        Ok(Self(ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            deletion_timestamp: metadata.deletion_timestamp,
            ..ObjectMeta::default()
        }))
    }
}

impl Resource for ListedAutoscaler {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        LLMAutoscaler::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        LLMAutoscaler::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        LLMAutoscaler::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        LLMAutoscaler::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0
    }
}
