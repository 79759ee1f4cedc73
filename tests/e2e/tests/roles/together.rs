//! Roles that must have equal sizes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::ApiResource;
use llm_autoscaler_e2e::{
    SOON, Stage,
    gated::{self, GATE, PodSettings},
};
use serde_json::{Value, json};

use crate::{
    record::{Record, Sizes, story},
    rules,
    spec::{self, NAME},
};

const ROLES: [&str; 2] = ["prefill", "decode"];
const ONE: Sizes = Sizes::new(1, 1);
const THREE: Sizes = Sizes::new(3, 3);

/// Two StatefulSets with a ratio of exactly 1 grow and shrink at the same moment, although only one
/// of them has load, and although a scale-down waits for requests of the other.
pub(crate) async fn grow_and_shrink_together(stage: &Stage) -> Result<String> {
    let record = one_of_each(stage, "Parallel").await?;
    // Only prefill has load, enough for three replicas.
    set_running(stage, [40, 5]);
    let up = record.time();
    record.until(&format!("{THREE} to serve"), SOON * 2, |now| now.ready == THREE).await?;
    let up = record.time().saturating_sub(up);
    record.stays(THREE, Duration::from_secs(5)).await?;

    // A single replica is enough for both, but decode's last replicas have requests that take a
    // while.
    set_running(stage, [0, 1]);
    record.until("the last replicas to be out of service", SOON, |now| now.ready == ONE).await?;
    let held = record.time();
    tokio::time::sleep(Duration::from_secs(8)).await;
    let now = record.now()?;
    ensure!(
        now.requested == THREE,
        "a role did not wait for the other:\n{}",
        story(&record.since(held))
    );
    let draining = stage.until_condition(NAME, "Draining", "True", "WaitsForRole").await?;
    ensure!(
        draining.message.contains("prefill: 3 -> 1 is drained and waits for"),
        "{}",
        draining.message
    );
    set_running(stage, [0, 0]);
    let down = record.time();
    record
        .until(&format!("{ONE} to be left"), SOON, |now| now.requested == ONE && now.pods == ONE)
        .await?;
    let down = record.time().saturating_sub(down);

    rules::in_range(&record, 1.0, 1.0)?;
    let longest = apart(&record).context("they never changed at all")?;
    Ok(format!(
        "1 -> 3 in {:.1} s, 3 -> 1 in {:.1} s after the last request; never apart for more than {:.2} s",
        up.as_secs_f64(),
        down.as_secs_f64(),
        longest.as_secs_f64()
    ))
}

/// If each StatefulSet creates and removes one pod after the other, they shrink a step at a time,
/// both in each step.
pub(crate) async fn ordered_roles_shrink_step_by_step(stage: &Stage) -> Result<String> {
    let record = one_of_each(stage, "OrderedReady").await?;
    set_running(stage, [40, 5]);
    record.until(&format!("{THREE} to serve"), SOON * 2, |now| now.ready == THREE).await?;
    set_running(stage, [0, 0]);
    let down = record.time();
    record
        .until(&format!("{ONE} to be left"), SOON * 2, |now| {
            now.requested == ONE && now.pods == ONE
        })
        .await?;
    let down = record.time().saturating_sub(down);
    rules::in_range(&record, 1.0, 1.0)?;
    let steps =
        record.since(Duration::ZERO).iter().any(|moment| moment.requested == Sizes::new(2, 2));
    ensure!(steps, "they did not go down one by one:\n{}", story(&record.all()));
    Ok(format!("3 -> 2 -> 1 in {:.1} s", down.as_secs_f64()))
}

/// Creates one replica of each role, with next to no load.
async fn one_of_each(stage: &Stage, management: &str) -> Result<Record> {
    gated::permit(stage).await?;
    set_running(stage, [5, 5]);
    spec::apply(stage, NAME, &spec()).await?;
    for role in ROLES {
        let settings = PodSettings { gates: &[GATE], management, ..PodSettings::default() };
        gated::create_with(stage, &format!("{NAME}-{role}"), 1, &settings).await?;
        stage.until_ready(&format!("{NAME}-{role}"), 1).await?;
    }
    Record::start(stage, &ApiResource::erase::<StatefulSet>(&())).await
}

fn spec() -> Value {
    let role = |name: &str| {
        let target = json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "name": format!("{NAME}-{name}"),
        });
        spec::with(spec::role(name, 3, 10), "scaleTargetRef", target)
    };
    let spec = spec::of_roles(6, &ROLES.map(role), ["1", "1"]);
    spec::with(spec, "drain", json!({"deadlineSeconds": 120}))
}

/// Makes all pods of prefill and of decode, including future ones, report this many running
/// requests.
fn set_running(stage: &Stage, running: [u64; 2]) {
    for (role, running) in ROLES.into_iter().zip(running) {
        stage.page(&format!("{NAME}-{role}"), &gated::page(running));
    }
}

/// Returns the longest time for which the sizes differed; `None` if the record has only one moment.
fn apart(record: &Record) -> Option<Duration> {
    let all = record.all();
    let lasted = all.windows(2).map(|two| {
        let were_apart = two[0].requested.prefill != two[0].requested.decode;
        if were_apart { two[1].at.saturating_sub(two[0].at) } else { Duration::ZERO }
    });
    lasted.max()
}
