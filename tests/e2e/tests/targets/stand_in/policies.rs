//! Roles with a CoordinatedPolicy, by which they grow only together.

use anyhow::Result;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::rbg::Kind;
use serde_json::json;

use crate::groups::{Groups, measured, number, scalable, standalone};

/// Growth comes in batches, and each waits until the previous one is ready. Meanwhile no role of
/// the policy shrinks.
pub(crate) async fn growth_waits_for_the_batch_before(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    let role = |name: &str| scalable(standalone(stage, name, 2));
    groups.group("pd", &[role("prefill"), role("decode")]).await?;
    let scaling = json!({"maxSkew": "20%", "progression": "OrderReady"});
    let policies = json!([{
        "name": "together",
        "roles": ["prefill", "decode"],
        "strategy": {"scaling": scaling},
    }]);
    // The policy's name selects the group.
    groups.create(Kind::Policy, "pd", json!({"policies": policies})).await?;

    for ordinal in 2..20 {
        stage.script.set_ready(&format!("{}/pd-prefill-{ordinal}", stage.namespace), false);
    }
    groups.scale("pd-prefill", 10).await?;
    groups.until_role("pd", "prefill", 4, 2).await?;
    groups.scale("pd-decode", 10).await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let seen = workloads(&groups).await?;
    measured(
        "both 2 to 10: prefill 4, decode 2, until prefill's pods are ready",
        seen == [Some(4), Some(2)],
        seen,
    )?;
    groups.scale("pd-decode", 1).await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let seen = workloads(&groups).await?;
    measured(
        "a role keeps its size, though it is to shrink, while the batch of another is not ready",
        seen == [Some(4), Some(2)],
        seen,
    )?;
    groups.scale("pd-decode", 10).await?;
    let adapter = groups.get(Kind::Adapter, "pd-prefill").await?;
    let echo = number(&adapter, "/status/replicas");
    measured("an adapter's status.replicas is the desired number", echo == Some(10), echo)?;

    for ordinal in 2..20 {
        stage.script.set_ready(&format!("{}/pd-prefill-{ordinal}", stage.namespace), true);
    }
    groups.until_role("pd", "prefill", 10, 10).await?;
    groups.until_role("pd", "decode", 10, 10).await?;
    measured("both roles go on to 10", true, ())?;

    // Nothing grows any more when the only growing role is to shrink.
    for ordinal in 10..20 {
        stage.script.set_ready(&format!("{}/pd-prefill-{ordinal}", stage.namespace), false);
    }
    groups.scale("pd-prefill", 20).await?;
    let is_on_its_way = |set: &_| number(set, "/spec/replicas") == Some(14);
    groups.until(Kind::InstanceSet, "pd-prefill", "a batch of 4", is_on_its_way).await?;
    groups.scale("pd-prefill", 3).await?;
    groups.until_role("pd", "prefill", 3, 3).await?;
    measured("scaling from 20 to 3 is done at once where no other role grows", true, ())
}

async fn workloads(groups: &Groups<'_>) -> Result<[Option<i64>; 2]> {
    let prefill = groups.get(Kind::InstanceSet, "pd-prefill").await?;
    let decode = groups.get(Kind::InstanceSet, "pd-decode").await?;
    Ok([number(&prefill, "/spec/replicas"), number(&decode, "/spec/replicas")])
}
