//! Runs the scenarios: all of them, or those whose names contain the argument.

use std::{process::ExitCode, sync::Arc, time::Instant};

use futures::{StreamExt, stream};
use llm_autoscaler_e2e::{Cluster, Stage, scenarios};

/// Scenarios mostly wait, so several run at a time.
const AT_A_TIME: usize = 6;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let chosen: Vec<_> = scenarios::ALL.iter().filter(|scenario| scenario.name.contains(&filter)).collect();
    println!("\nrunning {} scenarios", chosen.len());
    let began = Instant::now();
    let cluster = match Cluster::start().await {
        Ok(cluster) => Arc::new(cluster),
        Err(error) => {
            eprintln!("the control plane did not start: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    println!("the control plane is ready after {:.1} s", began.elapsed().as_secs_f64());
    let results: Vec<bool> = stream::iter(chosen)
        .map(|scenario| {
            let cluster = cluster.clone();
            async move { run(cluster, scenario).await }
        })
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    let passed = results.iter().filter(|passed| **passed).count();
    let failed = results.len() - passed;
    let (verdict, seconds) = (if failed == 0 { "ok" } else { "FAILED" }, began.elapsed().as_secs_f64());
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; finished in {seconds:.2}s\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(cluster: Arc<Cluster>, scenario: &scenarios::Scenario) -> bool {
    let began = Instant::now();
    let name = scenario.name;
    let stage = Stage::set(cluster, &name.replace('_', "-")).await;
    let result = match stage {
        Ok(stage) => {
            let stage = Arc::new(stage);
            let result = (scenario.run)(stage.clone()).await;
            if result.is_err() {
                eprintln!("{}", stage.scene().await);
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
