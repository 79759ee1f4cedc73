//! Objects and statuses of earlier releases, as `tests/fixtures/crd` keeps them.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_testbed::{repository, wait};
use serde_json::{Value, json};

use crate::{Stage, stage::SOON};

/// The object in `remembered.yaml` of 0.1.0 that has a change of size by hand.
const BY_HAND: &str = "a";

/// Returns the files with stored objects.
fn files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for release in fs::read_dir(repository().join("tests/fixtures/crd"))? {
        let release = release?.path();
        if release.is_dir() {
            for file in fs::read_dir(release)? {
                files.push(file?.path());
            }
        }
    }
    Ok(files)
}

/// The API server accepts every stored object by the rules of today's CRD, which knows each of its
/// fields; and the operator finds nothing wrong with its spec.
pub(super) async fn stored_objects_are_accepted(stage: &Stage) -> Result<String> {
    for file in files()? {
        let file = file.to_str().context("the name of a file is not UTF-8")?;
        let apply = ["-n", &*stage.namespace, "apply", "--server-side", "--validate=strict", "-f"];
        stage.control_plane().kubectl([&apply[..], &[file]].concat()).await?;
    }
    wait::until("a status of every stored object", SOON, async || {
        let objects = stage.api::<LLMAutoscaler>().list(&ListParams::default()).await?.items;
        for object in &objects {
            let Some(status) = &object.status else { return Ok(None) };
            let invalid = status.conditions.iter().find(|found| found.reason == "InvalidSpec");
            ensure!(invalid.is_none(), "{}: {invalid:?}", object.name_any());
            if status.observed_generation != object.metadata.generation {
                return Ok(None);
            }
        }
        Ok(Some(format!("{} objects", objects.len())))
    })
    .await
}

/// An operator that starts with the status that an earlier release has written goes on with it: it
/// respects the size that was set by hand, and knows how long replicas take to start.
pub(super) async fn stored_memory_is_gone_on_with(stage: &Stage) -> Result<()> {
    stage.operator.kill();
    stage.engine(BY_HAND, 2).await?;
    stage.waiting(BY_HAND, 0);
    let mut stored = remembered()?;
    let window = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    stored["spec"]["behavior"] = window;
    stage.autoscaler(BY_HAND, stored["spec"].clone()).await?;

    let uid = stage.api::<StatefulSet>().get(BY_HAND).await?.uid().context("no UID")?;
    stored["status"]["targets"][0]["uid"] = json!(uid);
    let latest = latest(&stored["status"]).context("the status has no times")?;
    postpone(&mut stored["status"], Utc::now() - TimeDelta::seconds(10) - latest);
    let status = json!({"status": stored["status"]});
    let api = stage.api::<LLMAutoscaler>();
    api.patch_status(BY_HAND, &PatchParams::default(), &Patch::Merge(status)).await?;

    stage.operator.start()?;
    stage.until_condition(BY_HAND, "Ready", "True", "ManualChange").await?;
    // Nothing waits, there is no window, and one replica would be enough.
    stage.stays(BY_HAND, 2, Duration::from_secs(20)).await?;
    let target = stage.status(BY_HAND).await?.targets.pop().context("no target")?;
    let told = serde_json::to_value(&target)?;
    let kept = &stored["status"]["targets"][0];
    ensure!(told["manualChange"] == kept["manualChange"], "{told} instead of {kept}");
    ensure!(told["startUpSeconds"] == kept["startUpSeconds"], "{told} instead of {kept}");
    ensure!(told["history"]["changes"] == kept["history"]["changes"], "{told} instead of {kept}");
    Ok(())
}

/// Returns the stored object with a change of size by hand.
fn remembered() -> Result<Value> {
    let file = repository().join("tests/fixtures/crd/0.1.0/remembered.yaml");
    let text = fs::read_to_string(file)?;
    let objects = text.split("\n---\n").map(serde_saphyr::from_str::<Value>);
    let objects = objects.collect::<Result<Vec<_>, _>>()?;
    let by_hand = objects.into_iter().find(|object| object["metadata"]["name"] == BY_HAND);
    by_hand.context("remembered.yaml has lost an object")
}

fn time(value: &Value) -> Option<DateTime<Utc>> {
    value.as_str()?.parse().ok()
}

/// Returns the latest time in a value.
fn latest(value: &Value) -> Option<DateTime<Utc>> {
    match value {
        Value::Array(values) => values.iter().filter_map(latest).max(),
        Value::Object(fields) => fields.values().filter_map(latest).max(),
        _ => time(value),
    }
}

/// Postpones all times in a value, as if it had been written later.
fn postpone(value: &mut Value, by: TimeDelta) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| postpone(value, by)),
        Value::Object(fields) => fields.values_mut().for_each(|value| postpone(value, by)),
        _ => {
            if let Some(time) = time(value) {
                *value = json!((time + by).to_rfc3339_opts(SecondsFormat::Secs, true));
            }
        }
    }
}
