//! Gateways: real ones, which find their engines in the API server, before emulated engines.
//!
//! smg and vLLM's router (tests/gateways) are installed on first use. With each of them, the size
//! follows the requests in flight at the gateway, a target at zero is woken by a request that the
//! gateway refuses, and engines that die under load make nothing grow. Dynamo's frontend
//! (tests/dynamo) tells of no request that it refuses, so that only a call wakes its workers.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod dynamo;
mod gateway;
mod scenarios;

use std::process::ExitCode;

use llm_autoscaler_e2e::runner::{self, Scenario};

use gateway::Kind;

/// Gateways and their load share the machine.
const AT_A_TIME: usize = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let scenarios = Kind::ALL.into_iter().flat_map(|kind| {
        [
            Scenario::new(format!("{kind}_in_flight"), move |stage| async move {
                scenarios::size_follows_requests_in_flight(&stage, kind).await
            }),
            Scenario::new(format!("{kind}_to_zero_and_back"), move |stage| async move {
                scenarios::refused_requests_wake_a_target(&stage, kind).await
            }),
            Scenario::new(format!("{kind}_engines_die"), move |stage| async move {
                scenarios::engines_that_die_make_nothing_grow(&stage, kind).await
            }),
        ]
    });
    let dynamo = Scenario::new("dynamo_wakes_by_calls_only", |stage| async move {
        dynamo::only_calls_wake_workers(&stage).await
    });
    runner::run(scenarios.chain([dynamo]).collect(), AT_A_TIME).await
}
