//! Doubtful samples: whatever goes wrong with samples, a target never shrinks on missing evidence,
//! and a condition reports the fault.
//!
//! Each scenario brings a target to rest and breaks something. Everything that still answers then
//! reports no load, and the size must stay for longer than any window. Finally the scenario repairs
//! the fault, and the target shrinks.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod cloud;
mod credentials;
mod pods;
mod prometheus;
mod series;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

/// The scenarios wait for windows and retries more than they load the machine.
const AT_A_TIME: usize = 8;

#[tokio::main]
async fn main() -> ExitCode {
    let all = scenarios! {
        pods::refuse,
        pods::hang,
        pods::answer_500,
        pods::garbage,
        pods::half_a_page,
        pods::fifty_megabytes,
        pods::not_a_number,
        pods::three_of_ten_are_dead,
        pods::one_of_two_frontends_is_silent,
        prometheus::down,
        prometheus::empty,
        prometheus::unauthorized,
        prometheus::slow,
        prometheus::stale,
        prometheus::partial,
        prometheus::server_is_no_prometheus,
        prometheus::second_source_takes_over,
        prometheus::two_jobs_count_once,
        prometheus::two_addresses_are_in_doubt,
        prometheus::two_clusters_are_no_number,
        prometheus::clock_skew,
        prometheus::a_query_that_gives_nothing,
        prometheus::everything_fails_and_there_is_a_fallback,
        credentials::rotated_token,
        credentials::rotated_client_certificate,
        cloud::bearer_token_file,
        cloud::role_of_aws,
        cloud::google_managed_prometheus,
        cloud::credentials_of_another_namespace,
        series::twice_on_a_page,
        series::counter_reset,
        series::renamed,
        series::former_name,
        series::too_few_events,
    };
    runner::run(all, AT_A_TIME).await
}
