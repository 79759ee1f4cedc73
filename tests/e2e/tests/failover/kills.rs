//! The holder is killed again and again under load.

use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::Utc;
use llm_autoscaler_e2e::Stage;
use serde_json::json;

use crate::copies::Copies;

/// The time for which a Lease lasts.
const LEASE: Duration = Duration::from_secs(5);

/// The load swings, so that sizes are written all the time, and the holder is killed by SIGKILL in
/// the middle of it, `KILLS` times.
pub(crate) async fn holder_is_killed(stage: &Stage) -> Result<String> {
    let kills = std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(3);
    stage.engine("a", 1).await?;
    let window = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    stage.autoscaler("a", json!({"behavior": window})).await?;
    let copies = Copies::start(stage, LEASE.as_secs()).await?;
    let (mut gaps, mut is_high) = (Vec::new(), false);
    for _ in 0..kills {
        let Some((holder, _)) = copies.holder().await? else { continue };
        // From far before the renewal of the Lease to far after it.
        tokio::time::sleep(LEASE.mul_f64(fastrand::f64())).await;
        let killed = Utc::now();
        copies.operator(holder).kill();
        is_high = !is_high;
        stage.waiting("a", if is_high { 11 } else { 0 });
        gaps.push(copies.gap(holder.other(), killed).await?);
        stage.until_replicas("a", if is_high { 3 } else { 1 }, LEASE * 6).await?;
        copies.run(holder)?;
        copies.until_ready(holder).await?;
        copies.ensure_one_writer()?;
    }
    let writes = copies.ensure_one_writer()?;
    gaps.sort();
    ensure!(!gaps.is_empty(), "nothing was killed");
    let quantile = |part: f64| gaps[((gaps.len() - 1) as f64 * part).round() as usize];
    let (half, most, longest) = (quantile(0.5), quantile(0.99), quantile(1.0));
    let text = format!(
        "{} kills: no double write among {writes}; gap p50 {:.1} s, p99 {:.1} s, longest {:.1} s",
        gaps.len(),
        half.as_secs_f64(),
        most.as_secs_f64(),
        longest.as_secs_f64(),
    );
    ensure!(most <= LEASE + Duration::from_secs(1), "{text}");
    Ok(text)
}
