//! The metadata of the object that a size is written to: its owners, and the last writer of the
//! size.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use llm_autoscaler_api::{ScaleTargetRef, time, workloads};
use serde_json::Value;

use crate::scale::{
    client::ScaleClient,
    error::TargetError,
    kinds::same_version,
    view::{ScaleLocation, ScaleView},
};

impl ScaleClient {
    /// Reads the metadata of the object that the target's size is written to.
    ///
    /// # Errors
    /// See [`TargetError`]. The operator may have no permission to read more than the scale.
    pub(crate) async fn get_metadata(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
        view: &ScaleView,
    ) -> Result<ObjectMeta, TargetError> {
        let target = match &view.location {
            ScaleLocation::Adapter(name) => &same_version(target, workloads::RBG_ADAPTER, name),
            ScaleLocation::Subresource | ScaleLocation::Role(_) => target,
        };
        let api = self.api(namespace, target).await?;
        Ok(self.reads.run(namespace, api.get_metadata(&target.name)).await?.metadata)
    }
}

/// The last writer of a size. Both fields are absent where `managedFields` do not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Author {
    /// The field manager.
    pub name: Option<String>,
    /// The time of the write, in whole seconds.
    pub at: Option<DateTime<Utc>>,
}

/// An owner of `spec.replicas` in `managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SizeOwner {
    /// The field manager.
    pub manager: String,
    /// True if it has applied the field (server-side), so that its next apply without the field
    /// removes it.
    pub applies: bool,
}

/// Returns the owners of `spec.replicas`; none where the size is kept in another field.
pub(crate) fn size_owners(metadata: &ObjectMeta) -> Vec<SizeOwner> {
    let entries = metadata.managed_fields.iter().flatten();
    let paths = size_paths(None);
    let owning = entries.filter(|entry| paths.iter().any(|path| owns(entry, path)));
    owning
        .map(|entry| SizeOwner {
            manager: entry.manager.clone().unwrap_or_default(),
            applies: entry.operation.as_deref() == Some("Apply"),
        })
        .collect()
}

/// Returns the references by which another autoscaler may name this target: its own, and that of
/// the role's adapter.
pub(crate) fn equivalent_references(
    target: &ScaleTargetRef,
    view: &ScaleView,
) -> Vec<ScaleTargetRef> {
    let adapter = match &view.location {
        ScaleLocation::Adapter(name) => Some(same_version(target, workloads::RBG_ADAPTER, name)),
        ScaleLocation::Subresource | ScaleLocation::Role(_) => None,
    };
    std::iter::once(target.clone()).chain(adapter).collect()
}

/// Finds the last writer of the size in `managedFields`. Where the size is kept in another field
/// than `spec.replicas`, the last writer of the scale subresource counts.
pub(crate) fn author(
    metadata: &ObjectMeta,
    role: Option<&str>,
    location: &ScaleLocation,
) -> Author {
    let entries = metadata.managed_fields.as_deref().unwrap_or_default();
    let role = role.filter(|_| matches!(location, ScaleLocation::Role(_)));
    let paths = size_paths(role);
    let owner = paths.iter().find_map(|path| latest(entries, |entry| owns(entry, path)));
    let entry =
        owner.or_else(|| latest(entries, |entry| entry.subresource.as_deref() == Some("scale")));
    entry.map_or_else(Author::default, |entry| Author {
        name: entry.manager.clone(),
        at: entry.time.as_ref().map(time::from_kubernetes),
    })
}

/// Returns the paths in `fieldsV1` that hold a size, the most specific one first. The list of roles
/// may be owned as a whole, where the CRD does not key it by name.
fn size_paths(role: Option<&str>) -> Vec<Vec<String>> {
    let path = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect();
    match role {
        Some(role) => vec![
            path(&["f:spec", "f:roles", &element_key(role), "f:replicas"]),
            path(&["f:spec", "f:roles"]),
        ],
        None => vec![path(&["f:spec", "f:replicas"])],
    }
}

/// Returns the name that `fieldsV1` gives an element of a list that is keyed by name.
fn element_key(name: &str) -> String {
    format!("k:{}", serde_json::json!({"name": name}))
}

fn latest(
    entries: &[ManagedFieldsEntry],
    matches: impl Fn(&ManagedFieldsEntry) -> bool,
) -> Option<&ManagedFieldsEntry> {
    entries
        .iter()
        .filter(|entry| matches(entry))
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
}

fn owns(entry: &ManagedFieldsEntry, path: &[String]) -> bool {
    let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
    let inner = path.iter().try_fold(fields, |at: Option<&Value>, part| Some(at?.get(part)));
    inner.flatten().is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, second: u32, subresource: &str, fields: &Value) -> Value {
        let time = format!("2026-01-01T00:00:{second:02}Z");
        json!({
            "manager": manager, "operation": "Update", "time": time,
            "subresource": subresource, "fieldsV1": fields,
        })
    }

    #[test]
    fn every_manager_of_the_field_owns_the_size() {
        let replicas = json!({"f:spec": {"f:replicas": {}}});
        let mut applied = entry("kustomize-controller", 1, "", &replicas);
        applied["operation"] = json!("Apply");
        let entries = [
            applied,
            entry("helm", 2, "", &json!({"f:spec": {"f:template": {}}})),
            entry("kubectl", 3, "scale", &replicas),
        ];
        let metadata = serde_json::from_value(json!({"managedFields": entries})).unwrap();
        let owner = |manager: &str, applies| SizeOwner { manager: manager.to_owned(), applies };
        let expected = [owner("kustomize-controller", true), owner("kubectl", false)];
        assert_eq!(size_owners(&metadata), expected);
        assert_eq!(size_owners(&ObjectMeta::default()), []);
    }

    #[test]
    fn the_latest_owner_of_the_field_has_written_the_size() {
        let replicas = json!({"f:spec": {"f:replicas": {}, "f:template": {}}});
        let size = json!({"f:spec": {"f:size": {}}});
        let other = json!({"f:spec": {"f:template": {}}});
        let role = |name: &str| {
            let fields = json!({".": {}, "f:replicas": {}});
            json!({"f:spec": {"f:roles": {element_key(name): fields}}})
        };
        let roles = json!({"f:spec": {"f:roles": {}}});
        // entries, role, the author
        let table = [
            (vec![], None, None),
            (vec![entry("helm", 1, "", &other)], None, None),
            (vec![entry("helm", 1, "", &replicas), entry("x", 2, "", &other)], None, Some("helm")),
            (vec![entry("helm", 1, "", &replicas), entry("x", 2, "", &replicas)], None, Some("x")),
            (
                vec![entry("x", 2, "scale", &replicas), entry("helm", 1, "", &replicas)],
                None,
                Some("x"),
            ),
            (vec![entry("a", 1, "scale", &size), entry("b", 2, "", &other)], None, Some("a")),
            (
                vec![entry("a", 1, "", &role("x")), entry("b", 2, "", &role("y"))],
                Some("x"),
                Some("a"),
            ),
            (vec![entry("a", 1, "", &roles), entry("b", 2, "", &other)], Some("x"), Some("a")),
        ];
        for (entries, role, expected) in table {
            let metadata = serde_json::from_value(json!({"managedFields": entries})).unwrap();
            let location = match role {
                Some(_) => ScaleLocation::Role(0),
                None => ScaleLocation::Subresource,
            };
            let author = author(&metadata, role, &location);
            assert_eq!(author.name.as_deref(), expected, "{entries:?}");
            assert_eq!(author.at.is_some(), expected.is_some());
        }
    }
}
