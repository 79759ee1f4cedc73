//! `llm-autoscaler simulate`: reads a load and autoscalers, and prints what would have happened.

mod faults;
mod load;
mod progress;
mod steps;

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::ValueEnum;
use kube::core::TypeMeta;
use llm_autoscaler_api::{LLMAutoscaler, LLMAutoscalerSpec};
use llm_autoscaler_core::Profile;
use llm_autoscaler_simulate::{
    DEFAULT_PROFILE, Disaggregated, EngineProfile, Outcome, Picture, Promise, Routing, Scenario,
    Transfer, Victims, bearable_load, clairvoyant,
    policy::{Autoscaler, CLAIRVOYANT, Limits, Spec, policy},
    table,
};
use serde_json::json;

use self::{
    faults::{FaultArgs, StartArgs},
    load::LoadArgs,
    progress::Line,
    steps::StepsFile,
};
use crate::output;

/// The options of `simulate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Simulate {
    #[command(flatten)]
    load: LoadArgs,
    /// A file with an LLMAutoscaler, as it is applied to a cluster. May be repeated.
    #[arg(long, value_name = "FILE")]
    autoscaler: Vec<PathBuf>,
    /// A policy by name, such as static=8, hpa-queue=5 or kpa; docs/simulate.md lists them. May be
    /// repeated.
    #[arg(long, value_name = "NAME[=NUMBER]")]
    policy: Vec<String>,
    /// The engine of each replica: a profile of docs/simulate.md.
    #[arg(long, default_value = DEFAULT_PROFILE, value_name = "NAME")]
    profile: String,
    /// A file with profiles of one's own, in the format of crates/simulate/data/profiles.json.
    #[arg(long, value_name = "FILE")]
    profiles: Option<PathBuf>,
    /// The share of prompt tokens that the prefix cache has, from 0 to 1.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    cached: f64,
    /// The promised time to first token, in seconds. Long prompts have four times their own
    /// prefill.
    #[arg(long, default_value_t = 2.0, value_parser = positive, value_name = "SECONDS")]
    ttft: f64,
    /// The promised mean time between two tokens of a request, in seconds.
    #[arg(long, default_value_t = 0.1, value_parser = positive, value_name = "SECONDS")]
    itl: f64,
    /// The share of requests that both are promised for, in percent.
    #[arg(long, default_value_t = 99.0, value_parser = percent)]
    percentile: f64,
    /// How requests get their replicas: least-outstanding, round-robin or random at arrival, or
    /// shared-queue of a gateway.
    #[arg(long, default_value = "least-outstanding", value_name = "RULE")]
    routing: Routing,
    #[command(flatten)]
    starts: StartArgs,
    #[command(flatten)]
    faults: FaultArgs,
    /// The GPUs of the cluster. Pods beyond them have no node.
    #[arg(long, value_name = "GPUS")]
    max_gpus: Option<u32>,
    /// The replicas at the start of the warm-up.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    replicas: u32,
    /// The lower limit of the size, for policies by name.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    min: u32,
    /// The upper limit of the size, for policies by name.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    max: u32,
    /// The replicas of decode at the start, for an LLMAutoscaler with the roles prefill and decode;
    /// --replicas are those of prefill then.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    decode_replicas: u32,
    /// The tokens of a KV cache that are transferred from prefill to decode in a second; by default
    /// those of Qwen3-32B at 400 Gbit/s.
    #[arg(long, default_value_t = Transfer::default().tokens_per_second, value_parser = positive, value_name = "TOKENS")]
    kv_transfer: f64,
    /// The time that a terminating pod has for its requests, in seconds.
    #[arg(long, default_value_t = 30.0, value_parser = positive, value_name = "SECONDS")]
    grace: f64,
    /// The seed of all random numbers: equal seeds have equal results.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The format of the result.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// A file to write pictures of the outcomes into: one HTML page that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// A file to write the steps of the LLMAutoscaler into, as a case for `evaluate`, which
    /// explains each of them. It needs one --autoscaler.
    #[arg(long, value_name = "FILE", requires = "autoscaler", conflicts_with = "clock_jump")]
    steps: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A row for each policy.
    Table,
    /// One object with all numbers, a timeline, and the changes of size with their reasons.
    Json,
}

