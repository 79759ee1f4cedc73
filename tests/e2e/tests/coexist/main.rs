//! HPAs that read the operator's metrics: `docs/metrics-api.md`.
//!
//! The API server forwards requests to an operator on loopback, by a Service with its address as
//! external name. The HPAs are those of the real kube-controller-manager: in the first group with a
//! sync period of a second, in the second one with the default of 15 s.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod answers;
#[path = "../../benches/reaction/chain.rs"]
mod chain;
mod copies;
mod hpa;
mod race;
mod setting;
#[path = "../../benches/reaction/sizes.rs"]
mod sizes;
mod strangers;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};
use llm_autoscaler_testbed::controlplane::Options;

#[tokio::main]
async fn main() -> ExitCode {
    let period = "--horizontal-pod-autoscaler-sync-period=1s".to_owned();
    let options = Options { controller_manager_args: vec![period], ..Options::default() };
    let each_second = scenarios! {
        answers::engines_by_their_own_names,
        answers::without_a_sample,
        answers::discovery,
        strangers::callers_and_their_permissions,
        strangers::api_service_of_another_operator,
        copies::each_copy_answers,
        hpa::scales_on_pods_and_on_the_recommendation,
        race::hpa_each_second,
    };
    // The API is the cluster's, so one operator serves it at a time.
    let first = runner::run_on(options, vec![(each_second, 1)], async |_| Ok(String::new)).await;
    let by_default = scenarios! { race::hpa_by_default };
    let second = runner::run(by_default, 1).await;
    if first == ExitCode::SUCCESS { second } else { first }
}
