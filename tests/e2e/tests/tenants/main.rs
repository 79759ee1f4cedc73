//! What a tenant, or an API server in trouble, does to the operator: the others are served.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod costs;
mod crowds;
mod floods;
mod memory;
mod pods;
mod queries;
mod statuses;
mod watches;
mod writes;

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
        writes::a_page_that_swings,
        crowds::more_autoscalers_than_a_namespace_may_have,
        floods::half_sent_requests_to_the_health_port,
    };
    // Their operator serves all namespaces, so they have the cluster for themselves.
    let with_neighbours = scenarios! {
        crowds::three_hundred_autoscalers,
        costs::pages_that_are_costly_to_read,
        costs::answers_that_are_costly_to_read,
        costs::answers_that_are_larger_than_their_text,
        costs::specs_as_large_as_they_may_be,
        costs::autoscalers_of_a_megabyte,
        memory::pages_that_do_not_end,
        memory::histograms_with_many_buckets,
        memory::windows_of_many_pods,
        memory::responses_of_sixty_megabytes,
        memory::responses_of_a_million_warnings,
        queries::a_neighbours_slow_queries,
        queries::a_query_that_the_server_refuses,
    };
    runner::run_in_turn(vec![(alone, 1), (all, 4), (with_neighbours, 1)]).await
}
