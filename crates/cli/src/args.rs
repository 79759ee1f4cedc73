//! The command line: subcommands, flags and signals.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use kube::CustomResourceExt;
use llm_autoscaler::evaluate;
use llm_autoscaler_api::{GpuResources, LLMAutoscaler, Quantity};
use llm_autoscaler_core::Profile;
use llm_autoscaler_operator::{
    CertificateFiles, Config, EgressRules, HostPattern, MetricsConfig, WakeConfig,
};

use crate::{
    bill::Bill,
    cluster::{self, with_cluster_on},
    convert::Convert,
    election::Election,
    engines::Engines,
    explain::Explain,
    external_scaler::ExternalScaler,
    logging::Logging,
    metrics_api::MetricsApi,
    migrate::Migrate,
    output,
    probe::Probe,
    replay::Replay,
    simulate::Simulate,
    source_credentials,
    ui::Ui,
};

/// The first 12 digits of the commit that the binary was built from, or `unknown` (`build.rs`).
const REVISION: &str = env!("LLM_AUTOSCALER_REVISION");
/// The version and the commit.
const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("LLM_AUTOSCALER_REVISION"), ")");

/// Keeps LLM inference services at the right number of replicas.
#[derive(Debug, Parser)]
#[command(version = VERSION)]
pub(crate) struct Args {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the operator.
    Run(Box<Run>),
    /// Print the CustomResourceDefinition as YAML.
    Crd,
    /// Explain the current size of an LLMAutoscaler's target.
    ///
    /// With a link named kubectl-llmas in the PATH, the binary is a kubectl plug-in: kubectl llmas
    /// explain NAME.
    Explain(Explain),
    /// Print the time and the cost of replicas by the reason of their existence, for a day.
    Bill(Bill),
    /// Show all LLMAutoscalers on a page of this machine: sizes, reasons, past decisions.
    ///
    /// The page is served on 127.0.0.1, for browsers of this machine only, and is read-only.
    Ui(Ui),
    /// Print the engine tables: the series from which each signal is read.
    Engines(Engines),
    /// Read a metrics page as the operator would, and print its signals and the missing series.
    Probe(Probe),
    /// Print LLMAutoscalers for the objects of other autoscalers, such as HPAs and ScaledObjects.
    ///
    /// HPAs are read with the rules of their metrics adapter; docs/convert.md lists the kinds and
    /// their fields. Comments say what changed and what cannot be expressed. The exit status is 0
    /// if everything is expressed, 3 if something is not, and 1 if the input cannot be read.
    Convert(Convert),
    /// Switch a target from another autoscaler to an LLMAutoscaler with mode: Recommend, or back.
    ///
    /// Prints the steps, and takes them with --yes. Each is written down in the cluster before the
    /// next one, so a call that was interrupted is continued by the next one.
    Migrate(Migrate),
    /// Answer cases about decisions: one JSON object per line in, one answer per line out.
    Evaluate(Evaluate),
    /// Simulate a service under autoscalers, and print latencies, replicas and GPU-hours.
    ///
    /// The load is a trace, or random arrivals of a shape. The autoscalers are LLMAutoscalers in
    /// files, which decide by the operator's own functions, and policies by name.
    Simulate(Box<Simulate>),
    /// Record the load and the fleet of a service from a Prometheus, and simulate autoscalers with
    /// it.
    ///
    /// The report says what the autoscaler of today did, and what others would have done
    /// (docs/replay.md). A recording that was interrupted goes on when the command is run again.
    Replay(Box<Replay>),
}

