//! Migrations with `llm-autoscaler migrate`: from the real HPA of kube-controller-manager, and from
//! a stand-in for KEDA that has a real HPA work for it, to an LLMAutoscaler and back.
//!
//! The program is killed by SIGKILL before and after each of its writes, and called again. An
//! observer watches the target all the time: its size never changes but by the one autoscaler that
//! is wanted at the moment.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod guide;
mod hpa;
mod keda;
mod kills;
mod observer;
mod scaled_object;
mod scene;
mod surprises;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};
use llm_autoscaler_testbed::{CustomMetrics, controlplane::Options};

/// The scenarios mostly wait.
const AT_A_TIME: usize = 4;

#[tokio::main]
async fn main() -> ExitCode {
    let all = scenarios! {
        hpa::killed_between_an_hpa_and_ours,
        hpa::load_grows_while_nothing_scales,
        scaled_object::the_stand_in_does_what_keda_does,
        scaled_object::killed_between_a_scaled_object_and_ours,
        surprises::unsafe_switches_are_refused,
        surprises::another_autoscaler_comes_in_between,
        guide::every_command_of_the_page,
    };
    let options = Options {
        controller_manager_args: vec!["--horizontal-pod-autoscaler-sync-period=1s".to_owned()],
        ..Options::default()
    };
    runner::run_on(options, vec![(all, AT_A_TIME)], async |cluster| {
        keda::install(&cluster.control_plane).await?;
        let metrics = CustomMetrics::start(&cluster.control_plane).await?;
        Ok(move || {
            let _ = &metrics;
            String::new()
        })
    })
    .await
}
