//! What can be said on the command line.

use std::{io::IsTerminal, net::SocketAddr, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use kube::{Client, CustomResourceExt};
use llm_autoscaler::evaluate;
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_core::Profile;
use llm_autoscaler_operator::Config;

use crate::{engines::Engines, explain::Explain, probe::Probe};

/// Keeps LLM inference services at the right number of replicas.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Run),
    /// Print the CustomResourceDefinition as YAML.
    Crd,
    /// Tell why an LLMAutoscaler's target has the size it has. Linked as kubectl-llmas in the PATH, the binary is a
    /// plug-in: kubectl llmas explain NAME.
    Explain(Explain),
    /// Print what is known of engines: which series each signal is read from.
    Engines(Engines),
    /// Read a metrics page as the operator would, and tell what it gives and what is missing.
    Probe(Probe),
    /// Answer cases about decisions: one JSON object a line on standard input, one on standard output.
    Evaluate(Evaluate),
}

/// How the operator runs.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// Look at this namespace only.
    #[arg(long, env = "WATCH_NAMESPACE")]
    namespace: Option<String>,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "HEALTH_ADDRESS", default_value = "[::]:8080")]
    health_address: SocketAddr,
    /// How often an autoscaler decides at least; fresh samples are decided upon at once.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=300))]
    sync_period_seconds: u64,
    /// Whose arithmetic: the HPA's to the bit, or that of docs/hpa-compatibility.md.
    #[arg(long, value_enum, default_value_t = ProfileName::Default)]
    profile: ProfileName,
    /// How logs are written.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// How cases are answered.
#[derive(Debug, clap::Args)]
pub struct Evaluate {
    /// Tell how numbers came about, in sentences instead of JSON.
    #[arg(long)]
    explain: bool,
    /// Whose arithmetic: the HPA's to the bit, or that of docs/hpa-compatibility.md.
    #[arg(long, value_enum, default_value_t = ProfileName::HpaExact)]
    profile: ProfileName,
}

impl Evaluate {
    /// Answers the cases of standard input.
    pub fn evaluate(self) -> anyhow::Result<()> {
        let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
        let summary = evaluate::evaluate(input, output, self.profile.into(), self.explain)?;
        anyhow::ensure!(
            summary.malformed == 0,
            "{} of {} cases could not be read; their answers say why",
            summary.malformed,
            summary.cases
        );
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProfileName {
    Default,
    HpaExact,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Run {
    /// Runs the operator until it is told to end.
    pub fn run(self) -> anyhow::Result<()> {
        self.log_format.init();
        open_many_files();
        with_cluster(self.operate())
    }

    async fn operate(self) -> anyhow::Result<()> {
        let client = client().await?;
        let config = Config {
            namespace: self.namespace,
            address: self.health_address,
            period: Duration::from_secs(self.sync_period_seconds),
            profile: self.profile.into(),
        };
        tokio::select! {
            result = llm_autoscaler_operator::run(config, client) => Ok(result?),
            () = told_to_end() => {
                tracing::info!("told to end");
                Ok(())
            }
        }
    }
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Default => Self::Default,
            ProfileName::HpaExact => Self::HpaExact,
        }
    }
}

impl LogFormat {
    fn init(self) {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env();
        let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
        let colours = std::io::stderr().is_terminal();
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(colours);
        match self {
            Self::Text => builder.init(),
            Self::Json => builder.json().init(),
        }
    }
}

/// Lets the process have as many connections as it may: thousands of pods are one each, and the usual limit is 1024.
fn open_many_files() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}

async fn told_to_end() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate => {}
    }
}

/// Runs something that talks to the API server and to pods, with one TLS library for both.
pub fn with_cluster(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// A client for the cluster that a pod is in, or that KUBECONFIG names.
pub async fn client() -> anyhow::Result<Client> {
    // The error tells its causes itself; as a chain they would be told again and again.
    let unknown = |error| {
        anyhow::anyhow!("cannot find the cluster: run in a pod, or set KUBECONFIG ({error})")
    };
    Client::try_default().await.map_err(unknown)
}

/// Prints the CRD.
pub fn print_crd() -> anyhow::Result<()> {
    print!("{}", serde_saphyr::to_string(&LLMAutoscaler::crd())?);
    Ok(())
}
