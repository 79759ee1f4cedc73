//! Runs the benchmark of the guide that this operator replaces, with real vLLM: 400 prompts of 1500
//! tokens, 100 tokens out, 20 requests in flight, one replica that may become three.
//!
//! `make guide RUNS=2`
//!
//! The same engines, the same front and the same load, in turn with an HPA behind Prometheus (every
//! 15 s) and prometheus-adapter, and with an LLMAutoscaler that samples every 2 s; both have a
//! target of 5 waiting requests per replica, and the controller manager has its defaults. vLLM's
//! own benchmark sends the requests and measures. An engine runs 9 requests at a time and each of
//! its steps lasts 30 ms, most of it asleep, so that a second replica adds capacity although all
//! share the CPUs of this machine.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::StatefulSet, autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod,
};
use kube::api::{DeleteParams, ListParams, PostParams};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::{Cluster, Stage};
use llm_autoscaler_testbed::{
    Balance, Engine, Front, controlplane,
    engine::Command,
    monitoring::{Adapter, Prometheus, pods_rule, scrape_pods},
    repository, wait,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

/// The name of the StatefulSet, of its autoscaler, and of the namespace.
const NAME: &str = "vllm-inference";
const SERIES: &str = "vllm:num_requests_waiting";
const SCRAPED_EVERY: Duration = Duration::from_secs(15);
/// The number of requests that an engine runs at once: of 20 in flight 11 wait.
const SEQUENCES: usize = 9;
/// The time that an engine may take to start, or to end, on a busy machine.
const START: Duration = Duration::from_mins(3);
/// The time that the load may take.
const LOAD: Duration = Duration::from_mins(10);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guide: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let runs = std::env::args().skip_while(|argument| argument != "--runs").nth(1);
    let runs: usize = runs.map_or(Ok(1), |runs| runs.parse().context("--runs"))?;
    let scripts = install().await?;
    let defaults = ["--kube-api-qps=20", "--kube-api-burst=30"].map(ToOwned::to_owned);
    let options = controlplane::Options {
        controller_manager_args: defaults.into(),
        ..controlplane::Options::default()
    };
    let cluster = Arc::new(Cluster::start_with(options).await?);
    let configuration = scrape_pods(&cluster.control_plane, &[NAME], SCRAPED_EVERY);
    let prometheus = Prometheus::start(&configuration).await?;
    let _adapter =
        Adapter::start(&cluster.control_plane, prometheus.url(), &[pods_rule(SERIES)]).await?;
    let stage = Stage::create(cluster, NAME).await?;
    let command = format!(r#"exec "{}/serve.sh" --max-num-seqs {SEQUENCES}"#, scripts.display());
    stage.assign(NAME, Engine::Command(Command::shell(&command, stage.folder()?)));
    println!("| | last answer after | TTFT mean | P50 | P99 | three requested | three ready |");
    println!("|---|---|---|---|---|---|---|");
    for _ in 0..runs {
        for by in [By::Chain, By::Ours] {
            println!("{}", by.measure(&stage, &scripts).await?);
        }
    }
    Ok(())
}

/// Installs vLLM if it is missing, and returns the folder of its scripts.
async fn install() -> Result<PathBuf> {
    let folder = repository().join("tests/vllm").canonicalize()?;
    let script = folder.join("install.sh");
    let installed = tokio::process::Command::new(&script).stdout(Stdio::null()).status().await;
    let installed = installed.with_context(|| format!("running {}", script.display()))?;
    ensure!(installed.success(), "{} failed; the reason is above", script.display());
    Ok(folder)
}

/// The autoscaler.
#[derive(Clone, Copy)]
enum By {
    Chain,
    Ours,
}

impl By {
    fn title(self) -> &'static str {
        match self {
            Self::Chain => "Prometheus, adapter, HPA",
            Self::Ours => "LLMAutoscaler",
        }
    }

    /// Runs the load on one replica that this autoscaler may scale. Returns a row of the table.
    async fn measure(self, stage: &Stage, scripts: &Path) -> Result<String> {
        eprintln!("{}: an engine starts", self.title());
        stage.create_engine(NAME, 1).await?;
        stage.until_ready_within(NAME, 1, START).await?;
        let labels = format!("app={NAME}");
        let namespace = &stage.namespace;
        let front =
            Front::start(stage.client(), namespace, &labels, Balance::LeastOutstanding).await?;
        self.create(stage).await?;
        eprintln!("{}: vLLM's benchmark runs", self.title());
        let mut growth = Growth::default();
        let url = front.url();
        let result = tokio::select! {
            result = load(stage, scripts, &url) => result?,
            failed = growth.follow(stage) => return failed.map(|()| String::new()),
        };
        self.delete(stage).await?;
        stage.api::<StatefulSet>().delete(NAME, &DeleteParams::default()).await?;
        until_gone(stage).await?;
        row(self.title(), &result, &growth)
    }

    async fn create(self, stage: &Stage) -> Result<()> {
        match self {
            Self::Ours => {
                stage.autoscaler(NAME, json!({"sources": [{"scrape": {}}]})).await?;
                stage.until_condition(NAME, "Ready", "True", "Scaling").await?;
            }
            Self::Chain => {
                let hpas = stage.api::<HorizontalPodAutoscaler>();
                hpas.create(&PostParams::default(), &serde_json::from_value(hpa())?).await?;
                wait::until("the HPA to be active", START, async || {
                    Ok(is_active(&hpas.get(NAME).await?).then_some(()))
                })
                .await?;
            }
        }
        Ok(())
    }

    async fn delete(self, stage: &Stage) -> Result<()> {
        let params = DeleteParams::default();
        match self {
            Self::Ours => drop(stage.api::<LLMAutoscaler>().delete(NAME, &params).await?),
            Self::Chain => {
                drop(stage.api::<HorizontalPodAutoscaler>().delete(NAME, &params).await?);
            }
        }
        Ok(())
    }
}

