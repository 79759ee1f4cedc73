//! `llm-autoscaler simulate`: reads a load and autoscalers, and prints what would have happened.

mod faults;
mod load;
mod numbers;
mod policies;
mod progress;
mod steps;
mod world;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use llm_autoscaler_simulate::{Outcome, Picture, Scenario, Transfer, bearable_load, table};
use serde_json::json;

use self::{
    load::LoadArgs,
    policies::{DecodePool, PolicyRuns},
};
pub(crate) use self::{
    numbers::{check_pictures, positive, read_trace},
    policies::{PolicyArgs, RunOptions, print_notes, run},
    progress::Line,
    world::WorldArgs,
};
use crate::output;

/// The options of `simulate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Simulate {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    policies: PolicyArgs,
    #[command(flatten)]
    world: WorldArgs,
    /// The replicas at the start of the warm-up.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    replicas: u32,
    /// The replicas of decode at the start, for an LLMAutoscaler with the roles prefill and decode;
    /// --replicas are those of prefill then.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    decode_replicas: u32,
    /// The tokens of a KV cache that are transferred from prefill to decode in a second; by default
    /// those of Qwen3-32B at 400 Gbit/s.
    #[arg(long, default_value_t = Transfer::default().tokens_per_second, value_parser = positive, value_name = "TOKENS")]
    kv_transfer: f64,
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

/// The format of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A row for each policy.
    Table,
    /// One object with all numbers, a timeline, and the changes of size with their reasons.
    Json,
}

impl Simulate {
    /// Runs the load under each autoscaler, and prints the outcomes.
    pub(crate) fn simulate(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.policies.is_empty(),
            "there is nothing to simulate; name an autoscaler with --autoscaler FILE or --policy \
             NAME"
        );
        self.policies.check()?;
        check_pictures(self.html.as_deref())?;
        anyhow::ensure!(
            self.steps.is_none() || self.policies.has_one_autoscaler(),
            "--steps has the steps of one LLMAutoscaler; name one --autoscaler"
        );
        let (load, warm_up) = (self.load.load()?, self.load.warm_up);
        let scenario = self.world.scenario(load, warm_up, self.replicas, self.seed)?;
        let transfer = Transfer { tokens_per_second: self.kv_transfer, ..Transfer::default() };
        let decode = Some(DecodePool { replicas: self.decode_replicas, transfer });
        let options = RunOptions { decode, steps: self.steps.as_deref() };
        let PolicyRuns { outcomes, notes } = self.policies.run(&scenario, options)?;
        print_notes(&notes);
        if let Some(file) = &self.html {
            self.write_html(file, &scenario, &outcomes)?;
        }
        self.print(&scenario, &outcomes)
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
            engine: &format!(
                "{} on {} ({})",
                profile.model, profile.accelerator, self.world.profile
            ),
            promise: scenario.promise,
            seed: scenario.seed,
            bearable_load: bearable_load(scenario),
            notes: &[],
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
            "profile": self.world.profile,
            "seed": self.seed,
            "policies": policies,
        });
        output::print(&format!("{}\n", serde_json::to_string_pretty(&json)?))
    }
}
