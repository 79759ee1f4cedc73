//! The subcommand `convert`: LLMAutoscalers from the objects of other autoscalers.

mod check;
mod live;

use std::{io::Read, process::ExitCode};

use anyhow::Context;
use llm_autoscaler_convert::{Document, Options, Report};
use llm_autoscaler_engines::{Engine, Program};

use self::check::Check;
use crate::{cluster::with_cluster, engines, output};

/// The exit status where something of the input is missing in the results.
const LOSS: u8 = 3;

/// The options of `convert`.
#[derive(Debug, clap::Args)]
pub(crate) struct Convert {
    /// Files with YAML or JSON; - is standard input, which is also read without any file.
    files: Vec<String>,
    /// Read the autoscalers of a cluster too: those of the namespace of the current context.
    #[arg(long)]
    cluster: bool,
    /// The namespace to read in the cluster.
    #[arg(long, short, requires = "cluster")]
    namespace: Option<String>,
    /// Read all namespaces of the cluster.
    #[arg(long, short = 'A', requires = "cluster", conflicts_with = "namespace")]
    all_namespaces: bool,
    /// The context of the kubeconfig; by default the current one.
    #[arg(long, requires = "cluster")]
    context: Option<String>,
    /// The ConfigMap in the cluster with the rules of the metrics adapter, as NAMESPACE/NAME.
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "cluster")]
    adapter_config: Option<String>,
    /// The address of the Prometheus server that the metrics adapter queries, for metrics that
    /// become queries.
    #[arg(long, value_name = "URL")]
    prometheus_url: Option<String>,
    /// The engine of the targets, where their metrics do not tell it.
    #[arg(long, value_parser = engine)]
    engine: Option<Engine>,
    #[command(flatten)]
    results: Results,
    #[command(flatten)]
    check: Check,
}

/// The options of the results.
#[derive(Debug, clap::Args)]
struct Results {
    /// Give the results mode: Recommend, to run beside the autoscalers that they come from.
    #[arg(long)]
    recommend: bool,
    /// Print nothing if a part of the input cannot be expressed or is not understood.
    #[arg(long)]
    strict: bool,
}

fn engine(name: &str) -> anyhow::Result<Engine> {
    match engines::by_name(name)? {
        Program::Engine(engine) => Ok(engine),
        Program::Gateway(_) => anyhow::bail!("{name} is a gateway: name the engine behind it"),
    }
}

impl Convert {
    /// Converts, and prints the results. The exit status tells if something is missing in them.
    pub(crate) fn convert(self) -> anyhow::Result<ExitCode> {
        let mut documents = self.read()?;
        if self.cluster {
            with_cluster(async {
                documents.extend(self.live().await?);
                Ok(())
            })?;
        }
        anyhow::ensure!(!documents.is_empty(), "{}", self.nothing());
        let options = Options {
            prometheus_url: self.prometheus_url.clone(),
            engine: self.engine,
            recommend: self.results.recommend,
        };
        let report = llm_autoscaler_convert::convert(&documents, options)?;
        self.tell(&report)
    }

    /// Returns the error of an input without anything to convert.
    fn nothing(&self) -> &'static str {
        match (self.cluster, self.all_namespaces) {
            (false, _) => {
                "the input has no objects: give a file, or use --cluster. kubectl get looks into \
                 one namespace, which -n names"
            }
            (true, true) => "the cluster has no object of a kind that is converted",
            (true, false) => {
                "the namespace has no object of a kind that is converted: choose another one by \
                 -n, or all by -A"
            }
        }
    }

    fn read(&self) -> anyhow::Result<Vec<Document>> {
        let standard_input = ["-".to_owned()];
        let is_alone = self.files.is_empty() && !self.cluster;
        let files = if is_alone { &standard_input[..] } else { &self.files };
        let mut documents = Vec::new();
        for file in files {
            let (name, text) = if file == "-" {
                let mut text = String::new();
                let read = std::io::stdin().lock().read_to_string(&mut text);
                read.context("reading standard input")?;
                ("standard input", text)
            } else {
                let text = std::fs::read_to_string(file);
                (file.as_str(), text.with_context(|| format!("reading {file}"))?)
            };
            documents.extend(llm_autoscaler_convert::read(name, &text)?);
        }
        Ok(documents)
    }

    fn tell(&self, report: &Report) -> anyhow::Result<ExitCode> {
        let losses = report.losses();
        if !self.results.strict || losses.is_empty() {
            if self.check.is_wanted() {
                self.check.compare(report, output::print)?;
            } else {
                output::print(&report.yaml())?;
            }
        }
        if losses.is_empty() {
            let has_one = report.conversions.iter().any(|it| it.algorithm.is_some());
            anyhow::ensure!(has_one, "the input has no autoscaler, only what belongs to one");
            return Ok(ExitCode::SUCCESS);
        }
        for loss in &losses {
            output::print_error(&anyhow::anyhow!("{loss}"));
        }
        if self.results.strict {
            let text = "nothing is printed, because --strict allows no loss";
            output::print_error(&anyhow::anyhow!(text));
        }
        Ok(ExitCode::from(LOSS))
    }
}