/// The moments of a growth.
#[derive(Default)]
struct Growth {
    /// More requests wait than the target has.
    stepped: Option<Instant>,
    /// Three replicas are requested.
    requested: Option<Instant>,
    /// Three replicas are ready.
    ready: Option<Instant>,
}

impl Growth {
    /// Takes note of the moments until it is dropped.
    async fn follow(&mut self, stage: &Stage) -> Result<()> {
        let pod = stage.api::<Pod>().get(&format!("{NAME}-0")).await?;
        let address =
            pod.status.and_then(|status| status.pod_ip).context("a pod without address")?;
        let sets = stage.api::<StatefulSet>();
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if self.stepped.is_none() {
                if waiting(&address, stage.port()).await? > 5.0 {
                    self.stepped = Some(Instant::now());
                }
                continue;
            }
            let set = sets.get(NAME).await?;
            if set.spec.and_then(|spec| spec.replicas) == Some(3) {
                self.requested.get_or_insert_with(Instant::now);
            }
            if set.status.and_then(|status| status.ready_replicas) == Some(3) {
                self.ready.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Returns the time from the step to this moment.
    fn since_step(&self, moment: Option<Instant>) -> String {
        let time = moment.zip(self.stepped).map(|(moment, step)| moment - step);
        time.map_or("never".to_owned(), |time| format!("after {:.1} s", time.as_secs_f64()))
    }
}

/// Returns the queue of an engine by its page.
async fn waiting(address: &str, port: u16) -> Result<f64> {
    let mut stream = TcpStream::connect((address, port)).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    let line =
        page.lines().find(|line| line.starts_with(SERIES)).context("a page without a queue")?;
    Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
}

/// Runs vLLM's own benchmark, and returns its result.
async fn load(stage: &Stage, scripts: &Path, url: &str) -> Result<Value> {
    let (result, log) =
        (stage.folder()?.join("result.json"), stage.folder()?.join("benchmark.log"));
    let output = std::fs::File::create(&log)?;
    let mut benchmark = tokio::process::Command::new(scripts.join("bench.sh"));
    benchmark.arg(url).env("RESULT", &result).kill_on_drop(true);
    benchmark.stdout(output.try_clone()?).stderr(output);
    let status =
        tokio::time::timeout(LOAD, benchmark.status()).await.context("the load lasts")??;
    let log = std::fs::read_to_string(&log)?;
    let end = &log[log.floor_char_boundary(log.len().saturating_sub(2000))..];
    ensure!(status.success(), "vLLM's benchmark exited with {status}:\n{end}");
    Ok(serde_json::from_str(&std::fs::read_to_string(&result)?)?)
}

/// Returns a row of the table.
fn row(title: &str, result: &Value, growth: &Growth) -> Result<String> {
    let number = |name: &str| result[name].as_f64().with_context(|| format!("no {name}"));
    let seconds = |name: &str| Ok::<_, anyhow::Error>(number(name)? / 1000.0);
    Ok(format!(
        "| {title} | {:.1} s | {:.2} s | {:.2} s | {:.2} s | {} | {} |",
        number("duration")?,
        seconds("mean_ttft_ms")?,
        seconds("median_ttft_ms")?,
        seconds("p99_ttft_ms")?,
        growth.since_step(growth.requested),
        growth.since_step(growth.ready),
    ))
}

/// Waits until all pods are gone.
async fn until_gone(stage: &Stage) -> Result<()> {
    wait::until("the engines to end", START, async || {
        Ok(stage.api::<Pod>().list(&ListParams::default()).await?.items.is_empty().then_some(()))
    })
    .await
}

/// Returns the guide's HPA.
fn hpa() -> Value {
    let target = json!({"type": "AverageValue", "averageValue": "5"});
    json!({
        "metadata": {"name": NAME},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": NAME},
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [{"type": "Pods", "pods": {"metric": {"name": SERIES}, "target": target}}],
        },
    })
}

/// Returns whether an HPA has read its metric.
fn is_active(hpa: &HorizontalPodAutoscaler) -> bool {
    let mut conditions = hpa.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|it| it.type_ == "ScalingActive" && it.status == "True")
}
