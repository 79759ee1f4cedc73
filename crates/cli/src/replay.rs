//! `llm-autoscaler replay`: records the load and the fleet of a service from a Prometheus, and
//! prints what its autoscaler did, and what others would have done.
//!
//! ```text
//! server (raw samples) ─> fetch (chunks, split where a server refuses) ─> folder (a file)
//!                                                                           v
//!                                    report <── runs of simulate, for each seed
//! ```

mod fetch;
mod folder;
mod range;
mod report;
mod runs;
mod server;

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use llm_autoscaler_engines::{Engine, Program};
use llm_autoscaler_simulate::recording::{Header, Measures, Recording, Selection};

use self::{fetch::Recorder, folder::Folder, range::RangeArgs, runs::Runs, server::ServerArgs};
use crate::{
    cluster::with_cluster,
    engines::by_name,
    simulate::{Format, PolicyArgs, WorldArgs, check_pictures, positive, print_notes},
};

/// The options of `replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// The folder of the recording, which is made if it is not there. A recording that was
    /// interrupted goes on; without --prometheus, it is only simulated.
    #[arg(long, value_name = "FOLDER")]
    recording: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    pods: PodArgs,
    #[command(flatten)]
    range: RangeArgs,
    #[command(flatten)]
    policies: PolicyArgs,
    #[command(flatten)]
    world: WorldArgs,
    /// The standard deviation of the logarithm of lengths, where the engine has no histograms of
    /// them.
    #[arg(long, default_value_t = 0.8, value_parser = positive)]
    sigma: f64,
    /// The time at the start that does not count, in seconds, at most the length of the recording.
    /// The start of the recording is mirrored in it.
    #[arg(long, default_value_t = 600.0, value_parser = positive, value_name = "SECONDS")]
    warm_up: f64,
    /// The number of runs of each policy. Each has another draw of how requests fall within the
    /// interval of scrapes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// The format of the result.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// A file to write pictures of the first seed's outcomes into: one HTML page that needs nothing
    /// else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The options of the pods that are recorded.
#[derive(Debug, clap::Args)]
struct PodArgs {
    /// The namespace of the pods.
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// A regular expression that matches the names of the pods as a whole, such as qwen3-.*
    #[arg(long, default_value = ".*", value_name = "REGEX")]
    pods: String,
    /// A further label of the series with its value. May be repeated.
    #[arg(long = "matcher", value_name = "LABEL=VALUE", value_parser = matcher)]
    matchers: Vec<(String, String)>,
    /// The engine of the pods, such as VLLM or SGLang.
    #[arg(long, default_value = "VLLM")]
    engine: String,
    /// The label that has the name of the pod.
    #[arg(long, default_value = "pod", value_name = "LABEL")]
    pod_label: String,
    /// The label that has the namespace.
    #[arg(long, default_value = "namespace", value_name = "LABEL")]
    namespace_label: String,
    /// A label by which series only repeat each other. May be repeated.
    #[arg(
        long = "replica-label",
        default_values = ["replica", "prometheus_replica"],
        value_name = "LABEL"
    )]
    replica_labels: Vec<String>,
}

impl Replay {
    /// Records, simulates and prints.
    pub(crate) fn replay(self) -> anyhow::Result<()> {
        self.policies.check()?;
        check_pictures(self.html.as_deref())?;
        let folder = Folder::at(&self.recording);
        if self.server.is_given() {
            with_cluster(self.record(&folder))?;
        }
        let recording = folder.read()?;
        folder.write_csv(&recording, self.sigma)?;
        let runs = Runs {
            recording: &recording,
            policies: &self.policies,
            world: &self.world,
            sigma: self.sigma,
            warm_up: self.warm_up,
            seeds: self.seeds,
        };
        let (compared, notes) = runs.all()?;
        print_notes(&notes);
        report::print(&self.world, &recording, &compared, self.output)?;
        match &self.html {
            Some(file) => report::write_html(file, &self.world, &runs, &compared),
            None => Ok(()),
        }
    }

    /// Reads from the server what the recording lacks.
    async fn record(&self, folder: &Folder) -> anyhow::Result<()> {
        let engine = self.pods.engine()?;
        let measures = Measures::of(engine);
        ensure!(
            measures.are_enough(),
            "{} does not report what a trace needs: requests that ended, and the tokens of prompts \
             and answers",
            engine.profile().display
        );
        let namespace = self.pods.namespace.clone();
        let namespace = namespace.context("name the namespace of the pods with --namespace")?;
        let (from, to) = self.range.resolve(folder.header()?.as_ref())?;
        let header = Header {
            version: Header::version(),
            server: self.server.name()?,
            namespace: namespace.clone(),
            pods: self.pods.pods.clone(),
            matchers: self.pods.matchers.clone(),
            engine: engine.profile().name.to_owned(),
            from,
            to,
            chunk: self.range.chunk(),
        };
        let selection = Selection {
            namespace,
            pods: self.pods.pods.clone(),
            namespace_label: self.pods.namespace_label.clone(),
            pod_label: self.pods.pod_label.clone(),
            replica_labels: self.pods.replica_labels.clone(),
            matchers: self.pods.matchers.clone(),
        };
        let file = folder.open(&header)?;
        let server = self.server.connect()?;
        Recorder { server, selection, measures }.record(&header, file).await
    }
}

impl PodArgs {
    fn engine(&self) -> anyhow::Result<Engine> {
        match by_name(&self.engine)? {
            Program::Engine(engine) => Ok(engine),
            Program::Gateway(gateway) => bail!(
                "{} is a gateway, and a recording is of the engines behind it: name their engine \
                 with --engine",
                gateway.profile().table.display
            ),
        }
    }
}

fn matcher(text: &str) -> Result<(String, String), String> {
    let (label, value) = text.split_once('=').ok_or("write it as LABEL=VALUE")?;
    Ok((label.to_owned(), value.trim_matches('"').to_owned()))
}

/// Returns the pods of a recording in words.
fn service(recording: &Recording) -> String {
    let Header { namespace, pods, .. } = &recording.header;
    format!("pods {pods} of {namespace}")
}