impl Simulate {
    /// Runs the load under each autoscaler, and prints the outcomes.
    pub(crate) fn simulate(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.autoscaler.is_empty() || !self.policy.is_empty(),
            "there is nothing to simulate; name an autoscaler with --autoscaler FILE or --policy \
             NAME"
        );
        anyhow::ensure!(
            self.min <= self.max,
            "--min={} is more than --max={}; lower --min or raise --max",
            self.min,
            self.max
        );
        anyhow::ensure!(
            self.steps.is_none() || self.autoscaler.len() == 1,
            "--steps has the steps of one LLMAutoscaler; name one --autoscaler"
        );
        let scenario = self.scenario()?;
        let mut outcomes = Vec::new();
        let mut notes = Vec::new();
        for file in &self.autoscaler {
            let (name, spec, victims) = read_autoscaler(file)?;
            let mut autoscaler = Spec::new(&spec, Profile::Default, scenario.faults.delay)
                .with_context(|| format!("{}: the LLMAutoscaler {name}", file.display()))?;
            notes.extend(autoscaler.notes().iter().map(|note| format!("{name}: {note}")));
            let scenario = Scenario { victims, ..scenario.clone() };
            let steps = self.steps.as_ref();
            let steps = steps.map(|path| StepsFile::begin(path, &name, &mut autoscaler));
            let steps = steps.transpose()?;
            outcomes.push((name.clone(), self.run(scenario, &name, &mut autoscaler)?));
            steps.map_or(Ok(()), StepsFile::end)?;
        }
        let limits = Limits { min: self.min, max: self.max };
        for name in &self.policy {
            if name == CLAIRVOYANT {
                let mut line = Line::of(name);
                let bound = clairvoyant(&scenario, limits, &mut |it| line.show(it));
                let bound = bound.with_context(|| {
                    let max = limits.max;
                    format!("{name}: {max} replicas do not keep the promise; raise --max")
                })?;
                outcomes.push((name.clone(), bound.outcome));
                continue;
            }
            let mut autoscaler = policy(name, &scenario.policy_context(limits))?;
            outcomes.push((name.clone(), run(&scenario, name, &mut *autoscaler)));
        }
        for note in notes {
            let _ = writeln!(std::io::stderr().lock(), "llm-autoscaler: {note}");
        }
        if let Some(file) = &self.html {
            self.write_html(file, &scenario, &outcomes)?;
        }
        self.print(&scenario, &outcomes)
    }

    /// Runs an LLMAutoscaler. One with roles scales prefill and decode.
    fn run(
        &self,
        scenario: Scenario,
        name: &str,
        autoscaler: &mut Spec,
    ) -> anyhow::Result<Outcome> {
        if !autoscaler.has_roles() {
            return Ok(run(&scenario, name, autoscaler));
        }
        anyhow::ensure!(
            self.max_gpus.is_none(),
            "{name}: --max-gpus is not simulated for roles; set maxGPUs in the spec"
        );
        let transfer = Transfer { tokens_per_second: self.kv_transfer, ..Transfer::default() };
        let decode_replicas = self.decode_replicas;
        let service = Disaggregated { scenario, decode_replicas, transfer };
        let mut line = Line::of(name);
        Ok(service.run(autoscaler, &mut |progress| line.show(progress)))
    }

    fn scenario(&self) -> anyhow::Result<Scenario> {
        let profile = match &self.profiles {
            None => EngineProfile::named(&self.profile)?,
            Some(file) => {
                let mut profiles: BTreeMap<_, _> = EngineProfile::parse(&read(file)?)?;
                profiles.remove(&self.profile).with_context(|| {
                    format!("{} has no profile {}", file.display(), self.profile)
                })?
            }
        };
        Ok(Scenario {
            load: self.load.load()?,
            warm_up: self.load.warm_up,
            profile,
            cached: self.cached,
            promise: Promise {
                time_to_first_token: self.ttft,
                inter_token_latency: self.itl,
                percentile: self.percentile,
            },
            routing: self.routing,
            starts: self.starts.starts(),
            faults: self.faults.faults(),
            gpu_limit: self.max_gpus,
            replicas: self.replicas,
            grace: self.grace,
            victims: Victims::NotReady,
            seed: self.seed,
        })
    }

    fn write_html(
        &self,
        file: &Path,
        scenario: &Scenario,
        outcomes: &[(String, Outcome)],
    ) -> anyhow::Result<()> {
        let profile = &scenario.profile;
        let picture = Picture {
            load: &self.load.words(),
            engine: &format!("{} on {} ({})", profile.model, profile.accelerator, self.profile),
            promise: scenario.promise,
            seed: scenario.seed,
            bearable_load: bearable_load(scenario),
            outcomes,
        };
        std::fs::write(file, picture.html())
            .with_context(|| format!("writing the pictures to {}", file.display()))
    }

    fn print(&self, scenario: &Scenario, outcomes: &[(String, Outcome)]) -> anyhow::Result<()> {
        if self.output == Format::Table {
            return output::print(&table(scenario.promise, outcomes));
        }
        let policies = outcomes.iter().map(|(name, outcome)| {
            let mut json = serde_json::to_value(outcome)?;
            json["policy"] = json!(name);
            Ok(json)
        });
        let policies = policies.collect::<anyhow::Result<Vec<_>>>()?;
        let json = json!({
            "promise": scenario.promise,
            "profile": self.profile,
            "seed": self.seed,
            "policies": policies,
        });
        output::print(&format!("{}\n", serde_json::to_string_pretty(&json)?))
    }
}

