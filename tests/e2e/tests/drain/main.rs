//! Scale-downs that drain: pods leave service first, then finish their requests, then are removed.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod clients;
mod hundred;
mod kills;
mod ordered;
mod scenes;
mod service_record;
mod stuck;

use std::process::ExitCode;

use llm_autoscaler_e2e::{gated, runner, scenarios};

/// The scenarios wait for deadlines more than they load the machine.
const AT_A_TIME: usize = 5;

#[tokio::main]
async fn main() -> ExitCode {
    // The scenario without the permission runs first, because the others grant it.
    let forbidden = scenarios! { scenes::not_permitted };
    let scenes = scenarios! {
        scenes::drained_then_written,
        scenes::custom_engine_drains,
        scenes::the_deadline_passes,
        scenes::returning_load_cancels_a_drain,
        scenes::a_restart_in_the_middle,
        scenes::without_the_gate,
        scenes::a_deployment,
        scenes::drain_waits_for_a_rollout,
        stuck::failed_rollout_is_not_waited_for,
        ordered::highest_existing_ordinal_drains,
        ordered::several_pods_drain_one_by_one,
        scenes::the_autoscaler_is_deleted,
        scenes::grace_period_is_shorter_than_requests,
    };
    let hundred = scenarios! { hundred::a_hundred_scale_downs };
    let kills = scenarios! { kills::holder_is_killed_in_the_middle_of_drains };
    let groups = vec![(forbidden, 1), (scenes, AT_A_TIME), (hundred, 1), (kills, 1)];
    runner::run_in_turn(groups).await
}
