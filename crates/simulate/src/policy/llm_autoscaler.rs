//! This project's autoscaler: the observing and planning of the operator, by a spec.
//!
//! Only what stands around them is made here: pages are read as the operator's scrapes do, and the
//! writes of a plan are taken over.

mod drain;
mod gateway;
mod pages;
mod pods;
mod reason;
mod record;
mod sources;
mod spec;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{LLMAutoscalerSpec, TargetConfig};
use llm_autoscaler_core::{
    Config, DrainObservation, Monotonic, Now, Profile, Resize, RoleMemory, RoleObservation, Scale,
    Selector, Write, WriteBlock, plan,
};
use llm_autoscaler_observe::{
    observer::{Observations, TargetSnapshot, observe},
    progress::ProgressTracker,
    replicas::Replicas,
    samples::Samples,
    startup_tracker::StartupTracker,
};

use self::{drain::Drain, pods::Pods, record::Record, sources::Sources};
use super::{Autoscaler, Step, Timing};
use crate::{error::SimulateError, sight::Sight};

/// The operator's longest time between two decisions, in seconds.
const SYNC_PERIOD: f64 = 15.0;
/// The share of the interval after which a metric near its target is scraped again.
const NEAR_TARGET: f64 = 0.25;
/// The shortest time until that scrape, in seconds.
const SHORTEST_INTERVAL: f64 = 0.5;

/// An `LLMAutoscaler` with this spec.
#[derive(Debug)]
pub struct Spec {
    spec: LLMAutoscalerSpec,
    config: Config,
    target: TargetConfig,
    profile: Profile,
    interval: f64,
    notes: Vec<String>,
    memory: RoleMemory,
    pods: Pods,
    sources: Sources,
    starts: StartupTracker,
    engines: ProgressTracker,
    drain: Drain,
    is_decided: bool,
    record: Record,
}

impl Spec {
    /// Returns an autoscaler with this spec. `delay` is the time that pages take to arrive, in
    /// seconds: for so long older samples than usual are good.
    ///
    /// # Errors
    /// Fails if the spec is not valid, or has something that is not simulated.
    pub fn new(
        spec: &LLMAutoscalerSpec,
        profile: Profile,
        delay: f64,
    ) -> Result<Self, SimulateError> {
        let simulated = spec::simulated(spec, profile)?;
        let sources = Sources::new(&simulated, delay);
        Ok(Self {
            pods: Pods::new(simulated.target.drain.is_some()),
            drain: Drain::new(&simulated.target),
            config: simulated.config,
            target: simulated.target,
            profile,
            interval: simulated.interval.as_secs_f64(),
            notes: simulated.notes,
            memory: RoleMemory::default(),
            sources,
            starts: StartupTracker::default(),
            engines: ProgressTracker::default(),
            is_decided: false,
            record: Record::default(),
            spec: simulated.spec,
        })
    }

    /// Returns sentences on what of the spec is simulated in another way.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the spec as it is simulated.
    pub fn simulated(&self) -> &LLMAutoscalerSpec {
        &self.spec
    }

    /// Has each step sent to a receiver before it is decided, in the format of a case of
    /// `llm-autoscaler evaluate`. A case of the [simulated](Self::simulated) spec with these steps
    /// has the answers of this autoscaler, unless its clock is set meanwhile.
    pub fn record_steps(&mut self, receiver: Box<dyn FnMut(serde_json::Value)>) {
        self.record = Record::to(receiver);
    }

    /// Returns the lower limit of the size.
    pub fn min_replicas(&self) -> u32 {
        u32::try_from(self.target.policy.min_replicas).unwrap_or_default()
    }

    fn observe(
        &mut self,
        replicas: &Replicas,
        samples: &Samples,
        size: i32,
        now: Now,
    ) -> Observations {
        let vitals = self.target.vitals.as_ref();
        self.engines.observe(vitals, replicas, samples, now.monotonic);
        observe(&TargetSnapshot {
            config: &self.target,
            replicas,
            samples,
            scale: Scale { current: size, status: size },
            selector: Selector::Valid,
            scaled_to_zero: false,
            woken: false,
            progress: &self.engines,
            startup_timeout: self.memory.startup_times.startup_timeout(),
            now: now.wall,
        })
    }

