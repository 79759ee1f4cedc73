//! A storm: the load grows fourfold while a replica takes long to load its model.
//!
//! `make test-startup LOADING=300` sets the seconds from a pod's creation until it is ready (60 by
//! default).

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
