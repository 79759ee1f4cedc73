//! Targets that are scaled, and of which the status is written, all the time.

use std::time::Duration;

use anyhow::Result;
use llm_autoscaler_e2e::Stage;
use serde_json::json;

/// The targets, of which the load changes all the time.
const TARGETS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// Creates the targets with their autoscalers, which have no window.
pub(crate) async fn create_targets(stage: &Stage) -> Result<()> {
    let window = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    for name in TARGETS {
        stage.create_engine(name, 1).await?;
        stage.autoscaler(name, json!({"behavior": window})).await?;
    }
    for name in TARGETS {
        stage.until_ready(name, 1).await?;
    }
    Ok(())
}

/// Changes the load of a target after the other.
pub(crate) async fn swing(stage: &Stage) {
    loop {
        for name in TARGETS {
            let waiting = [0, 6, 11][fastrand::usize(0..3)];
            stage.waiting(name, waiting);
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }
}
