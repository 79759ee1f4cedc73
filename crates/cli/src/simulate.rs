//! `llm-autoscaler simulate`: reads a load and autoscalers, and prints what would have happened.

mod faults;
mod load;
mod numbers;
mod policies;
mod progress;
mod world;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use llm_autoscaler_simulate::{Outcome, Picture, Scenario, bearable_load, table};
use serde_json::json;

use self::{load::LoadArgs, policies::PolicyRuns};
pub(crate) use self::{
    numbers::positive,
    policies::{PolicyArgs, print_notes, run},
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
    /// The seed of all random numbers: equal seeds have equal results.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The format of the result.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// A file to write pictures of the outcomes into: one HTML page that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
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
        let (load, warm_up) = (self.load.load()?, self.load.warm_up);
        let scenario = self.world.scenario(load, warm_up, self.replicas, self.seed)?;
        let PolicyRuns { outcomes, notes } = self.policies.run(&scenario)?;
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
