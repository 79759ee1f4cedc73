//! Runs scenarios side by side on one control plane, and reports as test programs do.

use std::{borrow::Cow, process::ExitCode, sync::Arc, time::Instant};

use anyhow::Result;
use futures::{FutureExt, StreamExt, future::LocalBoxFuture, stream};
use llm_autoscaler_testbed::controlplane::Options;

use crate::{Cluster, Stage};

/// A scenario: a name and an async function.
pub struct Scenario {
    /// The name of the scenario and of its namespace.
    name: Cow<'static, str>,
    run: Box<Run>,
}

type Run = dyn Fn(Arc<Stage>) -> LocalBoxFuture<'static, Result<String>>;

impl Scenario {
    /// Creates a scenario. The text that `run` returns is printed when the scenario has passed.
    pub fn new<F>(
        name: impl Into<Cow<'static, str>>,
        run: impl Fn(Arc<Stage>) -> F + 'static,
    ) -> Self
    where
        F: Future<Output = Result<String>> + 'static,
    {
        Self { name: name.into(), run: Box::new(move |stage| run(stage).boxed_local()) }
    }
}

/// Lists scenarios: functions that take a [`Stage`], and return `Result<()>` or `Result<String>`.
#[macro_export]
macro_rules! scenarios {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$($crate::runner::Scenario::new(stringify!($name), async |stage: std::sync::Arc<$crate::Stage>| {
            $module::$name(&stage).await.map($crate::runner::Summary::summary)
        })),*]
    };
}

/// The result of a scenario that has passed.
pub trait Summary {
    /// Returns the text to print beside the scenario's name; empty if there is none.
    fn summary(self) -> String;
}

impl Summary for () {
    fn summary(self) -> String {
        String::new()
    }
}

impl Summary for String {
    fn summary(self) -> String {
        self
    }
}

/// Runs the scenarios with names that contain the program's argument, `at_a_time` side by side.
pub async fn run(scenarios: Vec<Scenario>, at_a_time: usize) -> ExitCode {
    run_in_turn(vec![(scenarios, at_a_time)]).await
}

/// Like [`run`], for several groups of scenarios, one group after the other.
pub async fn run_in_turn(groups: Vec<(Vec<Scenario>, usize)>) -> ExitCode {
    run_beside(groups, async |_| Ok(String::new)).await
}

/// Like [`run_in_turn`], with something that all scenarios share. `start` starts it with the
/// control plane, and it stops when the value that `start` returns is dropped. That value is a
/// function that describes its state for failed scenarios.
pub async fn run_beside<Scene: Fn() -> String>(
    groups: Vec<(Vec<Scenario>, usize)>,
    start: impl AsyncFnOnce(&Cluster) -> Result<Scene>,
) -> ExitCode {
    run_on(Options::default(), groups, start).await
}

/// Like [`run_beside`], with other options of the control plane.
pub async fn run_on<Scene: Fn() -> String>(
    options: Options,
    groups: Vec<(Vec<Scenario>, usize)>,
    start: impl AsyncFnOnce(&Cluster) -> Result<Scene>,
) -> ExitCode {
    run_started(groups, start_both(options, start)).await
}

/// Like [`run_in_turn`], on a control plane on which nothing is installed and no operator runs.
pub async fn run_bare(groups: Vec<(Vec<Scenario>, usize)>) -> ExitCode {
    let start = async {
        let cluster = Cluster::start_bare(Options::default()).await?;
        Ok((Arc::new(cluster), String::new))
    };
    run_started(groups, start).await
}

async fn run_started<Scene: Fn() -> String>(
    mut groups: Vec<(Vec<Scenario>, usize)>,
    start: impl Future<Output = Result<(Arc<Cluster>, Scene)>>,
) -> ExitCode {
    let filter =
        std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for (scenarios, _) in &mut groups {
        scenarios.retain(|scenario| scenario.name.contains(&filter));
    }
    let count = groups.iter().map(|(scenarios, _)| scenarios.len()).sum::<usize>();
    println!("\nrunning {count} scenarios");
    if count == 0 {
        return ExitCode::SUCCESS; // no control plane is needed if no scenario is selected
    }
    let began = Instant::now();
    let (cluster, scene) = match start.await {
        Ok(started) => started,
        Err(error) => {
            eprintln!("the control plane or the shared setup did not start: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let (version, seconds) = (version(&cluster).await, began.elapsed().as_secs_f64());
    println!("the control plane (Kubernetes {version}) is ready after {seconds:.1} s");
    let mut results = Vec::new();
    for (scenarios, at_a_time) in groups {
        let playing =
            stream::iter(scenarios).map(|scenario| play(cluster.clone(), &scene, scenario));
        results.extend(playing.buffer_unordered(at_a_time).collect::<Vec<bool>>().await);
    }
    let passed = results.iter().filter(|passed| **passed).count();
    let failed = results.len() - passed;
    let (verdict, seconds) =
        (if failed == 0 { "ok" } else { "FAILED" }, began.elapsed().as_secs_f64());
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; finished in {seconds:.2}s\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the version that the API server reports.
async fn version(cluster: &Cluster) -> String {
    let info = cluster.control_plane.client().apiserver_version().await;
    info.map_or_else(|error| error.to_string(), |info| info.git_version)
}

async fn start_both<Scene>(
    options: Options,
    start: impl AsyncFnOnce(&Cluster) -> Result<Scene>,
) -> Result<(Arc<Cluster>, Scene)> {
    let cluster = Cluster::start_with(options).await?;
    let scene = start(&cluster).await?;
    Ok((Arc::new(cluster), scene))
}

async fn play(
    cluster: Arc<Cluster>,
    scene: &dyn Fn() -> String,
    Scenario { name, run }: Scenario,
) -> bool {
    let began = Instant::now();
    let result = match Stage::create(cluster, &name.replace('_', "-")).await {
        Ok(stage) => {
            let stage = Arc::new(stage);
            let result = run(stage.clone()).await;
            if result.is_err() {
                eprintln!("{}\n{}", stage.scene().await, scene());
            }
            result
        }
        Err(error) => Err(error),
    };
    let seconds = began.elapsed().as_secs_f64();
    match &result {
        Ok(summary) if summary.is_empty() => println!("test {name} ... ok ({seconds:.1} s)"),
        Ok(summary) => println!("test {name} ... ok ({seconds:.1} s)\n    {summary}"),
        Err(error) => println!("test {name} ... FAILED ({seconds:.1} s)\n    {error:#}"),
    }
    result.is_ok()
}
