//! A group is ready as a whole or not at all. The count of LeaderWorkerSet v0.8 ignores the
//! workers; ours includes them, and so does its own from v0.9 on.

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{LwsVersion, Page, wait};

use crate::{controller, groups::Groups};

/// Waits until the set's own status counts one of two groups as ready, or both where the
/// controller ignores workers.
async fn until_counted(groups: &Groups<'_>) -> Result<u32> {
    let counted = if controller::version()? == LwsVersion::V0_8 { 2 } else { 1 };
    groups.until_counted_ready(counted).await?;
    Ok(counted)
}

/// A worker that is not ready makes its group an unready replica.
pub(crate) async fn group_with_an_unready_worker_is_not_ready(stage: &Stage) -> Result<String> {
    let groups = Groups::create(stage, "a", 2).await?;
    for group in 0..2 {
        groups.leader(group, Page::waiting(5));
    }
    groups.autoscale().await?;
    until_ready(stage, 2).await?;

    groups.set_worker_ready(1, 2, false);
    until_ready(stage, 1).await?;
    let counted = until_counted(&groups).await?;
    groups.set_worker_ready(1, 2, true);
    until_ready(stage, 2).await?;
    let sizes = groups.sizes();
    ensure!(sizes == [2], "the requested sizes are {sizes:?}");
    Ok(format!("{counted} ready by LeaderWorkerSet's count, 1 by ours; mended: 2"))
}

/// A group that still lacks a worker is a starting replica: it is no capacity, but the requests
/// that wait at its leader are load.
pub(crate) async fn group_that_lacks_a_worker_is_on_its_way(stage: &Stage) -> Result<String> {
    let groups = Groups::create(stage, "a", 1).await?;
    groups.leave_pending(1, 2);
    groups.autoscale().await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;

    groups.leader(0, Page::waiting(8));
    groups.until_size(2).await?;
    until_counted(&groups).await?;
    until_ready(stage, 1).await?;
    groups.stays(Duration::from_secs(6)).await?;
    // 16 waiting requests require four groups.
    groups.leader(1, Page::waiting(8));
    groups.until_size(4).await?;
    until_ready(stage, 3).await?;
    let sizes = groups.sizes();
    ensure!(sizes == [1, 2, 4], "the requested sizes are {sizes:?}");
    Ok("1 -> 2, and 2 -> 4 by 8 requests that wait at the leader of a group without its worker"
        .to_owned())
}

/// Waits until the autoscaler's status counts this many ready groups.
async fn until_ready(stage: &Stage, groups: i32) -> Result<()> {
    wait::until(&format!("the status to count {groups} ready groups"), SOON, async || {
        let targets = stage.status("a").await?.targets;
        Ok(targets.first().is_some_and(|target| target.ready_replicas == groups).then_some(()))
    })
    .await
}
