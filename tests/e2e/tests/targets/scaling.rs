//! The operator scales targets with several pods per replica, and targets that have no scale
//! subresource of their own.

pub(crate) mod admission;
pub(crate) mod coordinated;
pub(crate) mod drains;
pub(crate) mod dynamo;
pub(crate) mod grove;
pub(crate) mod refused;
pub(crate) mod roles;
pub(crate) mod rolling;
pub(crate) mod stateless;
pub(crate) mod units;

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::engine::Page;
use llm_autoscaler_testbed::rbg::Kind;
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};

use crate::groups::{Groups, number, replicas_of};

/// The load that workers' pages report, which must never count.
const WRONG: u64 = 1000;

/// Returns a reference to a role.
fn role(group: &str, role: &str) -> Value {
    json!({
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": "RoleBasedGroup",
        "name": group,
        "role": role,
    })
}

/// Returns a behavior without a window for scale-downs.
fn without_window() -> Value {
    json!({"scaleDown": {"stabilizationWindowSeconds": 0}})
}

/// Sets the pages of the pods NAME-INDEX-MEMBER: leaders report `waiting` requests, workers report
/// a wrong load.
fn set_leaders_waiting(groups: &Groups<'_>, name: &str, size: u32, waiting: u64) {
    for replica in 0..6 {
        for member in 0..size {
            let page = Page::waiting(if member == 0 { waiting } else { WRONG });
            groups
                .stage
                .script
                .set(&format!("{}/{name}-{replica}-{member}", groups.stage.namespace), page);
        }
    }
}

/// Waits until the status of an autoscaler counts this many replicas, and this many ready ones.
async fn until_counted(stage: &Stage, autoscaler: &str, replicas: i32, ready: i32) -> Result<()> {
    let what = format!("{autoscaler} to count {replicas} replicas, {ready} ready");
    wait::until(&what, SOON, async || {
        let targets = stage.status(autoscaler).await?.targets;
        let counts = targets.first().map(|target| (target.current_replicas, target.ready_replicas));
        Ok((counts == Some((replicas, ready))).then_some(()))
    })
    .await
}

/// Waits until the adapter, or the role if it has none, requests this many replicas.
async fn until_requested(
    groups: &Groups<'_>,
    group: &str,
    role: &str,
    replicas: i64,
) -> Result<()> {
    wait::until(&format!("{group}/{role} to be scaled to {replicas}"), SOON, async || {
        Ok((requested(groups, group, role).await? == Some(replicas)).then_some(()))
    })
    .await
}

/// Watches a role for a while, and fails if it ever requests another number of replicas.
async fn stays(
    groups: &Groups<'_>,
    group: &str,
    role: &str,
    replicas: i64,
    how_long: Duration,
) -> Result<()> {
    let end = tokio::time::Instant::now() + how_long;
    while tokio::time::Instant::now() < end {
        let now = requested(groups, group, role).await?;
        ensure!(
            now == Some(replicas),
            "{group}/{role} was to stay at {replicas}, and was scaled to {now:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn requested(groups: &Groups<'_>, group: &str, role: &str) -> Result<Option<i64>> {
    let adapter = groups.api(Kind::Adapter).get_opt(&format!("{group}-{role}")).await?;
    Ok(match adapter {
        Some(adapter) => number(&adapter, "/spec/replicas"),
        None => replicas_of(&groups.get(Kind::Group, group).await?, role),
    })
}
