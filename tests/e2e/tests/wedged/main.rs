//! Engines that have requests and answer none. It takes five minutes until that is certain.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod engines;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

#[tokio::main]
async fn main() -> ExitCode {
    let all = scenarios! {
        engines::wedged_engine_is_replaced_once,
        engines::long_request_is_progress,
    };
    runner::run(all, 2).await
}