    fn begin_step(&mut self, replicas: &Replicas, size: i32, now: Now) {
        let timeout = self.memory.startup_times.startup_timeout();
        let resize = || {
            let states = replicas.states_without_samples(now.wall, timeout);
            Resize { current: size, desired: replicas.counts(&states).staying(size) }
        };
        let longest_gap = Duration::from_secs_f64(2.0 * SYNC_PERIOD);
        self.memory.begin_step(&self.target.policy, resize, now, longest_gap);
    }
}

impl Autoscaler for Spec {
    fn timing(&self) -> Timing {
        let is_hpa = self.profile == Profile::HpaExact;
        Timing {
            scrape_every: self.interval,
            decide_every: SYNC_PERIOD,
            decides_on_scrapes: !is_hpa,
        }
    }

    fn reads_gateway(&self) -> bool {
        self.sources.has_gateway()
    }

    fn step(&mut self, sight: &Sight<'_>) -> Step {
        let now = time(sight);
        let size = i32::try_from(sight.requested).unwrap_or(i32::MAX);
        let replicas = self.pods.follow(sight.pods);
        self.starts.observe(&replicas, &mut self.memory.startup_times, now.wall);
        self.begin_step(&replicas, size, now);
        let samples = self.sources.samples(sight);
        self.record_step(sight, &replicas, &samples, Scale { current: size, status: size });
        let observed = self.observe(&replicas, &samples, size, now);
        if observed.usable.findings.warming_up && !self.is_decided {
            self.memory.await_samples();
            return Step::default();
        }
        self.is_decided = true;
        let drain = self.drain.observe(&replicas, &samples, now.wall);
        let block = WriteBlock::default();
        let role = RoleObservation {
            usable: &observed.usable.observation,
            beyond_doubt: observed.beyond_doubt.as_ref().map(|sight| &sight.observation),
            states: &observed.usable.states(),
            counts: replicas.counts(&observed.usable.observation.replicas),
            block,
            drain: drain.observation.clone(),
        };
        let plan = plan(&self.config, &[&self.memory], &[role], now);
        let Some(role) = plan.roles.first() else { return Step::default() };
        let closed = self.drain.carry_out(&role.drain, &drain, &replicas, now.wall);
        let mut writes = plan.writes();
        let written = writes.next_write();
        if let Some(write) = written {
            writes.record(write, true);
            self.drain.record_write(&role.drain, &drain, &replicas, now.wall);
        }
        self.memory.record(&self.target.policy, &role.decision, block, written, now);
        let near = (self.interval * NEAR_TARGET).max(SHORTEST_INTERVAL).min(self.interval);
        let is_hpa = self.profile == Profile::HpaExact;
        let why = written.map(|_| reason::of(&self.target, &role.decision));
        Step {
            why,
            size: written.map(|Write { to, .. }| u32::try_from(to).unwrap_or_default()),
            closed: closed.map(|names| names.iter().filter_map(|name| pods::id(name)).collect()),
            scrape_in: (role.near_target && !is_hpa).then_some(near),
        }
    }
}

/// What a scale-down that drains rests on.
struct DrainSight {
    observation: DrainObservation,
    /// For each candidate, its place in the list of replicas.
    places: Vec<usize>,
}

/// Returns the time of a step.
fn time(sight: &Sight<'_>) -> Now {
    Now {
        wall: wall(sight.now + sight.clock_ahead),
        monotonic: Monotonic(Duration::try_from_secs_f64(sight.now).unwrap_or_default()),
    }
}

/// Returns the time of day at so many seconds since the start: 2000-01-01, as in `evaluate`.
fn wall(seconds: f64) -> DateTime<Utc> {
    let start = DateTime::from_timestamp(946_684_800, 0).unwrap_or_default();
    start + TimeDelta::microseconds((seconds * 1e6).round() as i64)
}
