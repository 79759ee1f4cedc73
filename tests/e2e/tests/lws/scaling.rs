//! Sizes of LeaderWorkerSets are counted in groups, never in pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{Page, wait};
use serde_json::json;

use crate::{
    controller::Controller,
    groups::{Groups, SIZE},
};

/// The time that a size must stay. It exceeds the lifetime of stale samples with a scrape a second:
/// three intervals and a timeout.
const WATCHED: Duration = Duration::from_secs(9);

/// The set grows from 1 group to 3 and back, with no other size in between.
pub(crate) async fn groups_grow_and_go(stage: &Stage) -> Result<String> {
    let groups = Groups::create(stage, "a", 1).await?;
    groups.autoscale().await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    groups.stays(Duration::from_secs(3)).await?;

    // A load of 11 at a target of 5 requires 3 replicas, however it is spread over the leaders.
    groups.leader(0, Page::waiting(11));
    groups.until_size(3).await?;
    groups.until_served(3).await?;
    until_status_counts(stage, 3).await?;
    until_row(stage, "LeaderWorkerSet/a VLLM waiting 3666m/5 1 8 3 3 True").await?;
    groups.stays(Duration::from_secs(3)).await?;

    groups.leader(0, Page::idle());
    groups.until_size(1).await?;
    groups.until_served(1).await?;
    until_status_counts(stage, 1).await?;
    until_row(stage, "LeaderWorkerSet/a VLLM waiting 0/5 1 8 1 1 True").await?;

    let sizes = groups.sizes();
    ensure!(sizes == [1, 3, 1], "the requested sizes are {sizes:?}");
    let scrapes = groups.requests_of_workers();
    ensure!(
        scrapes == 0,
        "workers were scraped {scrapes} times, although their pages do not count"
    );
    Ok(format!("groups of {SIZE} pods: 1 -> 3 -> 1; no worker was scraped"))
}

/// All pods of a group have the same key. No two groups do, not even groups of two sets, which have
/// the same indices.
pub(crate) async fn groups_of_two_sets_have_keys_of_their_own(stage: &Stage) -> Result<()> {
    let _sets = [Groups::create(stage, "a", 2).await?, Groups::create(stage, "b", 1).await?];
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for pod in stage.api::<Pod>().list(&ListParams::default()).await?.items {
        let key = pod
            .labels()
            .get("leaderworkerset.sigs.k8s.io/group-key")
            .context("a pod without a key")?;
        groups.entry(key.clone()).or_default().insert(pod.name_any());
    }
    let whole =
        |leader: &str| [leader.to_owned(), format!("{leader}-1"), format!("{leader}-2")].into();
    let expected: BTreeSet<BTreeSet<String>> = ["a-0", "a-1", "b-0"].map(whole).into();
    ensure!(groups.values().cloned().collect::<BTreeSet<_>>() == expected, "{groups:?}");
    Ok(())
}

/// The highest group is drained before it is removed: all of its pods leave service, and its
/// leader's page shows when it is empty.
pub(crate) async fn highest_group_drains(stage: &Stage) -> Result<()> {
    const GATE: &str = "llmautoscaler.io/in-service";
    let label = "llmautoscaler.io/aggregate-to-targets=true";
    let role = "llm-autoscaler-in-service";
    stage.control_plane().kubectl(["label", "--overwrite", "clusterrole", role, label]).await?;
    let groups = Groups::create_with(stage, "a", 3, &[GATE]).await?;
    let set_waiting =
        |waiting: u64| (0..3).for_each(|group| groups.leader(group, Page::waiting(waiting)));
    set_waiting(5);
    groups.autoscale_with(json!({"drain": {"deadlineSeconds": 60}})).await?;
    stage.until_condition("a", "Draining", "False", "Idle").await?;

    set_waiting(2);
    wait::until("the last group to be out of service", SOON, async || {
        let pods = stage.api::<Pod>().list(&ListParams::default()).await?.items.into_iter().filter(
            |pod| {
                let conditions =
                    pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
                conditions
                    .into_iter()
                    .any(|condition| condition.type_ == GATE && condition.status == "False")
            },
        );
        let closed: Vec<String> = pods.map(|pod| pod.name_any()).collect();
        ensure!(closed.iter().all(|name| name.starts_with("a-2")), "{closed:?} are out of service");
        Ok((closed.len() == SIZE as usize).then_some(()))
    })
    .await?;
    groups.stays(Duration::from_secs(3)).await?;
    set_waiting(3);
    groups.leader(2, Page::idle());
    groups.until_size(2).await?;
    groups.until_served(2).await?;
    stage.until_condition("a", "Draining", "False", "Drained").await.map(drop)
}

