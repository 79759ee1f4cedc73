//! LeaderWorkerSets with their real controller: a replica is a group of pods, of which only the
//! leader reports for the engine.
//!
//! In every scenario a group has three pods that serve on the same port and path. The workers'
//! pages report a load that would change every size if it counted. As in the end-to-end test, each
//! scenario has an operator of its own.
//!
//! `LWS_VERSION` chooses the controller: 0.8, which is the default, or 0.9, which has
//! DisaggregatedSets too. `make test-lws` runs both.

mod controller;
mod disaggregated;
mod groups;
mod readiness;
mod scaling;

use std::process::ExitCode;

use llm_autoscaler_e2e::{
    runner::{self, Scenario},
    scenarios,
};

use controller::Controller;
use llm_autoscaler_testbed::LwsVersion;

/// The scenarios mostly wait.
const AT_A_TIME: usize = 4;

#[tokio::main]
async fn main() -> ExitCode {
    let version = match controller::version() {
        Ok(version) => version,
        Err(error) => {
            eprintln!("LWS_VERSION: {error}");
            return ExitCode::FAILURE;
        }
    };
    let controller = Controller::new(version);
    let mut with_it = scenarios! {
        scaling::groups_grow_and_go,
        scaling::groups_of_two_sets_have_keys_of_their_own,
        readiness::group_that_lacks_a_worker_is_on_its_way,
        readiness::group_with_an_unready_worker_is_not_ready,
        scaling::silent_leader_holds_the_size,
        scaling::highest_group_drains,
    };
    if version == LwsVersion::V0_9 {
        with_it.extend(scenarios! {
            disaggregated::leader_worker_set_of_a_set_is_refused,
            disaggregated::role_scalers_keep_a_ratio,
            disaggregated::role_drains_and_waits_for_a_rollout,
        });
    }
    let its = controller.clone();
    // This scenario stops the shared controller, so it runs alone.
    let without_it = vec![Scenario::new("controller_is_gone_for_a_while", move |stage| {
        let controller = its.clone();
        async move { scaling::controller_is_gone_for_a_while(&stage, &controller).await }
    })];
    runner::run_beside(vec![(with_it, AT_A_TIME), (without_it, 1)], async |cluster| {
        controller.start(&cluster.control_plane).await?;
        Ok(move || controller.log_tail())
    })
    .await
}
