//! Two copies of the operator: one serves, the other one stands by, and there are never two
//! writers. Several copies with several Leases have even shares of them.
//!
//! The API server writes an audit log of all requests. Each copy has a name of its own in it, and
//! so has each start of a copy.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod kills;
mod load;
mod rolling;
mod scenes;
mod shares;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};
use llm_autoscaler_testbed::controlplane::Options;

/// The scenarios wait more than they load the machine.
const AT_A_TIME: usize = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options { audit: true, ..Options::default() };
    let scenes = scenarios! {
        scenes::holder_is_terminated,
        scenes::holder_is_paused,
        scenes::drain_goes_on,
        scenes::window_is_kept,
        scenes::call_to_the_copy_that_stands_by,
    };
    let kills = scenarios! {
        rolling::deployment_is_updated,
        kills::holder_is_killed,
        shares::leases_are_divided_evenly,
    };
    let groups = vec![(scenes, AT_A_TIME), (kills, 1)];
    runner::run_on(options, groups, async |_| Ok(String::new)).await
}
