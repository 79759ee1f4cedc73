//! config/namespaced: the operator serves one namespace by Roles, and asks for nothing outside.

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{Installation, SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::json;

use crate::audit::Requests;

/// Scales a StatefulSet to 3 and back, with the service account of config/namespaced.
pub(crate) async fn roles_of_one_namespace_suffice(stage: &Stage) -> Result<String> {
    let (cluster, namespace) = (stage.control_plane(), &*stage.namespace);
    stage.operator.kill();
    cluster.apply_yaml(include_str!("../../fixtures/podmonitor-crd.yaml")).await?;
    let installation = Installation::write(stage)?;
    let rendered = installation.render().await?;
    for kind in ["ClusterRole", "ClusterRoleBinding", "Namespace", "CustomResourceDefinition"] {
        ensure!(!rendered.contains(&format!("\nkind: {kind}\n")), "it has a {kind}");
    }
    installation.apply().await?;
    let account = "llm-autoscaler";
    let kubeconfig = wait::until("the ServiceAccount", SOON, async || {
        Ok(cluster.service_account_kubeconfig(namespace, account).await.ok())
    });
    stage.operator.start_as(kubeconfig.await?)?;

    stage.engine("a", 1).await?;
    stage.waiting("a", 11);
    let window = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    stage.autoscaler("a", json!({"behavior": window})).await?;
    stage.until_replicas("a", 3, SOON).await?;
    stage.until_ready("a", 3).await?;
    stage.until_condition("a", "PodMonitorReady", "True", "Applied").await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    stage.waiting("a", 0);
    stage.until_replicas("a", 1, SOON).await?;
    stage.until_event("a", "SuccessfulRescale", "New size: 1").await?;

    let user = format!("system:serviceaccount:{namespace}:{account}");
    let requests = Requests::of(&user, &cluster.audit_log())?;
    ensure!(requests.refused.is_empty(), "refused: {:?}", requests.refused);
    let outside: Vec<_> = requests.namespaces.iter().filter(|name| *name != namespace).collect();
    ensure!(outside.is_empty(), "there were requests outside of the namespace: {outside:?}");
    for listed in ["horizontalpodautoscalers", "podmonitors", "pods", "llmautoscalers"] {
        let is_listed =
            |grant: &crate::grants::Grant| grant.resource == listed && grant.verb == "list";
        ensure!(requests.used.iter().any(is_listed), "{listed} were not listed");
    }
    Ok("1 -> 3 -> 1, without a request outside of the namespace".to_owned())
}
