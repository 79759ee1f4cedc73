//! Writes to the group itself, for roles without adapters.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::rbg::Kind;
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};

use crate::groups::{Groups, condition, measured, refusal, replicas_of, standalone};

/// A JSON patch with `test` operations is the safe way.
pub(crate) async fn json_patch_with_tests(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    groups.group("pd", &[standalone(stage, "prefill", 1), standalone(stage, "decode", 1)]).await?;
    let api = groups.api(Kind::Group);
    let patch = async |name: &str, version: Option<String>, replicas: i64| {
        let patch = json!([
            {"op": "test", "path": "/spec/roles/1/name", "value": name},
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "replace", "path": "/spec/roles/1/replicas", "value": replicas},
        ]);
        let patch = Patch::<Value>::Json(serde_json::from_value(patch)?);
        refusal(api.patch("pd", &PatchParams::default(), &patch).await)
    };
    let version = || async { anyhow::Ok(groups.get(Kind::Group, "pd").await?.resource_version()) };
    let (code, message) = patch("prefill", version().await?, 5).await?;
    measured(
        "a patch of the role at an index fails if another role is there",
        code == 422,
        (code, message),
    )?;
    let (code, message) = patch("decode", Some("1".to_owned()), 5).await?;
    measured(
        "a patch of the role at an index fails if the group has changed",
        code == 422,
        (code, message),
    )?;
    let replicas = replicas_of(&groups.get(Kind::Group, "pd").await?, "decode");
    measured("a failed patch writes nothing", replicas == Some(1), replicas)?;
    // The status may be written at the same time, which changes the resourceVersion, too.
    wait::until("a patch to succeed", SOON, async || {
        Ok((patch("decode", version().await?, 2).await?.0 == 200).then_some(()))
    })
    .await?;
    groups.until_role("pd", "decode", 2, 2).await?;
    let group = groups.get(Kind::Group, "pd").await?;
    let is_whole = group.data["spec"]["roles"][1]["standalonePattern"].is_object();
    measured(
        "a successful patch changes the number and nothing else",
        is_whole,
        &group.data["spec"],
    )
}

/// Server-side apply can drop fields of other writers here.
pub(crate) async fn server_side_apply(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    groups.group("pd", &[standalone(stage, "prefill", 2), standalone(stage, "decode", 2)]).await?;
    let uid = groups.get(Kind::Group, "pd").await?.uid();
    let params = PatchParams::apply("another-manager");
    let forced = params.clone().force();

    let both = [("prefill", 3), ("decode", 3)];
    let (code, message) = refusal(apply(&groups, "pd", uid.clone(), &both, &params).await)?;
    measured("without force, another manager owns the replicas", code == 409, (code, message))?;
    apply(&groups, "pd", uid.clone(), &both, &forced).await.context("with force")?;
    let group = apply(&groups, "pd", uid.clone(), &[("decode", 4)], &forced).await?;
    let seen = (replicas_of(&group, "prefill"), replicas_of(&group, "decode"));
    measured(
        "a role that the next apply leaves out falls back to 1",
        seen == (Some(1), Some(4)),
        seen,
    )?;
    groups.until_role("pd", "decode", 4, 4).await?;

    missing_group(&groups, uid.clone(), &forced).await?;
    let group = apply(&groups, "pd", uid, &[("decode", 4), ("decoed", 2)], &forced).await?;
    measured(
        "a role that does not exist is created, without a template",
        replicas_of(&group, "decoed") == Some(2),
        &group.data,
    )?;
    let is_broken = |group: &DynamicObject| condition(group, "Ready") == "False";
    groups.until(Kind::Group, "pd", "Ready=False", is_broken).await?;
    let events = stage.api::<Event>();
    let event = wait::until("an event with the reason", SOON, async || {
        let all = events.list(&ListParams::default()).await?.items;
        Ok(all.into_iter().find(|event| event.reason.as_deref() == Some("FailedReconcileWorkload")))
    })
    .await?;
    let message = event.message.unwrap_or_default();
    measured(
        "a group with such a role is never Ready again",
        message.contains("no valid pattern found"),
        &message,
    )
}

