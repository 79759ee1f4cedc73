//! Runs scenarios side by side on one control plane, and reports as test programs do.

use std::{process::ExitCode, sync::Arc, time::Instant};

use anyhow::Result;
use futures::{StreamExt, future::LocalBoxFuture, stream};

use crate::{Cluster, Stage};

/// One scenario.
pub struct Scenario {
    /// Its name, and its namespace's.
    pub name: &'static str,
    /// What happens. The text is what there is to say about it when it has passed.
    pub run: fn(Arc<Stage>) -> LocalBoxFuture<'static, Result<String>>,
}

/// Lists scenarios: functions that take a [`Stage`], and return `Result<()>` or `Result<String>`.
#[macro_export]
macro_rules! scenarios {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$($crate::runner::Scenario {
            name: stringify!($name),
            run: |stage| Box::pin(async move {
                $module::$name(&stage).await.map($crate::runner::Said::said)
            }),
        }),*]
    };
}

/// What a scenario that has passed returns.
pub trait Said {
    /// What there is to say about it.
    fn said(self) -> String;
}

impl Said for () {
    fn said(self) -> String {
        String::new()
    }
}

impl Said for String {
    fn said(self) -> String {
        self
    }
}

/// Runs those whose names contain the program's argument, so many at a time.
pub async fn run(scenarios: &[Scenario], at_a_time: usize) -> ExitCode {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let chosen: Vec<_> = scenarios.iter().filter(|scenario| scenario.name.contains(&filter)).collect();
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
            async move { play(cluster, scenario).await }
        })
        .buffer_unordered(at_a_time)
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

async fn play(cluster: Arc<Cluster>, scenario: &Scenario) -> bool {
    let began = Instant::now();
    let name = scenario.name;
    let result = match Stage::set(cluster, &name.replace('_', "-")).await {
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
        Ok(said) if said.is_empty() => println!("test {name} ... ok ({seconds:.1} s)"),
        Ok(said) => println!("test {name} ... ok ({seconds:.1} s)\n    {said}"),
        Err(error) => println!("test {name} ... FAILED ({seconds:.1} s)\n    {error:#}"),
    }
    result.is_ok()
}
