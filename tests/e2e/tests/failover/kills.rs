//! The holder is killed again and again under load.

use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::Utc;
use llm_autoscaler_e2e::{Stage, copies::Copies};
use serde_json::json;

/// The time for which a Lease lasts.
const LEASE: Duration = Duration::from_secs(5);
/// The targets, of which the load changes all the time.
const TARGETS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// Sizes and statuses are written all the time, and in the middle of that the holder is killed by
/// SIGKILL, `KILLS` times.
pub(crate) async fn holder_is_killed(stage: &Stage) -> Result<String> {
    let kills = std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(3);
    let window = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    for name in TARGETS {
        stage.create_engine(name, 1).await?;
        stage.autoscaler(name, json!({"behavior": window})).await?;
    }
    for name in TARGETS {
        stage.until_ready(name, 1).await?;
    }
    let copies = Copies::start(stage, LEASE.as_secs()).await?;
    let gaps = tokio::select! {
        gaps = kill(&copies, kills) => gaps?,
        () = swing(stage) => Vec::new(),
    };
    let writes = copies.ensure_one_writer()?;
    let text = summary(&gaps, writes)?;
    let most = quantile(&gaps, 0.99);
    ensure!(most <= LEASE + Duration::from_secs(1), "{text}");
    Ok(text)
}

/// Kills the holder, and waits until the other copy writes. Returns the times without a write,
/// sorted.
async fn kill(copies: &Copies<'_>, kills: u32) -> Result<Vec<Duration>> {
    let mut gaps = Vec::new();
    for _ in 0..kills {
        let (holder, _) = copies.holder().await?;
        // From before a renewal of the Lease to after the next one.
        tokio::time::sleep(Duration::from_secs(1) + LEASE.mul_f64(fastrand::f64() / 2.0)).await;
        let killed = Utc::now();
        copies.operator(holder).kill();
        gaps.push(copies.gap(holder.other(), killed).await?);
        copies.run(holder)?;
        copies.until_ready(holder).await?;
        copies.ensure_one_writer()?;
    }
    gaps.sort();
    Ok(gaps)
}

/// Changes the load of a target after the other.
async fn swing(stage: &Stage) {
    loop {
        for name in TARGETS {
            let waiting = [0, 6, 11][fastrand::usize(0..3)];
            stage.waiting(name, waiting);
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }
}

fn quantile(sorted: &[Duration], part: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
}

fn summary(gaps: &[Duration], writes: usize) -> Result<String> {
    ensure!(!gaps.is_empty(), "nothing was killed");
    let [half, most, longest] = [0.5, 0.99, 1.0].map(|part| quantile(gaps, part).as_secs_f64());
    Ok(format!(
        "{} kills: no double write among {writes}; time without a write p50 {half:.2} s, p99 \
         {most:.2} s, longest {longest:.2} s",
        gaps.len(),
    ))
}
