//! Autoscalers that read their samples only from a real server that speaks Prometheus's query API:
//! Prometheus, `VictoriaMetrics`, Thanos, Mimir.
//!
//! Each server scrapes the pods of its scenario's namespace every second, or gets the samples from
//! a Prometheus that does. As in the end-to-end test, each scenario has an operator of its own. The
//! program runs all scenarios, or those with names that contain the argument.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod mimir;
mod prometheus;
mod setting;
mod thanos;
mod victoria_metrics;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

/// The scenarios mostly wait, but each has servers of its own.
const AT_A_TIME: usize = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let scenarios = scenarios! {
        thanos::partial_total_holds_the_size,
        thanos::two_replicas_count_once,
        mimir::tenant_scales,
        victoria_metrics::raw_samples_scale,
        victoria_metrics::query_is_of_now,
        victoria_metrics::failed_scrape_is_told,
        prometheus::percentile_of_custom_buckets_scales,
        prometheus::percentile_of_exponential_buckets_scales,
        prometheus::otlp_names_scale,
        prometheus::wrong_url_is_explained,
    };
    runner::run(scenarios, AT_A_TIME).await
}
