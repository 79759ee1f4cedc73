//! HPAs that read the operator's metrics: `docs/metrics-api.md`.
//!
//! The API server forwards requests to an operator on loopback, by a Service with its address as
//! external name. The HPAs are those of the real kube-controller-manager: in the first group with a
//! sync period of a second, in the second one with the default of 15 s. In the third one the HPAs
//! are those that the real KEDA creates.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod answers;
#[path = "../../benches/reaction/chain.rs"]
mod chain;
mod copies;
mod guide;
mod hpa;
mod keda;
mod race;
mod setting;
#[path = "../../benches/reaction/sizes.rs"]
mod sizes;
mod strangers;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};
use llm_autoscaler_testbed::{Keda, controlplane::Options};

#[tokio::main]
async fn main() -> ExitCode {
    let period = "--horizontal-pod-autoscaler-sync-period=1s".to_owned();
    let options =
        || Options { controller_manager_args: vec![period.clone()], ..Options::default() };
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
    let first = runner::run_on(options(), vec![(each_second, 1)], async |_| Ok(String::new)).await;
    let by_default = scenarios! {
        race::hpa_by_default,
        guide::the_guides_five_parts_are_replaced,
    };
    let second = runner::run(by_default, 1).await;
    let keda = scenarios! {
        keda::keda_follows_the_recommendation,
        keda::keda_is_pushed_from_zero,
        keda::keda_needs_a_certificate,
        keda::keda_hands_over_and_back,
    };
    // KEDA has the API of external metrics here.
    let third = runner::run_on(options(), vec![(keda, 2)], async |cluster| {
        let keda = Keda::start(&cluster.control_plane).await?;
        Ok(move || keda.log_tails(30))
    })
    .await;
    let all = [first, second, third];
    all.into_iter().find(|code| *code != ExitCode::SUCCESS).unwrap_or(ExitCode::SUCCESS)
}
