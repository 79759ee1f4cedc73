//! Starts programs that listen on a loopback port.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Process, Spec};

/// The time that a program may take to become ready on a busy machine.
const READY: Duration = Duration::from_mins(1);
/// The number of ports that are tried.
const ATTEMPTS: u32 = 4;

/// Starts a program on a free port, and waits until it is ready.
pub(crate) async fn start(
    spec: impl Fn(u16) -> Result<Spec>,
    is_ready: impl AsyncFn(u16) -> bool,
) -> Result<(Process, u16)> {
    for _ in 0..ATTEMPTS {
        let port = free_port()?;
        let mut process = Process::start(spec(port)?)?;
        if until_ready(&mut process, async || is_ready(port).await).await? {
            return Ok((process, port));
        }
    }
    bail!("other programs took the port {ATTEMPTS} times in a row")
}

/// Draws a port that is free at this moment.
pub(crate) fn free_port() -> Result<u16> {
    let held =
        TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port on 127.0.0.1")?;
    Ok(held.local_addr()?.port())
}

/// Waits until the program is ready. Returns false if another program took the port.
async fn until_ready(process: &mut Process, is_ready: impl AsyncFn() -> bool) -> Result<bool> {
    let deadline = Instant::now() + READY;
    loop {
        if let Some(status) = process.exited() {
            let (name, log) = (process.name(), process.log_tail(20));
            if log.contains("address already in use") {
                return Ok(false);
            }
            bail!("{name} ended with {status} while starting; its log ends with:\n{log}");
        }
        if is_ready().await {
            return Ok(true);
        }
        if Instant::now() > deadline {
            let (name, log, seconds) = (process.name(), process.log_tail(20), READY.as_secs());
            bail!("{name} was not ready within {seconds} s; its log ends with:\n{log}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns true if a URL answers with success.
pub(crate) async fn answers(client: &reqwest::Client, url: &str) -> bool {
    let answer = client.get(url).timeout(Duration::from_secs(1)).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
