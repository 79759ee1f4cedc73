//! Writes that the API server refuses, and pods that it does not let be created.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::engine::Page;
use llm_autoscaler_testbed::rbg::Kind;
use llm_autoscaler_testbed::{Webhook, wait};
use serde_json::{Value, json};

use super::drains::permit;
use super::{role, set_leaders_waiting, until_requested, without_window};
use crate::groups::{Groups, leader_worker, refusal, replicas_of, scalable, standalone};

/// The time within which replicas that are not created are reported.
const REPORTED: Duration = Duration::from_mins(2);
/// The permission to patch groups.
const PATCH: &str = "llm-autoscaler-targets-role-based-groups";

/// A patch of a role that an admission policy refuses is reported with the policy's words. It is no
/// conflict with another writer, although its status code is that of one, and no lack of
/// permission.
pub(crate) async fn refused_patch_of_a_role_is_reported(stage: &Stage) -> Result<()> {
    permit(stage, &[PATCH]).await?;
    let groups = Groups::start(stage).await?;
    stage.script.set_all(&Page::waiting(11));
    groups.group("pd", &[standalone(stage, "decode", 1)]).await?;
    for reason in ["Invalid", "Forbidden"] {
        let rule = json!({
            "apiGroups": ["workloads.x-k8s.io"], "apiVersions": ["*"],
            "resources": ["rolebasedgroups"], "operations": ["UPDATE"],
        });
        let few = "object.spec.roles.all(role, role.replicas < 2)";
        deny(stage, "few-replicas", &rule, few, reason).await?;
        let code = if reason == "Invalid" { 422 } else { 403 };
        wait::until(&format!("the policy to answer {code}"), SOON, async || {
            Ok((dry_patch(&groups).await?.0 == code).then_some(()))
        })
        .await?;
        let spec = json!({"scaleTargetRef": role("pd", "decode"), "behavior": without_window()});
        stage.autoscaler(&reason.to_lowercase(), spec).await?;
        let name = reason.to_lowercase();
        let able =
            stage.until_condition(&name, "AbleToScale", "False", "FailedUpdateScale").await?;
        let text = &able.message;
        ensure!(text.contains("ValidatingAdmissionPolicy"), "{text}");
        ensure!(!text.contains("outdated") && !text.contains("let the operator"), "{text}");
        stage.until_condition(&name, "Ready", "False", "FailedUpdateScale").await?;
        let args = ["-n", &stage.namespace, "delete", "llmautoscaler", &name];
        stage.control_plane().kubectl(args).await?;
    }
    let group = groups.get(Kind::Group, "pd").await?;
    ensure!(replicas_of(&group, "decode") == Some(1), "{}", group.data["spec"]);
    Ok(())
}

/// A webhook's 403 is no lack of permission, and its 409, which looks like another writer's change,
/// is told after several attempts, so that the status is never empty.
pub(crate) async fn answers_of_a_webhook_are_reported(stage: &Stage) -> Result<()> {
    permit(stage, &[PATCH]).await?;
    let groups = Groups::start(stage).await?;
    stage.script.set_all(&Page::waiting(11));
    groups.group("pd", &[standalone(stage, "decode", 1)]).await?;
    let rule = json!({
        "apiGroups": ["workloads.x-k8s.io"], "apiVersions": ["*"],
        "resources": ["rolebasedgroups"], "operations": ["UPDATE"],
    });
    let webhook =
        Webhook::start(stage.control_plane(), "few.example.com", &stage.namespace, rule).await?;
    for (code, message, expected) in [
        (403, "too many", "denied the request: too many"),
        (409, "not now", "refused as outdated; the last answer: admission webhook"),
    ] {
        webhook.deny(code, message);
        wait::until(&format!("the webhook to answer {code}"), SOON, async || {
            let answer = dry_patch(&groups).await?;
            Ok((answer.0 == code && answer.1.contains(message)).then_some(()))
        })
        .await?;
        let name = format!("answer-{code}");
        let spec = json!({"scaleTargetRef": role("pd", "decode"), "behavior": without_window()});
        stage.autoscaler(&name, spec).await?;
        let able =
            stage.until_condition(&name, "AbleToScale", "False", "FailedUpdateScale").await?;
        ensure!(able.message.contains(expected), "{}", able.message);
        ensure!(!able.message.contains("let the operator"), "{}", able.message);
        let args = ["-n", &stage.namespace, "delete", "llmautoscaler", &name];
        stage.control_plane().kubectl(args).await?;
    }
    Ok(())
}

