//! Client-side `kubectl apply`, which remembers in an annotation what it has applied.

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};

use super::{adopt, apply, expect_owners, manifest, writer};

/// A manifest that lacks the size sets it to one, although the operator owns it, unless kubectl has
/// been made to forget it first. That is so before the autoscaler's first write and after it.
pub(crate) async fn size_falls_unless_it_is_forgotten_first(stage: &Stage) -> Result<()> {
    apply(stage, &[], &manifest(stage, "a", Some(2))?).await?;
    adopt(stage, "a").await?;
    for size in [2, 3] {
        if size == 3 {
            stage.waiting("a", 11);
            stage.until_replicas("a", 3, SOON).await?;
            // A file with a size sets that size without a word.
            apply(stage, &[], &manifest(stage, "a", Some(2))?).await?;
            ensure!(stage.replicas("a").await? == 2, "the size was not set");
            stage.until_replicas("a", 3, SOON).await?;
        }
        apply(stage, &[], &manifest(stage, "a", None)?).await?;
        ensure!(stage.replicas("a").await? == 1, "the size did not fall from {size}");
        stage.until_replicas("a", size, SOON).await?;

        apply(stage, &[], &manifest(stage, "a", u32::try_from(size).ok())?).await?;
        apply(stage, &["set-last-applied"], &manifest(stage, "a", None)?).await?;
        apply(stage, &[], &manifest(stage, "a", None)?).await?;
        stage.stays("a", size, Duration::from_secs(2)).await?;
        // The next round begins with a size in the file.
        apply(stage, &[], &manifest(stage, "a", u32::try_from(size).ok())?).await?;
    }
    Ok(())
}

/// A target that was applied client-side can be applied server-side, without its size, once that is
/// adopted.
pub(crate) async fn move_to_server_side_apply(stage: &Stage) -> Result<()> {
    for name in ["alone", "a"] {
        apply(stage, &[], &manifest(stage, name, Some(2))?).await?;
    }
    adopt(stage, "a").await?;
    for name in ["alone", "a"] {
        apply(stage, &["--server-side"], &manifest(stage, name, None)?).await?;
    }
    stage.stays("a", 2, Duration::from_secs(2)).await?;
    ensure!(stage.replicas("alone").await? == 1, "the size does not need to be adopted");
    stage.waiting("a", 11);
    stage.until_replicas("a", 3, SOON).await?;
    expect_owners(stage, "a", &[&writer()]).await
}
