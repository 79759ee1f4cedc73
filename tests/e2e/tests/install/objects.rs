//! Objects as YAML documents.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

/// Parses YAML documents.
pub(crate) fn parse(yaml: &str) -> Result<Vec<Value>> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(yaml)?;
    Ok(objects.into_iter().filter(Value::is_object).collect())
}

/// Writes YAML documents; JSON is YAML.
pub(crate) fn write(objects: &[Value]) -> String {
    let documents: Vec<String> = objects.iter().map(ToString::to_string).collect();
    documents.join("\n---\n")
}

/// Returns the objects of a kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// Returns what roles grant and bindings bind, by kind, namespace and name.
pub(crate) fn rbac(objects: &[Value]) -> BTreeMap<String, Value> {
    let kinds = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
    let ours = objects.iter().filter(|object| kinds.iter().any(|kind| object["kind"] == *kind));
    ours.map(|object| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let key = [&object["kind"], &metadata["namespace"], &metadata["name"]].map(text).join("/");
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let aggregates: BTreeMap<_, _> =
            labels.filter(|(name, _)| name.contains("aggregate-to")).collect();
        let subjects: Vec<Value> = object["subjects"].as_array().cloned().unwrap_or_default();
        let value = json!({
            "rules": object["rules"],
            "aggregationRule": object["aggregationRule"],
            "aggregates": aggregates,
            "roleRef": object["roleRef"],
            "subjects": subjects,
        });
        (key, value)
    })
    .collect()
}

/// Binds the roles that are aggregated into what targets need, instead of labelling them.
pub(crate) fn bound(mut all: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    const LABEL: &str = "llmautoscaler.io/aggregate-to-targets";
    const TARGETS: &str = "ClusterRoleBinding//llm-autoscaler-targets";
    let labelled: Vec<String> = all
        .iter()
        .filter(|(_, object)| object["aggregates"].get(LABEL).is_some())
        .map(|(key, _)| key.clone())
        .collect();
    for key in labelled {
        let aggregates = all.get_mut(&key).map(|object| object["aggregates"].take());
        let aggregates = aggregates.and_then(|labels| labels.as_object().cloned());
        let mut aggregates = aggregates.unwrap_or_default();
        aggregates.remove(LABEL);
        all.entry(key.clone()).and_modify(|object| object["aggregates"] = json!(aggregates));
        let name = key.rsplit('/').next().unwrap_or_default();
        let mut binding = all[TARGETS].clone();
        binding["roleRef"]["name"] = json!(name);
        all.insert(format!("ClusterRoleBinding//{name}"), binding);
    }
    all
}
