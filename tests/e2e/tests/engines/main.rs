//! Engines: by the requests in flight of any engine, an autoscaler grows its target under load and
//! shrinks it afterwards.
//!
//! First the recorded pages of all engines, as scripts. Then real engines under real load, one
//! scenario at a time because they share the machine: vLLM (tests/vllm), and NVIDIA Dynamo with its
//! mock engine (tests/dynamo). Both are installed on first use.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod dynamo;
mod pages;
mod processes;
mod real;
mod vllm;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

/// Scripted pages hardly load the machine.
const AT_A_TIME: usize = 7;

#[tokio::main]
async fn main() -> ExitCode {
    let real = scenarios! {
        dynamo::real_dynamo_by_frontends,
        dynamo::real_dynamo_by_workers,
        vllm::real_vllm,
    };
    runner::run_in_turn(vec![(pages::matrix(), AT_A_TIME), (real, 1)]).await
}