/// A group with a leader that does not answer is not idle, whatever its workers report: nothing
/// shrinks until the leader answers again.
pub(crate) async fn silent_leader_holds_the_size(stage: &Stage) -> Result<String> {
    let groups = Groups::create(stage, "a", 3).await?;
    for group in 0..3 {
        groups.leader(group, Page::waiting(5));
    }
    groups.autoscale().await?;
    stage.until_condition("a", "SamplesComplete", "True", "AllReplicas").await?;

    groups.leader(2, Page::Hang);
    // Until the silence is noticed, the leader's last sample still counts.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    groups.leader(0, Page::idle());
    groups.leader(1, Page::idle());
    groups.stays(WATCHED).await?;
    let silent = stage.until_condition("a", "SamplesComplete", "False", "MissingSamples").await?;
    ensure!(silent.message.contains("a-2: http://"), "{}", silent.message);

    groups.leader(2, Page::idle());
    groups.until_size(1).await?;
    groups.until_served(1).await?;
    let (sizes, scrapes) = (groups.sizes(), groups.requests_of_workers());
    ensure!(sizes == [3, 1], "the requested sizes are {sizes:?}");
    ensure!(
        scrapes == 0,
        "workers were scraped {scrapes} times, although their pages do not count"
    );
    Ok("one of three leaders: held at 3, SamplesComplete=False; answering again: 3 -> 1".to_owned())
}

/// Without the controller no groups are created. The operator requests a size once and does not
/// repeat it, and goes on scaling other kinds.
pub(crate) async fn controller_is_gone_for_a_while(
    stage: &Stage,
    controller: &Controller,
) -> Result<String> {
    let groups = Groups::create(stage, "a", 1).await?;
    groups.autoscale().await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;

    controller.kill();
    stage.engine("other", 2).await?;
    groups.leader(0, Page::waiting(11));
    groups.until_size(3).await?;
    groups.stays(WATCHED).await?;

    controller.start(stage.control_plane()).await?;
    groups.until_served(3).await?;
    until_status_counts(stage, 3).await?;
    let sizes = groups.sizes();
    ensure!(sizes == [1, 3], "the requested sizes are {sizes:?}");
    Ok("without the controller: other pods start, 1 -> 3 is requested once; with it again: 3 groups".to_owned())
}

/// Waits until the autoscaler's status has this many groups as desired and as ready.
async fn until_status_counts(stage: &Stage, groups: i32) -> Result<()> {
    let what = format!("the status to count {groups} desired and ready groups");
    wait::until(&what, SOON, async || {
        let status = stage.status("a").await?;
        let ready = status.targets.first().map(|target| target.ready_replicas);
        let counted = [status.current_replicas, status.desired_replicas, ready];
        Ok((counted == [Some(groups); 3]).then_some(()))
    })
    .await
}

/// Waits until `kubectl get` shows the autoscaler `a` like this, with one space between columns and
/// without its age.
async fn until_row(stage: &Stage, expected: &str) -> Result<()> {
    wait::until(&format!("kubectl get llmautoscalers to show {expected:?}"), SOON, async || {
        let args = ["-n", &stage.namespace, "get", "llmautoscalers", "a", "--no-headers"];
        let row = stage.control_plane().kubectl(args).await?;
        let columns: Vec<_> = row.split_whitespace().skip(1).collect();
        Ok(columns.join(" ").starts_with(&format!("{expected} ")).then_some(()))
    })
    .await
}
