//! A storm: load that grows fourfold while a replica takes long to load its model.
//!
//! `make test-startup LOADING=300`: so many seconds from a pod's creation until it answers and is ready (60 if not said).

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod storm;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

#[tokio::main]
async fn main() -> ExitCode {
    let all = scenarios! {
        storm::all_at_once,
        storm::over_before_they_load,
        storm::one_after_the_other,
        storm::no_room,
    };
    runner::run(all, 4).await
}
