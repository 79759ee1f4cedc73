//! Waiting for something to become true.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Polls until `probe` gives a value, every 50 ms.
///
/// # Errors
/// After `timeout`, saying what was awaited; at once where `probe` fails.
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
