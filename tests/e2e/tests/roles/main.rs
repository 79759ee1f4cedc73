//! Two roles in proportion: prefill and decode of one service, under shared ceilings.
//!
//! In all scenarios they are called `pd-prefill` and `pd-decode`: the adapters of a
//! RoleBasedGroup's roles, or two StatefulSets.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod bad_input;
mod lagging;
mod load;
mod memory;
mod record;
mod refused;
mod rules;
mod shift;
mod spec;
mod together;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

/// The scenarios wait for windows and pods more than they load the machine.
const AT_A_TIME: usize = 4;

#[tokio::main]
async fn main() -> ExitCode {
    let scenes = scenarios! {
        together::grow_and_shrink_together,
        together::ordered_roles_shrink_step_by_step,
        lagging::unschedulable_role_holds_the_other,
        lagging::lagging_role_holds_the_next_step,
        memory::status_names_targets_by_their_roles,
        bad_input::roles_that_make_no_sense,
        refused::role_of_another_owner_stops_no_other,
    };
    let run = scenarios! { shift::from_long_prompts_to_long_answers };
    runner::run_in_turn(vec![(scenes, AT_A_TIME), (run, 1)]).await
}
