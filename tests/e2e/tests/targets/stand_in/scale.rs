//! Writes to an adapter's scale.

use anyhow::{Context, Result};
use k8s_openapi::api::autoscaling::v1::ScaleSpec;
use kube::api::{Patch, PatchParams, PostParams};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::rbg::Kind;
use serde_json::json;

use crate::groups::{Groups, measured, number, refusal, scalable, standalone};

const ADAPTER: &str = "pd-decode";

pub(crate) async fn writes_to_the_scale(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    groups.group("pd", &[scalable(standalone(stage, "decode", 1))]).await?;
    merge_patches(&groups).await?;
    puts(&groups).await?;
    server_side_apply(&groups).await?;
    dry_runs(&groups).await
}

async fn merge_patches(groups: &Groups<'_>) -> Result<()> {
    let adapters = groups.api(Kind::Adapter);
    let version = adapters.get_scale(ADAPTER).await?.metadata.resource_version;
    let params =
        PatchParams { field_manager: Some("another-manager".to_owned()), ..PatchParams::default() };
    let patch = |replicas: i64| {
        Patch::Merge(
            json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}}),
        )
    };
    adapters.patch_scale(ADAPTER, &params, &patch(2)).await.context("a merge patch")?;
    let adapter = groups.get(Kind::Adapter, ADAPTER).await?;
    let managed = adapter.metadata.managed_fields.iter().flatten();
    let mut writer = managed.filter(|entry| entry.manager.as_deref() == Some("another-manager"));
    let writer = writer.next().context("no manager has written it")?;
    let fields = serde_json::to_value(&writer.fields_v1)?;
    let how = (writer.operation.as_deref(), writer.subresource.as_deref());
    let owns = fields["f:spec"]["f:replicas"].is_object();
    measured(
        "a merge patch owns spec.replicas as an Update of the scale",
        how == (Some("Update"), Some("scale")) && owns,
        (how, fields),
    )?;
    let (code, message) = refusal(adapters.patch_scale(ADAPTER, &params, &patch(3)).await)?;
    measured("a merge patch on a stale version is a conflict", code == 409, (code, message))
}

async fn puts(groups: &Groups<'_>) -> Result<()> {
    let adapters = groups.api(Kind::Adapter);
    let mut scale = adapters.get_scale(ADAPTER).await?;
    groups.scale(ADAPTER, 1).await?;
    scale.spec = Some(ScaleSpec { replicas: Some(2) });
    let (code, message) =
        refusal(adapters.replace_scale(ADAPTER, &PostParams::default(), &scale).await)?;
    measured("a PUT with a stale version is a conflict", code == 409, (code, message))?;
    scale.metadata.resource_version = None;
    let (code, message) =
        refusal(adapters.replace_scale(ADAPTER, &PostParams::default(), &scale).await)?;
    let replicas = number(&groups.get(Kind::Adapter, ADAPTER).await?, "/spec/replicas");
    let is_done = code == 200 && replicas == Some(2);
    measured("a PUT without a version succeeds whatever the version is", is_done, (code, message))
}

async fn server_side_apply(groups: &Groups<'_>) -> Result<()> {
    let adapters = groups.api(Kind::Adapter);
    let params = PatchParams::apply("another-manager").force();
    let scale = json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": ADAPTER},
        "spec": {"replicas": 1},
    });
    let (code, message) =
        refusal(adapters.patch_scale(ADAPTER, &params, &Patch::Apply(&scale)).await)?;
    let is_so = code == 500
        && message.contains("request to convert CR to an invalid group/version: autoscaling/v1");
    measured("server-side apply of a scale is a server error", is_so, (code, message))?;

    let reference = json!({"name": "pd", "role": "decode"});
    let adapter = |name: &str| {
        json!({
            "apiVersion": "workloads.x-k8s.io/v1alpha2",
            "kind": Kind::Adapter.name(),
            "metadata": {"name": name},
            "spec": {"replicas": 1, "scaleTargetRef": reference},
        })
    };
    let (code, message) =
        refusal(adapters.patch(ADAPTER, &params, &Patch::Apply(adapter(ADAPTER))).await)?;
    measured("server-side apply of the adapter itself works", code == 200, (code, message))?;
    let (code, message) =
        refusal(adapters.patch("ghost", &params, &Patch::Apply(adapter("ghost"))).await)?;
    measured(
        "server-side apply creates an adapter that does not exist",
        code == 200,
        (code, message),
    )?;
    let mut known = adapter("ghost-2");
    known["metadata"]["uid"] = json!("11111111-2222-3333-4444-555555555555");
    let (code, message) = refusal(adapters.patch("ghost-2", &params, &Patch::Apply(known)).await)?;
    measured("server-side apply with a UID is a conflict instead", code == 409, (code, message))
}

async fn dry_runs(groups: &Groups<'_>) -> Result<()> {
    let adapters = groups.api(Kind::Adapter);
    let before = groups.get(Kind::Adapter, ADAPTER).await?;
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let try_out = async |replicas: i64| {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        refusal(adapters.patch_scale(ADAPTER, &params, &patch).await)
    };
    let (code, message) = try_out(7).await?;
    let after = groups.get(Kind::Adapter, ADAPTER).await?;
    let same = number(&before, "/spec/replicas") == number(&after, "/spec/replicas");
    measured("a dry run changes nothing", code == 200 && same, (code, message))?;
    let (code, message) = try_out(-1).await?;
    measured("negative replicas are invalid", code == 422, (code, message))?;
    let (code, message) = try_out(i64::from(i32::MAX) + 1).await?;
    measured("replicas that do not fit into 32 bits are invalid", code == 422, (code, message))
}
