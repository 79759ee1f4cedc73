//! The events that the stand-in emits about groups.

use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject};
use serde_json::json;

use super::objects::{Kind, namespace};
use super::status;
use super::world::{MANAGER, World};

/// Emits a warning about a group, once for each generation of the group.
pub(super) async fn warn(world: &World, group: &DynamicObject, reason: &str, message: &str) {
    let generation = group.metadata.generation.unwrap_or_default();
    let (ns, name) = (namespace(group), group.name_any());
    let now = status::now();
    let event_name = format!("{name}.{}.{generation}", reason.to_lowercase());
    if !world.says_first(&format!("{ns}/{event_name}")) {
        return;
    }
    let event = json!({
        "metadata": {"name": event_name, "namespace": ns},
        "involvedObject": {
            "apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": Kind::Group.name(),
            "namespace": ns, "name": name, "uid": group.uid(),
        },
        "type": "Warning", "reason": reason, "message": message,
        "source": {"component": MANAGER}, "count": 1, "firstTimestamp": now, "lastTimestamp": now,
    });
    world.create(&ApiResource::erase::<Event>(&()), &ns, event).await;
}
