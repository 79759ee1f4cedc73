//! A promise instead of thresholds (`slo`): engines are learned under load, and the size follows.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod explanation;
mod promises;
mod roles;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

#[tokio::main]
async fn main() -> ExitCode {
    let all = scenarios! {
        promises::a_slow_engine_is_learned_and_the_promise_is_kept,
        promises::a_fast_engine_is_learned_and_the_promise_is_kept,
        promises::series_that_vanish_remove_nothing,
        promises::requests_that_a_gateway_holds_bring_replicas,
        promises::a_promise_may_be_recommended,
        promises::promises_that_cannot_be_kept_are_refused,
        roles::prefill_and_decode_keep_their_parts,
    };
    runner::run(all, 3).await
}
