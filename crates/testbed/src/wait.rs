//! Waits until a condition holds.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Polls every 50 ms until `probe` returns a value.
///
/// # Errors
/// Fails after `timeout` with a text that names `what`, and at once if `probe` fails.
pub async fn until<T>(
    what: &str,
    timeout: Duration,
    probe: impl AsyncFn() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = probe().await? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("waited {} s in vain: {what}", timeout.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