async fn missing_group(
    groups: &Groups<'_>,
    uid: Option<String>,
    forced: &PatchParams,
) -> Result<()> {
    let (code, message) = refusal(apply(groups, "gone", uid, &[("decode", 1)], forced).await)?;
    measured(
        "with the UID, applying to a deleted group is a conflict",
        code == 409,
        (code, message),
    )?;
    let object = json!({
        "apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": Kind::Group.name(),
        "metadata": {"name": "gone", "resourceVersion": "1"},
        "spec": {"roles": [{"name": "decode", "replicas": 1}]},
    });
    let with_version = groups.api(Kind::Group).patch("gone", forced, &Patch::Apply(object)).await;
    let (code, message) = refusal(with_version)?;
    measured(
        "a resourceVersion does not prevent that the group is created",
        code == 200,
        (code, message),
    )
}

async fn apply(
    groups: &Groups<'_>,
    name: &str,
    uid: Option<String>,
    roles: &[(&str, i64)],
    params: &PatchParams,
) -> kube::Result<DynamicObject> {
    let roles: Vec<_> =
        roles.iter().map(|(name, replicas)| json!({"name": name, "replicas": replicas})).collect();
    let object = json!({
        "apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": Kind::Group.name(),
        "metadata": {"name": name, "uid": uid}, "spec": {"roles": roles},
    });
    groups.api(Kind::Group).patch(name, params, &Patch::Apply(object)).await
}

/// `kubectl apply --server-side` first takes over the fields of an earlier client-side apply, and
/// then drops those that are not in the file.
pub(crate) async fn kubectl_takes_over(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    let object = |roles: &[Value]| {
        json!({
            "apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": Kind::Group.name(),
            "metadata": {"name": "pd", "namespace": stage.namespace}, "spec": {"roles": roles},
        })
        .to_string()
    };
    let folder = stage.folder()?;
    let file = folder.join("pd.json");
    let roles = [standalone(stage, "prefill", 1), standalone(stage, "decode", 1)];
    let path = file.to_str().context("not UTF-8")?;
    std::fs::write(&file, object(&roles))?;
    stage.control_plane().kubectl(["apply", "-f", path]).await?;
    groups.until_role("pd", "prefill", 1, 1).await?;

    groups.patch_role("pd", 1, "replicas", json!(2)).await?;
    stage.control_plane().kubectl(["apply", "-f", path]).await?;
    let replicas = replicas_of(&groups.get(Kind::Group, "pd").await?, "decode");
    measured(
        "kubectl apply resets a role to the number of its file",
        replicas == Some(1),
        replicas,
    )?;

    std::fs::write(&file, object(&[json!({"name": "decode", "replicas": 3})]))?;
    let args = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=another-manager",
        "-f",
        path,
    ];
    stage.control_plane().kubectl(args).await?;
    let group = groups.get(Kind::Group, "pd").await?;
    let seen = (replicas_of(&group, "prefill"), replicas_of(&group, "decode"));
    measured(
        "kubectl apply --server-side deletes the role that its file leaves out",
        seen == (None, Some(3)),
        seen,
    )?;

    // The controller writes the status at the same time.
    wait::until("the whole group to be replaced", SOON, async || {
        let mut whole = groups.get(Kind::Group, "pd").await?;
        whole.data = json!({"spec": {"roles": roles}});
        whole.metadata.managed_fields = None;
        match groups.api(Kind::Group).replace("pd", &PostParams::default(), &whole).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            result => Ok(Some(result?)),
        }
    })
    .await?;
    groups.patch(Kind::Group, "pd", json!({"roles": [{"name": "decode", "replicas": 2}]})).await?;
    let group = groups.get(Kind::Group, "pd").await?;
    measured(
        "a JSON merge patch replaces all roles",
        replicas_of(&group, "prefill").is_none(),
        &group.data["spec"],
    )
}
