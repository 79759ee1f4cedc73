//! Everything that is granted is used, and nothing more is asked for.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;

use crate::{
    audit::Requests,
    grants::{self, Grant, USER},
    world::{DRAINED, World},
};

/// Does everything that the operator has a permission for, and compares its requests with its
/// roles.
pub(crate) async fn no_permission_is_unused(stage: &Stage) -> Result<String> {
    grants::grant_all(stage).await?;
    let world = World::create(stage).await?;
    world.until_scaled().await?;
    for selector in DRAINED {
        world.empty(selector).await?;
        world.until_pods(selector, 1).await?;
    }
    // An event of the same size is a repetition, which is a patch.
    world.down_and_up().await?;
    world.until_pod_monitor(true).await?;
    world.set_pod_monitor("Disabled").await?;
    world.until_pod_monitor(false).await?;
    let status = world.wake().await?;
    ensure!(status == 202, "the wake call was answered by {status}");

    let granted: BTreeSet<Grant> = grants::granted(stage).await?.into_keys().collect();
    let log = stage.control_plane().audit_log();
    let unused = async || {
        let requests = Requests::of(USER, &log)?;
        ensure!(requests.refused.is_empty(), "refused: {}", list(&requests.refused));
        Ok(granted.difference(&requests.used).cloned().collect::<BTreeSet<_>>())
    };
    let all_used = wait::until("everything to be used", SOON, async || {
        Ok(unused().await?.is_empty().then_some(()))
    });
    if all_used.await.is_err() {
        bail!("granted, and never used: {}", list(&unused().await?));
    }
    Ok(format!("{} verbs on resources, each used", granted.len()))
}

fn list(grants: &BTreeSet<Grant>) -> String {
    grants.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
