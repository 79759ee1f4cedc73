//! What a tenant, or an API server in trouble, does to the operator: the others are served.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod floods;
mod pods;
mod statuses;
mod watches;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

#[tokio::main]
async fn main() -> ExitCode {
    // Its operator serves all namespaces, so it has the cluster for itself.
    let alone = scenarios! { pods::pods_with_a_megabyte_of_labels };
    let all = scenarios! {
        watches::pods_that_cannot_be_listed,
        watches::pods_that_are_refused,
        watches::pods_of_a_silent_api_server,
        watches::autoscalers_that_cannot_be_listed,
        watches::autoscalers_of_a_silent_api_server,
        statuses::statuses_that_a_webhook_makes_slow,
        floods::half_sent_requests_to_the_health_port,
    };
    runner::run_in_turn(vec![(alone, 1), (all, 4)]).await
}
