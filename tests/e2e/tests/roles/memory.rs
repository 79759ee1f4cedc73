//! The status of roles across restarts, and when roles are found, lost and renamed.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::DeleteParams;
use llm_autoscaler_e2e::{SOON, Stage, gated};
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};

use crate::spec::{self, NAME};

/// With targets named differently from their roles, the status names each by its role.
pub(crate) async fn status_names_targets_by_their_roles(stage: &Stage) -> Result<()> {
    for role in ["prefill", "decode"] {
        let name = format!("{NAME}-{role}");
        stage.page(&name, &gated::page(5));
        stage.create_engine(&name, 2).await?;
        stage.until_ready(&name, 2).await?;
    }
    stage.control_plane().apply_yaml(include_str!("../../fixtures/podmonitor-crd.yaml")).await?;
    let crd = "crd/podmonitors.monitoring.coreos.com";
    stage
        .control_plane()
        .kubectl(["wait", "--for=condition=Established", crd, "--timeout=30s"])
        .await?;
    spec::apply(stage, NAME, &of("prefill")).await?;
    stage.until_condition(NAME, "Ready", "True", "Scaling").await?;
    until_monitored(stage, "pd-prefill", true).await?;
    until_told(stage, ["prefill", "decode"]).await?;

    // After a restart the status does not change before there are new samples.
    let snapshot = async || -> Result<_> {
        let status = stage.status(NAME).await?;
        let names: Vec<_> =
            status.conditions.iter().map(|condition| condition.type_.clone()).collect();
        Ok((status.current_replicas, status.summary, names))
    };
    let before = snapshot().await?;
    stage.operator.kill();
    stage.operator.start()?;
    for _ in 0..60 {
        let now = snapshot().await?;
        ensure!(now == before, "{before:?} became {now:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // The role gets another name for the same object.
    spec::apply(stage, NAME, &of("front")).await?;
    until_told(stage, ["front", "decode"]).await?;
    ensure!(stage.status(NAME).await?.current_replicas == Some(4), "{:?}", snapshot().await?);
    until_monitored(stage, "pd-prefill", false).await?;
    // The role is renamed while no operator runs.
    stage.operator.kill();
    spec::apply(stage, NAME, &of("first")).await?;
    stage.operator.start()?;
    until_told(stage, ["first", "decode"]).await?;
    until_monitored(stage, "pd-front", false).await?;
    until_monitored(stage, "pd-first", true).await?;

    // A target is deleted, and only that role is reported.
    let lost = format!("{NAME}-decode");
    stage.api::<StatefulSet>().delete(&lost, &DeleteParams::default()).await?;
    let missing = stage.until_condition(NAME, "AbleToScale", "False", "FailedGetScale").await?;
    ensure!(missing.message.starts_with("decode: "), "{}", missing.message);
    stage.until_event(NAME, "FailedGetScale", "decode: ").await?;
    let events = stage.events(NAME, "FailedGetScale").await?;
    ensure!(events.iter().all(|note| note.starts_with("decode: ")), "{events:?}");
    // It exists again, and the other one is deleted.
    stage.create_engine(&lost, 2).await?;
    stage.until_condition(NAME, "AbleToScale", "True", "ReadyForNewScale").await?;
    stage.api::<StatefulSet>().delete(&format!("{NAME}-prefill"), &DeleteParams::default()).await?;
    let missing = stage.until_condition(NAME, "AbleToScale", "False", "FailedGetScale").await?;
    ensure!(
        missing.message.starts_with("first: ") && !missing.message.contains("decode: "),
        "{}",
        missing.message
    );
    stage.until_event(NAME, "FailedGetScale", "first: ").await
}

async fn until_told(stage: &Stage, names: [&str; 2]) -> Result<()> {
    wait::until(&format!("the status to name {names:?}"), SOON, async || {
        let targets = stage.status(NAME).await?.targets;
        Ok(targets.iter().map(|target| &*target.name).eq(names).then_some(()))
    })
    .await
}

/// Waits until a PodMonitor exists, or does not if `expected` is false. The one of decode must
/// exist throughout.
async fn until_monitored(stage: &Stage, name: &str, expected: bool) -> Result<()> {
    wait::until(&format!("the PodMonitor {name} to be there: {expected}"), SOON, async || {
        let get = ["-n", &stage.namespace, "get", "podmonitors", "-o", "name"];
        let found = stage.control_plane().kubectl(get).await?;
        let is_there = |name: &str| found.lines().any(|line| line.rsplit('/').next() == Some(name));
        Ok((is_there(name) == expected && is_there("pd-decode")).then_some(()))
    })
    .await
}

/// Returns a spec with a role of this name, and decode.
fn of(first: &str) -> Value {
    let role = |name: &str, target: &str| {
        let target = json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "name": format!("{NAME}-{target}"),
        });
        spec::with(spec::role(name, 3, 5), "scaleTargetRef", target)
    };
    let spec =
        spec::of_roles(6, &[role(first, "prefill"), role("decode", "decode")], ["500m", "2"]);
    spec::with(spec, "ratio", json!({"between": [first, "decode"], "min": "500m", "max": "2"}))
}