/// The options of the operator.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// Watch only this namespace.
    #[arg(long, env = "WATCH_NAMESPACE")]
    namespace: Option<String>,
    /// The address that serves /livez, /readyz and /metrics.
    #[arg(long, env = "HEALTH_ADDRESS", default_value = "[::]:8080")]
    health_address: SocketAddr,
    #[command(flatten)]
    wake: Wake,
    #[command(flatten)]
    metrics_api: MetricsApi,
    #[command(flatten)]
    external_scaler: ExternalScaler,
    #[command(flatten)]
    election: Election,
    /// The longest time between two decisions of an autoscaler, in seconds. Fresh samples cause a
    /// decision at once.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=300))]
    sync_period_seconds: u64,
    /// The arithmetic: exactly the HPA's, or with the deviations in docs/hpa-compatibility.md.
    #[arg(long, value_enum, default_value_t = ProfileName::Default)]
    profile: ProfileName,
    /// The hosts that the sources of a spec may name, separated by commas: prom.example, *.example,
    /// 10.0.0.0/8. By default all; link-local addresses and the API server never.
    #[arg(long, env = "ALLOW_SOURCE_HOSTS", value_delimiter = ',')]
    allow_source_hosts: Vec<HostPattern>,
    /// The file of the credentials that the operator has for hosts of --allow-source-hosts, as
    /// docs/credentials.md describes it. It is read at the start.
    #[arg(long, env = "SOURCE_CREDENTIALS_FILE")]
    source_credentials_file: Option<PathBuf>,
    /// The namespaces of which a PodMonitor that selects pods of others makes the operator's own
    /// unnecessary, separated by commas.
    #[arg(long, env = "MONITORING_NAMESPACES", value_delimiter = ',')]
    monitoring_namespaces: Vec<String>,
    /// Allow loopback addresses for sources and pods, such as a proxy beside the operator.
    #[arg(long, env = "ALLOW_LOOPBACK")]
    allow_loopback: bool,
    /// The number of LLMAutoscalers that are served in one namespace, the oldest ones first.
    #[arg(
        long,
        env = "AUTOSCALERS_PER_NAMESPACE",
        default_value_t = 500,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..),
    )]
    autoscalers_per_namespace: usize,
    /// The extended resources of pods, and the DRA drivers, that count as GPUs in the bill, besides
    /// those that docs/bill.md lists, separated by commas: nvidia.com/mig-3g.40gb.
    #[arg(long, env = "GPU_RESOURCES", value_delimiter = ',')]
    gpu_resources: Vec<String>,
    /// The memory for metrics pages, for responses of Prometheus servers, and for the windows that
    /// are kept of them. A namespace has at most half of it. A page or a response that does not fit
    /// waits, or is no sample.
    #[arg(long, env = "MEMORY_BUDGET", default_value = "128Mi", value_parser = memory_budget)]
    memory_budget: usize,
    /// Add the sizes and the conditions of each LLMAutoscaler to the operator's own metrics: six
    /// series for each target, and one for each unusual condition.
    #[arg(long, env = "AUTOSCALER_METRICS")]
    autoscaler_metrics: bool,
    /// The number of threads that scrape and decide. By default two, and one where there is one
    /// CPU: one takes less CPU, and more carry more pods (docs/scale.md).
    #[arg(
        long,
        env = "WORKER_THREADS",
        default_value_t = worker_threads(),
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=64),
    )]
    worker_threads: usize,
    #[command(flatten)]
    logging: Logging,
}

/// The options of wake calls. They are served if there is a certificate, or plain HTTP is chosen.
#[derive(Debug, clap::Args)]
struct Wake {
    /// The address that serves /wake.
    #[arg(long = "wake-address", env = "WAKE_ADDRESS", default_value = "[::]:8443")]
    address: SocketAddr,
    /// The file of the certificate for /wake, in PEM, followed by those that signed it. It is read
    /// again when it changes, and may come later.
    #[arg(long = "wake-tls-cert-file", env = "WAKE_TLS_CERT_FILE", requires = "key_file")]
    certificate_file: Option<PathBuf>,
    /// The file of the certificate's private key, in PEM.
    #[arg(long = "wake-tls-key-file", env = "WAKE_TLS_KEY_FILE", requires = "certificate_file")]
    key_file: Option<PathBuf>,
    /// Serve /wake by plain HTTP: the tokens of callers can be read on the network.
    #[arg(long = "wake-plain-http", env = "WAKE_PLAIN_HTTP", conflicts_with = "certificate_file")]
    plain_http: bool,
    /// The audience that tokens of callers must be for. Empty: the API server's own, for which
    /// every pod has a token by default; such a token opens the API server as well.
    #[arg(long = "wake-audience", env = "WAKE_AUDIENCE", default_value = "llm-autoscaler")]
    audience: String,
}

