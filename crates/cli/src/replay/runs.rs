//! The runs of all policies, for each seed.

use std::sync::Arc;

use llm_autoscaler_simulate::{
    Faults, Outcome, Scenario, Starts,
    arrivals::{Load, Spread, TraceLoad},
    policy::Schedule,
    recording::{Compared, Recording},
};

use crate::simulate::{PolicyArgs, RunOptions, WorldArgs, run};

/// The name of the recorded fleet's run.
pub(super) const TODAY: &str = "today, simulated";

/// The runs of a recording under policies.
pub(super) struct Runs<'a> {
    pub(super) recording: &'a Recording,
    pub(super) policies: &'a PolicyArgs,
    pub(super) world: &'a WorldArgs,
    pub(super) sigma: f64,
    pub(super) warm_up: f64,
    pub(super) seeds: u64,
}

impl Runs<'_> {
    /// Runs the recorded fleet and all policies, for each seed. Returns their outcomes, and what is
    /// not simulated of an LLMAutoscaler.
    pub(super) fn all(&self) -> anyhow::Result<(Vec<Compared>, Vec<String>)> {
        let mut compared: Vec<Compared> = Vec::new();
        let mut notes = Vec::new();
        for seed in 1..=self.seeds {
            let scenario = self.scenario(seed)?;
            let today = (TODAY.to_owned(), self.today(&scenario));
            let of_seed = self.policies.run(&scenario, RunOptions::default())?;
            notes = of_seed.notes;
            let outcomes = std::iter::once(today).chain(of_seed.outcomes);
            for (index, (name, outcome)) in outcomes.enumerate() {
                match compared.get_mut(index) {
                    Some(known) => known.runs.push(outcome),
                    None => compared.push(Compared { name, runs: vec![outcome] }),
                }
            }
        }
        Ok((compared, notes))
    }

    /// Returns the scenario of a seed: a draw of the recording.
    pub(super) fn scenario(&self, seed: u64) -> anyhow::Result<Scenario> {
        let warm_up = self.warm_up.min(self.recording.length());
        let load = Load::Trace(TraceLoad {
            trace: Arc::new(self.recording.trace(seed, self.sigma)),
            copies: 1,
            spread: Spread::Jitter(0.0),
            warm_up,
        });
        let measured = self.recording.measured(self.world.promise());
        let replicas = measured.fleet.first().map_or(1, |(_, replicas, _)| *replicas).max(1);
        self.world.scenario(load, warm_up, replicas, seed)
    }

    /// Runs the replicas that served, as they came and went.
    fn today(&self, scenario: &Scenario) -> Outcome {
        let fleet = self.recording.measured(scenario.promise).fleet;
        let mut sizes: Vec<(f64, u32)> =
            fleet.into_iter().map(|(at, _, serving)| (scenario.warm_up + at, serving)).collect();
        let first = sizes.first().map_or(0, |(_, serving)| *serving);
        sizes.insert(0, (0.0, first));
        // The recorded replicas had started already.
        let starts = Starts { median: 0.0, sigma: 0.0, ..Starts::default() };
        let scenario =
            Scenario { starts, faults: Faults::default(), gpu_limit: None, ..scenario.clone() };
        run(&scenario, TODAY, &mut Schedule(sizes))
    }
}
