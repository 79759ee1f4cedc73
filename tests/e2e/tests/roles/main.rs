//! Two roles in proportion: prefill and decode of one service, under one ceiling.
//!
//! In all scenarios they are called `pd-prefill` and `pd-decode`: the adapters of a RoleBasedGroup's roles, or two StatefulSets.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod bad_input;
mod lagging;
mod load;
mod memory;
mod record;
mod rules;
mod shift;
mod spec;
mod together;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

/// They wait for windows and pods, not for the machine.
const AT_A_TIME: usize = 4;

#[tokio::main]
async fn main() -> ExitCode {
    let scenes = scenarios! {
        together::grow_and_shrink_together,
        together::shrink_in_turn,
        lagging::a_role_without_room_holds_the_other,
        lagging::a_step_is_not_followed_by_the_next,
        memory::a_role_is_told_of_by_its_name,
        bad_input::roles_that_make_no_sense,
    };
    let run = scenarios! { shift::from_long_prompts_to_long_answers };
    runner::run_in_turn(vec![(scenes, AT_A_TIME), (run, 1)]).await
}
