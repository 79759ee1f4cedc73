//! The options of the simulated service: its engines, its promise and its cluster.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context;
use llm_autoscaler_simulate::{
    DEFAULT_PROFILE, EngineProfile, Promise, Routing, Scenario, Victims, arrivals::Load,
};

use super::{
    faults::{FaultArgs, StartArgs},
    numbers::{percent, positive, read, share},
};

/// The options of the simulated service.
#[derive(Debug, clap::Args)]
pub(crate) struct WorldArgs {
    /// The engine of each replica: a profile of docs/simulate.md.
    #[arg(long, default_value = DEFAULT_PROFILE, value_name = "NAME")]
    pub(crate) profile: String,
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
    /// The time that a terminating pod has for its requests, in seconds.
    #[arg(long, default_value_t = 30.0, value_parser = positive, value_name = "SECONDS")]
    grace: f64,
}

impl WorldArgs {
    /// Returns the promise to the users.
    pub(crate) fn promise(&self) -> Promise {
        Promise {
            time_to_first_token: self.ttft,
            inter_token_latency: self.itl,
            percentile: self.percentile,
        }
    }

    /// Returns the engine of each replica.
    pub(crate) fn engine(&self) -> anyhow::Result<EngineProfile> {
        let Some(file) = &self.profiles else { return Ok(EngineProfile::named(&self.profile)?) };
        let mut profiles: BTreeMap<_, _> = EngineProfile::parse(&read(file)?)?;
        profiles
            .remove(&self.profile)
            .with_context(|| format!("{} has no profile {}", file.display(), self.profile))
    }

    /// Returns the scenario of a load.
    pub(crate) fn scenario(
        &self,
        load: Load,
        warm_up: f64,
        replicas: u32,
        seed: u64,
    ) -> anyhow::Result<Scenario> {
        Ok(Scenario {
            load,
            warm_up,
            profile: self.engine()?,
            cached: self.cached,
            promise: self.promise(),
            routing: self.routing,
            starts: self.starts.starts(),
            faults: self.faults.faults(),
            gpu_limit: self.max_gpus,
            replicas,
            grace: self.grace,
            victims: Victims::NotReady,
            seed,
        })
    }
}
