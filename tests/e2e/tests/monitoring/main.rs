//! PodMonitors with their real consumers: a real Prometheus Operator, and real Prometheus servers
//! with the configurations that it generates. And the other direction: autoscalers that read their
//! samples only from Prometheus. Then the operator's own metrics: the dashboard's queries, and an
//! alert that fires.
//!
//! A scenario has a namespace with an operator of its own, as in the end-to-end test. Its
//! [`Setting`] adds the Prometheus Operator, which all scenarios share. The program runs all
//! scenarios, or those with names that contain the argument.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod alerts;
mod dashboard;
mod docs;
mod neighbours;
mod object;
mod scaling;
mod scraping;
mod setting;

use std::{process::ExitCode, sync::Arc, time::Instant};

use anyhow::Result;
use futures::{
    StreamExt,
    future::{FutureExt, LocalBoxFuture},
    stream,
};
use llm_autoscaler_e2e::Cluster;
use llm_autoscaler_testbed::monitoring::PrometheusOperator;

use setting::Setting;

/// Scenarios mostly wait, so several run at a time.
const AT_A_TIME: usize = 6;

/// The name of a scenario, and its function.
type Scenario = (&'static str, fn(&Setting) -> LocalBoxFuture<'_, Result<()>>);

macro_rules! scenarios {
    ($($module:ident :: $name:ident),* $(,)?) => {
        /// All scenarios, the long ones first.
        const ALL: &[Scenario] = &[$((stringify!($name), |setting| $module::$name(setting).boxed_local())),*];
    };
}

scenarios! {
    neighbours::removed_beside_a_persons_pod_monitor,
    scaling::usual_chain_reaches_the_same_size,
    scaling::prometheus_alone_scales,
    scaling::query_scales,
    scraping::pods_of_the_target_and_no_others_are_scraped,
    scraping::tls_and_credentials_reach_prometheus,
    object::labels_annotations_and_interval_are_the_specs,
    object::fields_of_other_writers_survive,
    object::removed_when_disabled_and_with_its_owner,
    neighbours::persons_pod_monitor_is_left_alone,
    dashboard::every_query_has_an_answer,
    alerts::blind_autoscaler_fires,
    docs::examples_of_the_docs_are_accepted,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter =
        std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let chosen: Vec<_> = ALL.iter().filter(|(name, _)| name.contains(&filter)).collect();
    println!("\nrunning {} scenarios", chosen.len());
    if chosen.is_empty() {
        return ExitCode::SUCCESS; // no Prometheus needs to be built if no scenario is selected
    }
    let began = Instant::now();
    let (operator, cluster) = match start().await {
        Ok(started) => started,
        Err(error) => {
            eprintln!("the control plane did not start: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    println!("the control plane is ready after {:.1} s", began.elapsed().as_secs_f64());
    let results: Vec<bool> = stream::iter(chosen)
        .map(|scenario| run(&operator, &cluster, scenario))
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    let failed = results.iter().filter(|passed| !**passed).count();
    let (verdict, seconds) =
        (if failed == 0 { "ok" } else { "FAILED" }, began.elapsed().as_secs_f64());
    println!(
        "\ntest result: {verdict}. {} passed; {failed} failed; 0 ignored; finished in {seconds:.2}s\n",
        results.len() - failed
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn start() -> Result<(Arc<PrometheusOperator>, Arc<Cluster>)> {
    let cluster = Cluster::start().await?;
    let operator = PrometheusOperator::start(&cluster.control_plane).await?;
    Ok((Arc::new(operator), Arc::new(cluster)))
}

async fn run(
    operator: &Arc<PrometheusOperator>,
    cluster: &Arc<Cluster>,
    (name, scenario): &Scenario,
) -> bool {
    let began = Instant::now();
    let result =
        match Setting::new(cluster.clone(), operator.clone(), &name.replace('_', "-")).await {
            Ok(setting) => {
                let result = scenario(&setting).await;
                if result.is_err() {
                    eprintln!("{}", setting.scene().await);
                }
                result
            }
            Err(error) => Err(error),
        };
    let seconds = began.elapsed().as_secs_f64();
    match &result {
        Ok(()) => println!("test {name} ... ok ({seconds:.1} s)"),
        Err(error) => println!("test {name} ... FAILED ({seconds:.1} s)\n    {error:#}"),
    }
    result.is_ok()
}
