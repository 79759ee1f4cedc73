//! The holder is killed again and again under load.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use llm_autoscaler_e2e::{Stage, copies::Copies};

use crate::load;

/// Sizes and statuses are written all the time, and in the middle of that the holder of a Lease of
/// `LEASE` seconds is killed by SIGKILL, `KILLS` times.
pub(crate) async fn holder_is_killed(stage: &Stage) -> Result<String> {
    let (kills, lease) = (parameter("KILLS", 3)?, parameter("LEASE", 5)?);
    load::create_targets(stage).await?;
    let copies = Copies::start(stage, lease).await?;
    let lease = Duration::from_secs(lease);
    let gaps = tokio::select! {
        gaps = kill(&copies, kills, lease) => gaps?,
        () = load::swing(stage) => Vec::new(),
    };
    let writes = copies.ensure_one_writer()?;
    let text = summary(&gaps, lease, writes)?;
    let most = quantile(&gaps, 0.99);
    ensure!(most <= lease + Duration::from_secs(1), "{text}");
    Ok(text)
}

/// Returns the number in an environment variable, or the default where it is not set.
fn parameter(name: &str, default: u64) -> Result<u64> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    text.parse().with_context(|| format!("{name} is a number, not {text:?}"))
}

/// Kills the holder, and waits until the other copy writes. Returns the times without a write,
/// sorted.
async fn kill(copies: &Copies<'_>, kills: u64, lease: Duration) -> Result<Vec<Duration>> {
    let mut gaps = Vec::new();
    for _ in 0..kills {
        let (holder, _) = copies.holder().await?;
        // From before a renewal of the Lease to after the next one.
        tokio::time::sleep(Duration::from_secs(1) + lease.mul_f64(fastrand::f64() / 2.0)).await;
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

fn quantile(sorted: &[Duration], part: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
}

fn summary(gaps: &[Duration], lease: Duration, writes: usize) -> Result<String> {
    ensure!(!gaps.is_empty(), "nothing was killed");
    let [half, most, longest] = [0.5, 0.99, 1.0].map(|part| quantile(gaps, part).as_secs_f64());
    Ok(format!(
        "{} kills, a Lease of {} s: no double write among {writes}; time without a write p50 {half:.2} s, p99 \
         {most:.2} s, longest {longest:.2} s",
        gaps.len(),
        lease.as_secs(),
    ))
}
