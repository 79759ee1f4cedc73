//! Writes of the operator that a policy or a webhook refuses.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding as Binding;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{Webhook, wait};
use serde_json::json;

use crate::world::World;

/// The policy and its binding.
const POLICY: &str = "chaos-refuses-sizes";
/// The time in which the API server takes a change of the test, whatever else it suffers from.
const PATIENCE: Duration = Duration::from_mins(1);

/// Installs the policy, which is not bound, and the webhook, which allows everything.
pub(crate) async fn install(stage: &Stage) -> Result<Webhook> {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": POLICY},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["apps"],
                "apiVersions": ["v1"],
                "operations": ["UPDATE"],
                "resources": ["statefulsets/scale"],
            }]},
            "validations": [{"expression": "false", "message": "refused by the test"}],
        },
    });
    stage.control_plane().apply_yaml(&policy.to_string()).await?;
    let rule = json!({
        "apiGroups": ["llmautoscaler.io"],
        "apiVersions": ["v1alpha1"],
        "operations": ["UPDATE"],
        "resources": ["llmautoscalers/status"],
    });
    let (plane, name) = (stage.control_plane(), "statuses.chaos.example");
    Webhook::start(plane, name, &stage.namespace, rule).await
}

/// Binds the policy to the namespace for a time.
pub(crate) async fn refuse_sizes(stage: &Stage, lasts: Duration) -> Result<()> {
    let bindings: Api<Binding> = Api::all(stage.client());
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}});
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": POLICY},
        "spec": {
            "policyName": POLICY,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": here},
        },
    });
    let params = PatchParams::apply("chaos").force();
    wait::until("the policy to be bound", PATIENCE, async || {
        let bound = bindings.patch(POLICY, &params, &Patch::Apply(&binding)).await;
        Ok(bound.is_ok().then_some(()))
    })
    .await?;
    tokio::time::sleep(lasts).await;
    wait::until("the policy to be unbound", PATIENCE, async || {
        let unbound = bindings.delete(POLICY, &DeleteParams::default()).await;
        let is_gone =
            |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.code == 404);
        Ok(unbound.as_ref().err().is_none_or(is_gone).then_some(()))
    })
    .await
}

/// Has the webhook refuse the statuses for a time.
pub(crate) async fn refuse_statuses(world: &World, lasts: Duration) -> Result<()> {
    world.webhook.deny(403, "refused by the test");
    tokio::time::sleep(lasts).await;
    world.webhook.allow();
    Ok(())
}