/// Tries to scale the first role of the group `pd`, without an effect. Returns the answer's status
/// code and message.
async fn dry_patch(groups: &Groups<'_>) -> Result<(u16, String)> {
    let patch = json!([{"op": "add", "path": "/spec/roles/0/replicas", "value": 2}]);
    let patch = Patch::<Value>::Json(serde_json::from_value(patch)?);
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    refusal(groups.api(Kind::Group).patch("pd", &dry, &patch).await)
}

/// A reference to an old version of a group is read and written as the new one, because its
/// conversion loses fields.
pub(crate) async fn old_version_is_written_as_the_new_one(stage: &Stage) -> Result<()> {
    permit(stage, &[PATCH]).await?;
    let groups = Groups::start(stage).await?;
    stage.script.set_all(&Page::waiting(11));
    groups.group("pd", &[standalone(stage, "decode", 1)]).await?;
    let mut target = role("pd", "decode");
    target["apiVersion"] = json!("workloads.x-k8s.io/v1alpha1");
    stage.autoscaler("decode", json!({"scaleTargetRef": target})).await?;
    until_requested(&groups, "pd", "decode", 3).await?;
    let group = groups.get(Kind::Group, "pd").await?;
    let written = group.metadata.managed_fields.into_iter().flatten();
    let versions: Vec<_> = written
        .filter(|entry| entry.manager.as_deref() == Some("llm-autoscaler-scale"))
        .filter_map(|entry| entry.api_version)
        .collect();
    ensure!(versions == ["workloads.x-k8s.io/v1alpha2"], "{versions:?}");
    Ok(())
}

/// Replicas that are not created, and a replica that lacks a pod, are reported, and the latter is
/// not ready.
pub(crate) async fn replicas_that_cannot_be_created_are_reported(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    let rule = json!({
        "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"],
    });
    let others = "!(object.metadata.name in ['a-2', 'a-3', 'pd-decode-1-1'])";
    deny(stage, "no-room", &rule, others, "Forbidden").await?;
    wait::until("the policy to refuse a pod", SOON, async || {
        let containers = json!([{"name": "engine", "image": "engine"}]);
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "a-2"}, "spec": {"containers": containers},
        }))?;
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let answer = refusal(stage.api::<Pod>().create(&dry, &pod).await)?;
        Ok((answer.0 == 403).then_some(()))
    })
    .await?;
    stage.waiting("a", 20);
    stage.engine("a", 2).await?;
    stage.autoscaler("a", json!({"maxReplicas": 4})).await?;
    stage.until_replicas("a", 4, SOON).await?;

    set_leaders_waiting(&groups, "pd-decode", 2, 5);
    let roles = [scalable(leader_worker(stage, "decode", 2, 2))];
    groups.create(Kind::Group, "pd", json!({"roles": roles})).await?;
    groups.until_role("pd", "decode", 2, 1).await?;
    stage.autoscaler("decode", json!({"scaleTargetRef": role("pd", "decode")})).await?;
    wait::until("one ready replica", SOON, async || {
        let ready =
            stage.status("decode").await?.targets.first().map(|target| target.ready_replicas);
        ensure!(ready != Some(2), "an instance without its worker is not ready");
        Ok((ready == Some(1)).then_some(()))
    })
    .await?;

    for (name, expected) in [
        ("a", "2 of 4 requested replicas exist, and for a minute or longer none has been created"),
        ("decode", "1 of 2 requested replicas exist (that of pd-decode-1-0 has 1 of its 2 pods)"),
    ] {
        let stuck = wait::until(&format!("{name} to be reported"), REPORTED, async || {
            let conditions = stage.status(name).await?.conditions;
            Ok(conditions.into_iter().find(|condition| condition.reason == "NotCreated"))
        })
        .await
        .with_context(|| name.to_owned())?;
        ensure!(stuck.type_ == "ReplicasStuck" && stuck.message.contains(expected), "{stuck:?}");
    }
    Ok(())
}

/// Denies what does not meet an expression in the stage's namespace.
async fn deny(
    stage: &Stage,
    name: &str,
    rule: &Value,
    expression: &str,
    reason: &str,
) -> Result<()> {
    let name = format!("{name}-{}", stage.namespace);
    let validation = json!({"expression": expression, "reason": reason});
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [validation]},
    });
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}});
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": here},
        },
    });
    for object in [policy, binding] {
        stage.control_plane().apply_yaml(&object.to_string()).await?;
    }
    Ok(())
}
