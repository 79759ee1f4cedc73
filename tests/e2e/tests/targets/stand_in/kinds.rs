//! The kinds, and the ones of them that can be scaled.

use anyhow::Result;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::rbg::Kind;
use serde_json::Value;

use crate::groups::{Groups, leader_worker, measured, replicas_of};

pub(crate) async fn kinds_with_a_scale(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    let raw = ["get", "--raw", "/apis/workloads.x-k8s.io/v1alpha2"];
    let resources: Value = serde_json::from_str(&stage.control_plane().kubectl(raw).await?)?;
    let names: Vec<_> = resources["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|resource| resource["name"].as_str())
        .filter_map(|name| name.strip_suffix("/scale"))
        .collect();
    for (kind, expected) in [
        ("rolebasedgroups", false),
        ("rolebasedgroupscalingadapters", true),
        ("rolebasedgroupsets", true),
        ("roleinstancesets", true),
        ("coordinatedpolicies", false),
    ] {
        measured(
            "the kinds with a scale subresource",
            names.contains(&kind) == expected,
            (kind, &names),
        )?;
    }

    groups.group("pd", &[leader_worker(stage, "decode", 1, 2)]).await?;
    let kind = GroupVersionKind::gvk("workloads.x-k8s.io", "v1alpha1", Kind::Group.name());
    let kind = ApiResource::from_gvk_with_plural(&kind, "rolebasedgroups");
    let old = Api::<DynamicObject>::namespaced_with(stage.client(), &stage.namespace, &kind)
        .get("pd")
        .await?;
    let role = &old.data["spec"]["roles"][0];
    let is_new = role["leaderWorkerPattern"]["size"] == 2 && replicas_of(&old, "decode") == Some(1);
    measured("without the webhook, v1alpha1 objects have the fields of v1alpha2", is_new, role)
}