impl Wake {
    fn config(self) -> Option<WakeConfig> {
        let files = self.certificate_file.zip(self.key_file);
        let certificate = files.map(|(certificate, key)| CertificateFiles { certificate, key });
        let audience = Some(self.audience).filter(|audience| !audience.is_empty());
        let is_served = certificate.is_some() || self.plain_http;
        is_served.then_some(WakeConfig { address: self.address, certificate, audience })
    }
}

/// The options of `evaluate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Evaluate {
    /// Print the stages of each decision in sentences instead of JSON.
    #[arg(long)]
    explain: bool,
    /// The arithmetic: exactly the HPA's, or with the deviations in docs/hpa-compatibility.md.
    #[arg(long, value_enum, default_value_t = ProfileName::HpaExact)]
    profile: ProfileName,
}

impl Evaluate {
    /// Answers the cases on standard input.
    pub(crate) fn evaluate(self) -> anyhow::Result<()> {
        let (input, printed) = (std::io::stdin().lock(), std::io::stdout().lock());
        let summary = evaluate::evaluate(input, printed, self.profile.into(), self.explain);
        let Some(summary) = output::unless_closed(summary)? else { return Ok(()) };
        anyhow::ensure!(
            summary.malformed == 0,
            "{} of {} cases could not be read; see the errors in their answers",
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

impl Run {
    /// Runs the operator until SIGINT or SIGTERM.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let traces = self.logging.init()?;
        raise_open_files_limit();
        let result = with_cluster_on(self.worker_threads, self.operate());
        traces.export_rest();
        result
    }

    fn config(self, api_server: Vec<SocketAddr>) -> anyhow::Result<Config> {
        let egress = EgressRules {
            hosts: self.allow_source_hosts,
            loopback: self.allow_loopback,
            api_server,
        };
        let file = self.source_credentials_file.as_deref();
        let source_credentials = file.map(|path| source_credentials::read(path, &egress));
        Ok(Config {
            source_credentials: source_credentials.transpose()?.unwrap_or_default(),
            revision: REVISION,
            namespace: self.namespace,
            health_address: self.health_address,
            wake: self.wake.config(),
            metrics: MetricsConfig {
                api: self.metrics_api.config()?,
                external_scaler: self.external_scaler.config(),
            },
            lease: self.election.config()?,
            period: Duration::from_secs(self.sync_period_seconds),
            profile: self.profile.into(),
            egress,
            most_autoscalers: self.autoscalers_per_namespace,
            memory_budget: self.memory_budget,
            monitoring_namespaces: self.monitoring_namespaces,
            gpu_resources: GpuResources::new(self.gpu_resources),
            autoscaler_metrics: self.autoscaler_metrics,
        })
    }

    async fn operate(self) -> anyhow::Result<()> {
        let cluster = cluster::config().await?;
        let config = self.config(cluster::api_server(&cluster).await)?;
        let terminated = async {
            terminated().await;
            tracing::info!("terminated by a signal");
        };
        Ok(llm_autoscaler_operator::run(config, cluster, terminated).await?)
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

/// Returns the number of threads that scrape and decide by default.
fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(2))
}

/// Parses `--memory-budget`, a Kubernetes quantity, into bytes.
fn memory_budget(text: &str) -> Result<usize, String> {
    const SMALLEST: &str = "16Mi";
    let bytes = |text: &str| Quantity(text.to_owned()).milli().map(|milli| milli.0 / 1000);
    let (found, smallest) = (bytes(text), bytes(SMALLEST));
    match (found.map_err(|error| error.to_string())?, smallest.unwrap_or_default()) {
        (found, smallest) if found < smallest => Err(format!("at least {SMALLEST} is needed")),
        (found, _) => usize::try_from(found).map_err(|error| error.to_string()),
    }
}

/// Raises the limit of open files to its maximum. Each scraped pod is an open connection, and the
/// usual limit of 1024 is too low for thousands of pods.
fn raise_open_files_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
}

async fn terminated() {
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

/// Prints the CRD as YAML.
pub(crate) fn print_crd() -> anyhow::Result<()> {
    output::print(&serde_saphyr::to_string(&LLMAutoscaler::crd())?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn config(flags: &[&str]) -> Config {
        let args = Args::parse_from(["llm-autoscaler", "run"].iter().chain(flags));
        let Command::Run(run) = args.command else { panic!("another command") };
        run.config(Vec::new()).unwrap()
    }

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_version_has_the_commit() {
        let told = Args::command().render_version();
        let revision = config(&[]).revision;
        let expected = format!("llm-autoscaler {} ({revision})\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(told, expected);
        let is_commit = revision.len() == 12 && revision.bytes().all(|it| it.is_ascii_hexdigit());
        assert!(is_commit || revision == "unknown", "{revision}");
    }

    #[test]
    fn flags_configure_the_operator() {
        let config = config(&[
            "--namespace=team-a",
            "--allow-source-hosts=prom.example,*.metrics.example,10.0.0.0/8",
            "--allow-loopback",
            "--monitoring-namespaces=monitoring,observability",
            "--gpu-resources=nvidia.com/mig-3g.40gb,example.com/npu",
            "--autoscaler-metrics",
            "--autoscalers-per-namespace=20",
            "--memory-budget=1Gi",
            "--sync-period-seconds=30",
            "--profile=hpa-exact",
        ]);
        assert_eq!(config.namespace.as_deref(), Some("team-a"));
        let hosts = ["prom.example", "*.metrics.example", "10.0.0.0/8"];
        let hosts: Vec<HostPattern> = hosts.iter().map(|host| host.parse().unwrap()).collect();
        assert_eq!(config.egress.hosts, hosts);
        assert!(config.egress.loopback && config.autoscaler_metrics);
        assert_eq!(config.monitoring_namespaces, ["monitoring", "observability"]);
        assert!(config.gpu_resources.has("example.com/npu"));
        assert_eq!((config.most_autoscalers, config.memory_budget), (20, 1 << 30));
        assert_eq!(config.period, Duration::from_secs(30));
        assert_eq!(config.profile, Profile::HpaExact);
    }

    #[test]
    fn two_threads_scrape_and_decide_unless_a_flag_says_otherwise() {
        let threads = |flags: &[&str]| {
            let args = Args::try_parse_from(["llm-autoscaler", "run"].iter().chain(flags)).ok()?;
            let Command::Run(run) = args.command else { return None };
            Some(run.worker_threads)
        };
        let found = [&[][..], &["--worker-threads=8"], &["--worker-threads=0"]].map(threads);
        assert!(matches!(found, [Some(1 | 2), Some(8), None]), "{found:?}");
    }

    #[test]
    fn a_memory_budget_is_a_quantity_of_at_least_16_mib() {
        let parsed = ["128Mi", "1G", "15Mi", "-1Gi", "much"].map(memory_budget);
        assert_eq!(parsed[..2], [Ok(128 << 20), Ok(1_000_000_000)]);
        assert!(parsed[2..].iter().all(Result::is_err), "{parsed:?}");
    }

    #[test]
    fn wake_calls_are_served_with_a_certificate_or_by_choice() {
        assert!(config(&[]).wake.is_none());
        let files = ["--wake-tls-cert-file=tls.crt", "--wake-tls-key-file=tls.key"];
        let wake = config(&files).wake.unwrap();
        let expected = CertificateFiles { certificate: "tls.crt".into(), key: "tls.key".into() };
        assert_eq!(wake.certificate, Some(expected));
        assert_eq!(wake.audience.as_deref(), Some("llm-autoscaler"));
        let wake = config(&["--wake-plain-http", "--wake-audience="]).wake.unwrap();
        assert_eq!((wake.certificate, wake.audience), (None, None));
    }
}
