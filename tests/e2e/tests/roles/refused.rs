//! A role that belongs to another owner.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::api::DeleteParams;
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::{SOON, Stage};
use serde_json::{Value, json};

use crate::spec::{self, NAME, role, with};

/// Creation timestamps have a resolution of a second.
const A_SECOND: Duration = Duration::from_millis(1100);
const PREFILL: &str = "pd-prefill";
const DECODE: &str = "pd-decode";

/// A role whose target belongs to an older autoscaler is left alone. The other one is scaled
/// meanwhile, within the room that the first one leaves, unless a ratio ties it to that.
pub(crate) async fn role_of_another_owner_stops_no_other(stage: &Stage) -> Result<()> {
    stage.engine(PREFILL, 1).await?;
    stage.engine(DECODE, 2).await?;
    stage.waiting(PREFILL, 5);
    stage.waiting(DECODE, 5);
    let owner = json!({"scaleTargetRef": target(DECODE), "minReplicas": 2, "maxReplicas": 2});
    stage.autoscaler("first", owner).await?;
    stage.until_condition("first", "Ready", "True", "Scaling").await?;
    tokio::time::sleep(A_SECOND).await;

    let tied = with(spec(), "ratio", json!({"between": ["prefill", "decode"], "max": "4"}));
    spec::apply(stage, NAME, &spec()).await?;
    let able = stage.until_condition(NAME, "AbleToScale", "False", "TargetTaken").await?;
    let expected = "decode: StatefulSet/pd-decode belongs to the LLMAutoscaler first";
    ensure!(able.message.starts_with(expected), "{}", able.message);
    // Three are needed, and two of the four that both may have are decode's.
    stage.waiting(PREFILL, 40);
    stage.until_replicas(PREFILL, 2, SOON).await?;
    stage.stays(PREFILL, 2, Duration::from_secs(4)).await?;
    stage.until_condition(NAME, "AbleToScale", "False", "TargetTaken").await?;
    stage.waiting(PREFILL, 0);
    stage.until_replicas(PREFILL, 1, SOON).await?;

    spec::apply(stage, NAME, &tied).await?;
    stage.until_condition(NAME, "AbleToScale", "False", "TargetTaken").await?;
    stage.waiting(PREFILL, 40);
    stage.stays(PREFILL, 1, Duration::from_secs(6)).await?;

    stage.api::<LLMAutoscaler>().delete("first", &DeleteParams::default()).await?;
    stage.until_replicas(PREFILL, 2, SOON).await?;
    ensure!(stage.replicas(DECODE).await? == 2, "decode has lost a replica that it needs");
    stage.until_condition(NAME, "Ready", "True", "Scaling").await.map(drop)
}

/// Returns the spec of two roles under a ceiling of four replicas, without a ratio.
fn spec() -> Value {
    let role = |name, target_name| with(role(name, 8, 16), "scaleTargetRef", target(target_name));
    let roles = [role("prefill", PREFILL), role("decode", DECODE)];
    let mut spec = spec::of_roles(4, &roles, ["1", "1"]);
    spec.as_object_mut().map(|fields| fields.remove("ratio"));
    spec
}

fn target(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name})
}