/// Runs one autoscaler. On a terminal, standard error has a line with the progress.
fn run(scenario: &Scenario, name: &str, autoscaler: &mut dyn Autoscaler) -> Outcome {
    let mut line = Line::of(name);
    scenario.run(autoscaler, &mut |progress| line.show(progress))
}

/// Reads a file with an LLMAutoscaler. Returns its name, its spec, and the order in which its
/// target removes pods.
fn read_autoscaler(file: &Path) -> anyhow::Result<(String, LLMAutoscalerSpec, Victims)> {
    let text = read(file)?;
    let found = serde_saphyr::from_str(&text).map_or(None, |it: TypeMeta| Some(it.kind));
    if let Some(kind) = found.filter(|kind| kind != "LLMAutoscaler") {
        anyhow::bail!("{} has an object of kind {kind}; give an LLMAutoscaler", file.display());
    }
    let object: LLMAutoscaler = serde_saphyr::from_str(&text)
        .with_context(|| format!("{} is to have one LLMAutoscaler", file.display()))?;
    let roles = object.spec.roles.iter().flatten().map(|role| &role.scale_target_ref);
    let mut targets = std::iter::once(&object.spec.scale_target_ref).chain(roles).flatten();
    let kind = targets.next().map(|target| target.kind.clone());
    let victims = match kind.as_deref() {
        Some("Deployment") => Victims::NotReady,
        _ => Victims::Newest,
    };
    let name = object.metadata.name.unwrap_or_else(|| file.display().to_string());
    Ok((name, object.spec, victims))
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

/// Parses a number of at least 0.
fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "it is to be a number".to_owned())?;
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err("it is to be a number of at least 0".to_owned())
    }
}

/// Parses a number of percent.
fn percent(text: &str) -> Result<f64, String> {
    let percent = positive(text)?;
    if percent <= 100.0 { Ok(percent) } else { Err("it is to be a number up to 100".to_owned()) }
}

/// Parses a share.
fn share(text: &str) -> Result<f64, String> {
    let share = positive(text)?;
    if share <= 1.0 { Ok(share) } else { Err("it is to be a share from 0 to 1".to_owned()) }
}
