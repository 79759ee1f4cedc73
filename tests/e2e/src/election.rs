//! The permission that copies of the operator need for their election.

use anyhow::{Context, Result};
use llm_autoscaler_testbed::repository;

use crate::Stage;

/// Permits the operator in the namespace of a stage what `config/rbac/lease_role.yaml` permits it
/// in its own.
///
/// # Errors
/// The API server refuses it.
pub async fn permit(stage: &Stage) -> Result<()> {
    permit_buckets(stage, 1).await
}

/// Like [`permit`], for the Leases of this many buckets.
///
/// # Errors
/// The API server refuses it.
pub async fn permit_buckets(stage: &Stage, buckets: usize) -> Result<()> {
    let file = repository().join("config/rbac/lease_role.yaml");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let account = "{kind: ServiceAccount, name: llm-autoscaler";
    let of_system = format!("{account}, namespace: llm-autoscaler-system");
    let named = format!("metadata:\n  namespace: {}", stage.namespace);
    let further = (1..buckets).map(|bucket| format!(", llm-autoscaler-{bucket}"));
    let leases = format!("resourceNames: [llm-autoscaler{}]", further.collect::<String>());
    let text = text.replace("resourceNames: [llm-autoscaler]", &leases);
    let text = text.replace(account, &of_system).replace("metadata:", &named);
    stage.control_plane().apply_yaml(&text).await.map(drop)
}
