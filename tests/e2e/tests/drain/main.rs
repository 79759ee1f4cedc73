//! Scale-downs that drain: out of service first, then watched, then removed.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod hundred;
mod ordered;
mod scenes;
mod stuck;

use std::process::ExitCode;

use llm_autoscaler_e2e::{gated, runner, scenarios};

/// They wait for deadlines, not for the machine.
const AT_A_TIME: usize = 5;

#[tokio::main]
async fn main() -> ExitCode {
    // What may not be done yet comes before the rest, which needs it.
    let forbidden = scenarios! { scenes::not_permitted };
    let scenes = scenarios! {
        scenes::drained_then_written,
        scenes::an_engine_of_ones_own,
        scenes::the_deadline_passes,
        scenes::load_returns,
        scenes::a_restart_in_the_middle,
        scenes::without_the_gate,
        scenes::a_deployment,
        scenes::a_rollout_is_waited_for,
        stuck::a_rollout_that_is_given_up,
        ordered::the_highest_that_is_there,
        ordered::several_in_turn,
        scenes::the_autoscaler_is_deleted,
        scenes::less_time_to_end_than_requests_take,
    };
    let hundred = scenarios! { hundred::a_hundred_scale_downs };
    runner::run_in_turn(vec![(forbidden, 1), (scenes, AT_A_TIME), (hundred, 1)]).await
}
