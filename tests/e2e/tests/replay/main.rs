//! `llm-autoscaler replay` against real servers that scraped emulated engines under a known load.
//!
//! The load takes a minute; `REPLAY_SECONDS=600` makes it ten. The program runs all scenarios, or
//! those with names that contain the argument.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod found;
mod proxy;
mod servers;
mod service;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

/// Each scenario keeps engines busy, so that more at once would slow each other down.
const AT_A_TIME: usize = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let scenarios = scenarios! {
        servers::prometheus_finds_the_load,
        servers::gap_is_told,
        servers::victoria_metrics_finds_the_load,
        servers::thanos_finds_the_load,
    };
    runner::run(scenarios, AT_A_TIME).await
}
