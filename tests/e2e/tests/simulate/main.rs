//! A load and a spec go through the operator, through `evaluate` and through `simulate`.
//!
//! The operator scales emulated engines under a load of several minutes, and logs its steps. They
//! are answered again by `evaluate`, which has to decide the same in each of them. `simulate` has
//! only the trace of the load and the numbers of the engine. There, times differ: all pages are
//! scraped at one moment, starts take a constant time, and no request waits for a CPU. So its sizes
//! are compared second by second.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod answers;
mod load;
mod same;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

#[tokio::main]
async fn main() -> ExitCode {
    let all = scenarios! { same::operator_evaluate_and_simulate_decide_the_same };
    runner::run(all, 1).await
}
