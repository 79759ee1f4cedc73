//! Helm 4, which applies new releases server-side, and those of Helm 3 client-side.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::gitops::GitOpsTools;

use super::{adopt, expect_owners, manifest, writer};

/// A chart with a size is a conflict once the autoscaler has changed it. A chart may drop the size
/// once that is adopted, or written.
pub(crate) async fn size_in_a_chart(stage: &Stage) -> Result<()> {
    let tools = GitOpsTools::build().await?;
    let release = async |name: &str, replicas, more: &[&str]| {
        upgrade(stage, &tools, name, replicas, more).await
    };
    for name in ["alone", "a", "b"] {
        release(name, Some(2), &[]).await?;
    }
    adopt(stage, "a").await?;
    release("a", None, &[]).await?;
    stage.stays("a", 2, Duration::from_secs(2)).await?;

    adopt(stage, "b").await?;
    stage.waiting("b", 11);
    stage.until_replicas("b", 3, SOON).await?;
    let error = release("b", Some(2), &[]).await.err().context("no conflict")?.to_string();
    ensure!(error.contains("conflict with \"llm-autoscaler-scale\""), "{error}");
    release("b", Some(2), &["--force-conflicts"]).await?;
    stage.until_replicas("b", 3, SOON).await?;
    release("b", None, &[]).await?;
    stage.stays("b", 3, Duration::from_secs(2)).await?;
    expect_owners(stage, "b", &[&writer()]).await?;

    release("alone", None, &[]).await?;
    ensure!(stage.replicas("alone").await? == 1, "the size does not need to be adopted");
    Ok(())
}

/// A release that is applied client-side, as all of Helm 3 are, sets the size of its chart, and
/// falls to one replica when the chart drops it. It drops the size safely with the move to
/// server-side apply.
pub(crate) async fn client_side_release(stage: &Stage) -> Result<()> {
    let tools = GitOpsTools::build().await?;
    for name in ["a", "b"] {
        upgrade(stage, &tools, name, Some(2), &["--server-side=false"]).await?;
        adopt(stage, name).await?;
    }
    stage.waiting("a", 11);
    stage.until_replicas("a", 3, SOON).await?;
    upgrade(stage, &tools, "a", Some(2), &[]).await?;
    ensure!(stage.replicas("a").await? == 2, "the chart's size was not set");
    stage.until_replicas("a", 3, SOON).await?;
    upgrade(stage, &tools, "a", None, &[]).await?;
    ensure!(stage.replicas("a").await? == 1, "the size did not fall");
    stage.until_replicas("a", 3, SOON).await?;

    upgrade(stage, &tools, "b", None, &["--server-side=true"]).await?;
    stage.stays("b", 2, Duration::from_secs(2)).await
}

/// Installs or upgrades a release of a chart with this size or without one.
async fn upgrade(
    stage: &Stage,
    tools: &GitOpsTools,
    name: &str,
    replicas: Option<u32>,
    more: &[&str],
) -> Result<String> {
    let chart = chart(stage, name, replicas)?;
    let chart = chart.to_str().context("the path is not UTF-8")?;
    let args = ["upgrade", "--install", "-n", &stage.namespace, name, chart];
    tools.helm(stage.control_plane(), &[&args, more].concat()).await
}

/// Writes a chart with a StatefulSet, and returns its folder.
fn chart(stage: &Stage, name: &str, replicas: Option<u32>) -> Result<PathBuf> {
    let folder = stage.folder()?.join(format!("chart-{name}"));
    std::fs::create_dir_all(folder.join("templates"))?;
    let about = format!("apiVersion: v2\nname: {name}\nversion: 0.1.0\n");
    std::fs::write(folder.join("Chart.yaml"), about)?;
    std::fs::write(folder.join("templates/set.yaml"), manifest(stage, name, replicas)?)?;
    Ok(folder)
}
