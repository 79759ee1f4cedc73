//! Builds the workload objects of roles.

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::labels;
use super::objects::{Kind, owned_by};
use super::role::{Pattern, Role, Workload};

/// Returns the name of the workload, which is also that of the role's adapter.
pub(super) fn name(group: &DynamicObject, role: &str) -> String {
    format!("{}-{role}", group.name_any())
}

/// Builds a workload that does not exist yet.
pub(super) fn build(group: &DynamicObject, role: &Role, pattern: &Pattern, replicas: i64) -> Value {
    let its_labels = labels::of_role(group, &role.name);
    let name = name(group, &role.name);
    let mut object = json!({
        "metadata": {
            "name": name,
            "labels": its_labels,
            "ownerReferences": owned_by(group, Kind::Group, true),
        },
        "spec": {"replicas": replicas},
    });
    if role.workload == Workload::InstanceSet {
        // The set has no pod template: its pods are made from the role's own templates.
        add_labels(&mut object, &json!({labels::ROLE_TYPE: pattern.shape.name()}));
        let mode = if role.is_stateless { "Stateless" } else { "Stateful" };
        object["metadata"]["annotations"] = json!({labels::PATTERN: mode});
        object["spec"]["updateStrategy"] = update_strategy(role);
        object["spec"]["podManagementPolicy"] =
            json!(if role.is_ordered { "OrderedReady" } else { "Parallel" });
        return object;
    }
    let mut template =
        pattern.components.first().map(|part| part.template.clone()).unwrap_or_default();
    add_labels(&mut template, &its_labels);
    object["spec"]["selector"] = json!({"matchLabels": its_labels});
    object["spec"]["template"] = template;
    if role.workload == Workload::StatefulSet {
        object["spec"]["serviceName"] = json!(format!("s-{name}"));
        object["spec"]["podManagementPolicy"] = json!("Parallel");
    }
    object
}

/// Returns the update strategy of a role's RoleInstanceSet.
pub(super) fn update_strategy(role: &Role) -> Value {
    let strategy = &role.rollout.strategy;
    if strategy.is_object() { strategy.clone() } else { json!({}) }
}

/// Adds labels to a template or an object.
pub(super) fn add_labels(template: &mut Value, labels: &Value) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        template["metadata"]["labels"][key] = value.clone();
    }
}
