//! Counts what autoscalers cost the API server: the requests in its audit log, of this operator, of
//! HPAs on custom metrics, and of the real KEDA, beside each other on one control plane.
//!
//! `make api-cost COUNT=40 PEERS=40 LOAD=quiet SETTLE=400 MINUTES=20`
//!
//! COUNT LLMAutoscalers, half of them with a PodMonitor, PEERS HPAs and as many ScaledObjects have
//! targets of a pod each. The requests of MINUTES that begin SETTLE seconds after the start are
//! printed by client, verb and resource, an autoscaler and an hour. `LOAD=noisy` has queues that
//! change with each sample. `LLM_AUTOSCALER_BIN` is the operator that is measured.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod counts;
mod world;

use std::{process::ExitCode, str::FromStr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use llm_autoscaler_e2e::{Cluster, Stage, fleets::Fleets};
use llm_autoscaler_testbed::{
    CustomMetrics, Keda, PageServer,
    controlplane::Options,
    monitoring::{Prometheus, scrape_pods},
};

use counts::{Counts, requests};
use world::{Kind, Load};

/// The scrape interval of Prometheus.
const SCRAPED_EVERY: Duration = Duration::from_secs(15);
/// The numbers of addresses that each kind has.
const ADDRESSES: u32 = 100_000;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("api-cost: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The numbers of a run.
struct Setting {
    load: Load,
    count: u32,
    peers: u32,
    settle: u64,
    minutes: f64,
}

impl Setting {
    fn read() -> Result<Self> {
        let load: String = argument("--load", "quiet".to_owned())?;
        let load = match load.as_str() {
            "quiet" => Load::Quiet,
            "noisy" => Load::Noisy,
            _ => bail!("--load {load}: a load is quiet or noisy"),
        };
        Ok(Self {
            load,
            count: argument("--count", 40)?,
            peers: argument("--peers", 40)?,
            settle: argument("--settle", 400)?,
            minutes: argument("--minutes", 20.0)?,
        })
    }

    /// Returns the kinds with their numbers, without those of which there are none.
    fn kinds(&self) -> impl Iterator<Item = (Kind, u32)> {
        let all = [(Kind::Ours, self.count), (Kind::Hpa, self.peers), (Kind::Keda, self.peers)];
        all.into_iter().filter(|(_, count)| *count > 0)
    }
}

async fn run() -> Result<()> {
    let setting = Setting::read()?;
    let server = Arc::new(PageServer::start(&setting.load.page(0))?);
    // Each controller has a ServiceAccount of its own, by which its requests are known.
    let arguments = vec!["--use-service-account-credentials=true".to_owned()];
    let options = Options { audit: true, controller_manager_args: arguments, ..Options::default() };
    let cluster = Arc::new(Cluster::start_with(options).await?);
    let control_plane = &cluster.control_plane;
    control_plane.apply_yaml(include_str!("../../fixtures/podmonitor-crd.yaml")).await?;
    let _load = tokio::spawn(setting.load.play(server.clone()));
    let peers = match setting.peers {
        0 => None,
        _ => Some(Peers::start(&cluster).await?),
    };
    let prometheus = peers.as_ref().map_or("", |peers| peers.prometheus.url());
    let mut stages = Vec::new();
    for (kind, count) in setting.kinds() {
        println!("creating {count}: {}", kind.title());
        // More than the operator takes of one namespace by default.
        let limit = (count > 500).then(|| format!("--autoscalers-per-namespace={count}"));
        let limit: Vec<_> = limit.iter().map(String::as_str).collect();
        let stage = Stage::create_with(cluster.clone(), kind.namespace(), &limit).await?;
        stage.operator.kill();
        let fleets = Fleets::install(&stage, server.port()).await?;
        let first = kind as u32 * ADDRESSES;
        kind.create(&stage, &fleets, setting.load, count, first, prometheus).await?;
        if kind == Kind::Ours {
            stage.operator.start()?;
        }
        stages.push(stage);
    }
    println!("they settle for {} s", setting.settle);
    tokio::time::sleep(Duration::from_secs(setting.settle)).await;
    let log = control_plane.audit_log();
    let before = requests(&log)?;
    println!("counting for {} minutes", setting.minutes);
    tokio::time::sleep(Duration::from_secs_f64(60.0 * setting.minutes)).await;
    let after = requests(&log)?;
    let is_running = |stage: &Stage| stage.operator.pid().is_some();
    ensure!(setting.count == 0 || stages.iter().any(is_running), "the operator does not run");
    for (kind, count) in setting.kinds() {
        print(kind, &before, &after, 60.0 / setting.minutes, count);
    }
    Ok(())
}

/// The programs of the peers.
struct Peers {
    prometheus: Prometheus,
    _keda: Keda,
    _custom_metrics: CustomMetrics,
}

impl Peers {
    async fn start(cluster: &Cluster) -> Result<Self> {
        let control_plane = &cluster.control_plane;
        let namespaces = [Kind::Keda.namespace()];
        let configuration = scrape_pods(control_plane, &namespaces, SCRAPED_EVERY);
        Ok(Self {
            prometheus: Prometheus::start(&configuration).await?,
            _keda: Keda::start(control_plane).await?,
            _custom_metrics: CustomMetrics::start(control_plane).await?,
        })
    }
}

/// Prints the requests between two counts: those that are for one autoscaler, an autoscaler and an
/// hour; and those that all share, an hour.
fn print(kind: Kind, before: &Counts, after: &Counts, an_hour: f64, count: u32) {
    let (mut all, mut writes) = (0.0, 0.0);
    println!("\n| {}: requests | an hour, of all | an hour, of one |", kind.title());
    println!("|---|---|---|");
    for (key, sum) in after.iter().filter(|(key, _)| key.namespace == kind.namespace()) {
        let made = f64::from(sum - before.get(key).copied().unwrap_or_default()) * an_hour;
        if made == 0.0 {
            continue;
        }
        let each = if key.is_of_one { made / f64::from(count) } else { 0.0 };
        all += each;
        if key.is_write() {
            writes += each;
        }
        let text = if key.is_of_one { format!("{each:.1}") } else { "shared".to_owned() };
        println!("| {}: {} {} | {made:.0} | {text} |", key.client, key.verb, key.resource);
    }
    println!("| all that are for one | | {all:.1} |");
    println!("| writes among them | | {writes:.1} |");
}

fn argument<T>(name: &str, otherwise: T) -> Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let value = std::env::args().skip_while(|argument| argument != name).nth(1);
    value.map_or(Ok(otherwise), |value| value.parse().with_context(|| format!("{name} {value}")))
}
