//! The options of the autoscalers, and their runs.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use kube::core::TypeMeta;
use llm_autoscaler_api::{LLMAutoscaler, LLMAutoscalerSpec, unknown_spec_fields};
use llm_autoscaler_core::Profile;
use llm_autoscaler_simulate::{
    Disaggregated, Outcome, Scenario, Transfer, Victims, clairvoyant,
    policy::{Autoscaler, CLAIRVOYANT, Limits, Spec, policy},
};

use super::{numbers::read, progress::Line, steps::StepsFile};

/// The options of the autoscalers.
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyArgs {
    /// A file with an LLMAutoscaler, as it is applied to a cluster. May be repeated.
    #[arg(long, value_name = "FILE")]
    autoscaler: Vec<PathBuf>,
    /// A policy by name, such as static=8, hpa-queue=5 or kpa; docs/simulate.md lists them. May be
    /// repeated.
    #[arg(long, value_name = "NAME[=NUMBER]")]
    policy: Vec<String>,
    /// The lower limit of the size, for policies by name.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    min: u32,
    /// The upper limit of the size, for policies by name.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    max: u32,
}

/// What a run has beside its scenario.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunOptions<'a> {
    /// The pool of decode, for an LLMAutoscaler with roles; without it none can have roles.
    pub(crate) decode: Option<DecodePool>,
    /// A file to write the steps of the LLMAutoscaler into.
    pub(crate) steps: Option<&'a Path>,
}

/// The pool of decode, beside that of prefill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DecodePool {
    /// Its replicas at the start.
    pub(crate) replicas: u32,
    /// How the KV caches come there.
    pub(crate) transfer: Transfer,
}

/// The runs of all autoscalers.
#[derive(Debug)]
pub(crate) struct PolicyRuns {
    /// The outcomes by the names of the autoscalers.
    pub(crate) outcomes: Vec<(String, Outcome)>,
    /// What is not simulated of an LLMAutoscaler.
    pub(crate) notes: Vec<String>,
}

impl PolicyArgs {
    /// Returns true if no autoscaler is named.
    pub(crate) fn is_empty(&self) -> bool {
        self.autoscaler.is_empty() && self.policy.is_empty()
    }

    /// Returns true if one LLMAutoscaler is named.
    pub(crate) fn has_one_autoscaler(&self) -> bool {
        self.autoscaler.len() == 1
    }

    /// Fails if the limits contradict each other, or a file has no LLMAutoscaler: before a load is
    /// read or recorded, which may take long.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.min <= self.max,
            "--min={} is more than --max={}; lower --min or raise --max",
            self.min,
            self.max
        );
        self.autoscaler.iter().try_for_each(|file| read_autoscaler(file).map(drop))
    }

    /// Runs a scenario under each autoscaler.
    pub(crate) fn run(
        &self,
        scenario: &Scenario,
        options: RunOptions<'_>,
    ) -> anyhow::Result<PolicyRuns> {
        let (mut outcomes, mut notes) = (Vec::new(), Vec::new());
        for file in &self.autoscaler {
            let (name, spec, victims) = read_autoscaler(file)?;
            let mut autoscaler = Spec::new(&spec, Profile::Default, scenario.faults.delay)
                .with_context(|| format!("{}: the LLMAutoscaler {name}", file.display()))?
                .with_kv_cache(scenario.profile.kv_tokens);
            notes.extend(autoscaler.notes().iter().map(|note| format!("{name}: {note}")));
            let scenario = Scenario { victims, ..scenario.clone() };
            let steps = options.steps.map(|path| StepsFile::begin(path, &name, &mut autoscaler));
            let steps = steps.transpose()?;
            let outcome = run_autoscaler(scenario, &name, &mut autoscaler, options.decode)?;
            outcomes.push((name.clone(), outcome));
            steps.map_or(Ok(()), StepsFile::end)?;
        }
        let limits = Limits { min: self.min, max: self.max };
        for name in &self.policy {
            if name == CLAIRVOYANT {
                let mut line = Line::of(name);
                let bound = clairvoyant(scenario, limits, &mut |it| line.show(it));
                let bound = bound.with_context(|| {
                    let max = limits.max;
                    format!("{name}: {max} replicas do not keep the promise; raise --max")
                })?;
                outcomes.push((name.clone(), bound.outcome));
                continue;
            }
            let mut autoscaler = policy(name, &scenario.policy_context(limits))?;
            outcomes.push((name.clone(), run(scenario, name, &mut *autoscaler)));
        }
        Ok(PolicyRuns { outcomes, notes })
    }
}

/// Runs an LLMAutoscaler. One with roles scales prefill and decode.
fn run_autoscaler(
    scenario: Scenario,
    name: &str,
    autoscaler: &mut Spec,
    decode: Option<DecodePool>,
) -> anyhow::Result<Outcome> {
    if !autoscaler.has_roles() {
        return Ok(run(&scenario, name, autoscaler));
    }
    let decode = decode.with_context(|| {
        format!("{name}: the load of one pool has no roles; name an LLMAutoscaler without them")
    })?;
    anyhow::ensure!(
        scenario.gpu_limit.is_none(),
        "{name}: --max-gpus is not simulated for roles; set maxGPUs in the spec"
    );
    let DecodePool { replicas: decode_replicas, transfer } = decode;
    let service = Disaggregated { scenario, decode_replicas, transfer };
    let mut line = Line::of(name);
    Ok(service.run(autoscaler, &mut |progress| line.show(progress)))
}

/// Prints notes on standard error.
pub(crate) fn print_notes(notes: &[String]) {
    for note in notes {
        let _ = writeln!(std::io::stderr().lock(), "llm-autoscaler: {note}");
    }
}

/// Runs one autoscaler. On a terminal, standard error has a line with the progress.
pub(crate) fn run(scenario: &Scenario, name: &str, autoscaler: &mut dyn Autoscaler) -> Outcome {
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
    // Text that is no YAML is refused below.
    let fields: serde_json::Value = serde_saphyr::from_str(&text).unwrap_or_default();
    if let Some(field) = unknown_spec_fields(&fields).first() {
        anyhow::bail!(
            "{}: {field} is no field of an LLMAutoscaler; docs/api-reference.md and kubectl explain \
             list them",
            file.display()
        );
    }
    let object: LLMAutoscaler = serde_saphyr::from_str(&text)
        .with_context(|| format!("{} is to have one LLMAutoscaler", file.display()))?;
    let roles = object.spec.roles.iter().flatten().map(|role| &role.scale_target_ref);
    let mut targets = std::iter::once(&object.spec.scale_target_ref).chain(roles).flatten();
    let victims = targets.next().map(|target| Victims::of_kind(&target.kind)).unwrap_or_default();
    let name = object.metadata.name.unwrap_or_else(|| file.display().to_string());
    Ok((name, object.spec, victims))
}
