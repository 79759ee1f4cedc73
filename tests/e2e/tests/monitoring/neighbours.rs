//! PodMonitors that people have created.

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use llm_autoscaler_testbed::wait;
use serde_json::json;

use crate::setting::{RECONCILED, SOON, Setting};

/// If a person's PodMonitor has the same pods at the same port, ours is removed, and applied again
/// when theirs is gone: series that are scraped twice are counted twice, and billed twice.
pub(crate) async fn removed_beside_a_persons_pod_monitor(setting: &Setting) -> Result<()> {
    setting.engine("a", 1).await?;
    setting.autoscaler("a", json!({})).await?;
    setting.until_applied("a").await?;
    setting.until_only_job("a").await?;

    setting.persons_monitor("by-hand", "a").await?;
    let message = setting.until_not_ready("a", "AlreadyMonitored").await?;
    ensure!(message.contains(&format!("{}/by-hand", setting.namespace)), "{message}");
    setting.until_no_monitor("a").await?;
    setting.until_only_job("by-hand").await?;
    setting.until_condition("a", "Ready", "True", "Scaling").await?;

    setting.monitors().delete("by-hand", &DeleteParams::default()).await?;
    wait::until("our PodMonitor to be applied again", RECONCILED, async || {
        setting.monitor("a").await
    })
    .await?;
    setting.until_applied("a").await?;
    setting.until_only_job("a").await.map(|_| ())
}

/// A person's PodMonitor of the autoscaler's name is neither changed nor removed.
pub(crate) async fn persons_pod_monitor_is_left_alone(setting: &Setting) -> Result<()> {
    setting.engine("a", 1).await?;
    setting.persons_monitor("a", "something-else").await?;
    let before = setting.monitor("a").await?.context("no PodMonitor")?;
    setting.autoscaler("a", json!({})).await?;
    let message = setting.until_not_ready("a", "NotOurs").await?;
    ensure!(message.contains("not made by this autoscaler"), "{message}");

    setting.autoscaler("a", json!({"podMonitor": {"mode": "Disabled"}})).await?;
    wait::until("the condition to be gone", SOON, async || {
        let conditions = setting.status("a").await?.conditions;
        Ok(conditions.iter().all(|condition| condition.type_ != "PodMonitorReady").then_some(()))
    })
    .await?;
    let after = setting.monitor("a").await?;
    ensure!(after.as_ref() == Some(&before), "it was {before}, and is {after:?}");
    Ok(())
}
