//! What an object says about itself beside its size: who owns it, and who has written it.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use llm_autoscaler_api::{ScaleTargetRef, time, workloads};
use serde_json::Value;

use crate::scale::client::{self, Place, ScaleView, TargetError, Targets, deadline};

impl Targets {
    /// The metadata of the object that a size is written to.
    ///
    /// # Errors
    /// See [`TargetError`]; the operator may not be allowed to read more than the scale.
    pub async fn metadata(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
        view: &ScaleView,
    ) -> Result<ObjectMeta, TargetError> {
        let target = match &view.place {
            Place::Adapter(name) => &client::sibling(target, workloads::RBG_ADAPTER, name),
            Place::Own | Place::Role(_) => target,
        };
        let api = self.api(namespace, target).await?;
        Ok(deadline(api.get_metadata(&target.name)).await?.metadata)
    }
}

/// Who has written a size last, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Author {
    /// The field manager.
    pub name: Option<String>,
    /// When; whole seconds.
    pub at: Option<DateTime<Utc>>,
}

/// The objects by which a target may be called: itself, and the adapter of a role.
pub fn objects(target: &ScaleTargetRef, view: &ScaleView) -> Vec<ScaleTargetRef> {
    let adapter = match &view.place {
        Place::Adapter(name) => Some(client::sibling(target, workloads::RBG_ADAPTER, name)),
        Place::Own | Place::Role(_) => None,
    };
    std::iter::once(target.clone()).chain(adapter).collect()
}

/// Who has written the size last. Where it is kept elsewhere than in `spec.replicas`, who has written the scale.
pub fn author(metadata: &ObjectMeta, role: Option<&str>, place: &Place) -> Author {
    let entries = metadata.managed_fields.as_deref().unwrap_or_default();
    let role = role.filter(|_| matches!(place, Place::Role(_)));
    let paths = match role {
        Some(role) => vec![
            vec!["f:spec".to_owned(), "f:roles".to_owned(), key(role), "f:replicas".to_owned()],
            vec!["f:spec".to_owned(), "f:roles".to_owned()],
        ],
        None => vec![vec!["f:spec".to_owned(), "f:replicas".to_owned()]],
    };
    let owns = |path: &[String]| latest(entries, |entry| has(entry, path));
    let found = paths.iter().find_map(|path| owns(path));
    let found =
        found.or_else(|| latest(entries, |entry| entry.subresource.as_deref() == Some("scale")));
    found.map_or_else(Author::default, |entry| Author {
        name: entry.manager.clone(),
        at: entry.time.as_ref().map(time::from_kubernetes),
    })
}

/// How `managedFields` call an element of a list that is keyed by name.
fn key(name: &str) -> String {
    format!("k:{}", serde_json::json!({"name": name}))
}

fn latest(
    entries: &[ManagedFieldsEntry],
    wanted: impl Fn(&ManagedFieldsEntry) -> bool,
) -> Option<&ManagedFieldsEntry> {
    entries
        .iter()
        .filter(|entry| wanted(entry))
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
}

fn has(entry: &ManagedFieldsEntry, path: &[String]) -> bool {
    let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
    let inner = path.iter().try_fold(fields, |at: Option<&Value>, part| Some(at?.get(part)));
    inner.flatten().is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, second: u32, subresource: &str, fields: &Value) -> Value {
        json!({
            "manager": manager, "operation": "Update", "time": format!("2026-01-01T00:00:{second:02}Z"),
            "subresource": subresource, "fieldsV1": fields,
        })
    }

    #[test]
    fn who_has_written_the_size() {
        let replicas = json!({"f:spec": {"f:replicas": {}, "f:template": {}}});
        let size = json!({"f:spec": {"f:size": {}}});
        let other = json!({"f:spec": {"f:template": {}}});
        let role =
            |name: &str| json!({"f:spec": {"f:roles": {key(name): {".": {}, "f:replicas": {}}}}});
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
            let place = if role.is_some() { Place::Role(0) } else { Place::Own };
            let author = author(&metadata, role, &place);
            assert_eq!(author.name.as_deref(), expected, "{entries:?}");
            assert_eq!(author.at.is_some(), expected.is_some());
        }
    }
}
