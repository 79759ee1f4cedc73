//! A storm: the load grows fourfold while a replica takes long to load its model.
//!
//! `make test-startup LOADING=300` sets the seconds from a pod's creation until it is ready (60 by
//! default).

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod storm;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

#[tokio::main]
async fn main() -> ExitCode {
    let all = scenarios! {
        storm::replicas_start_in_parallel,
        storm::load_ends_before_replicas_start,
        storm::replicas_start_one_by_one,
        storm::half_of_the_replicas_are_unschedulable,
    };
    runner::run(all, 4).await
}
