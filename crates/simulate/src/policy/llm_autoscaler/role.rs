//! One role of a simulated LLMAutoscaler: everything that is known of its target.

use std::{rc::Rc, time::Duration};

use llm_autoscaler_api::TargetConfig;
use llm_autoscaler_core::{
    DrainObservation, Now, Resize, RoleMemory, RoleObservation, RolePlan, Scale, Selector, Write,
    WriteBlock,
};
use llm_autoscaler_observe::{
    observer::{Observations, TargetSnapshot, observe},
    progress::ProgressTracker,
    promise::PromiseTracker,
    replicas::Replicas,
    samples::Samples,
    startup_tracker::StartupTracker,
};
use serde_json::Value;

use super::{
    SYNC_PERIOD,
    drain::Drain,
    pods::{self, Pods},
    reason, record,
    sources::Sources,
    spec::SimulatedRole,
};
use crate::{policy::Step, sight::Sight};

/// A role between steps.
#[derive(Debug)]
pub(super) struct Role {
    /// Its name, where it is one of several.
    pub(super) name: Option<String>,
    pub(super) target: TargetConfig,
    pub(super) memory: RoleMemory,
    pods: Pods,
    pub(super) sources: Sources,
    starts: StartupTracker,
    engines: ProgressTracker,
    promise: PromiseTracker,
    drain: Drain,
    is_decided: bool,
}

/// The observation of a role in one step.
pub(super) struct RoleSight {
    replicas: Rc<Replicas>,
    observed: Observations,
    states: Vec<llm_autoscaler_core::ReplicaState>,
    drain: DrainSight,
    /// The role in the record of the step, if there is one.
    pub(super) case: Option<Value>,
    /// True while its first samples are on their way.
    pub(super) waits: bool,
}

/// The basis of a scale-down that drains.
pub(super) struct DrainSight {
    pub(super) observation: DrainObservation,
    /// For each candidate, its place in the list of replicas.
    pub(super) places: Vec<usize>,
}

impl Role {
    pub(super) fn new(SimulatedRole { name, target }: SimulatedRole, sources: Sources) -> Self {
        Self {
            pods: Pods::new(target.drain.is_some()),
            drain: Drain::new(&target),
            memory: RoleMemory::default(),
            sources,
            starts: StartupTracker::default(),
            engines: ProgressTracker::default(),
            promise: PromiseTracker::default(),
            is_decided: false,
            name,
            target,
        }
    }

    /// Observes the target. With `records`, what the step rests on is written down.
    pub(super) fn observe(&mut self, sight: &Sight<'_>, records: bool, now: Now) -> RoleSight {
        let size = i32::try_from(sight.requested).unwrap_or(i32::MAX);
        let replicas = self.pods.follow(sight.pods);
        self.starts.observe(&replicas, &mut self.memory.startup_times, now.wall);
        self.begin_step(&replicas, size, now);
        let samples = self.sources.samples(sight);
        let (observed, case) = self.snapshot(&replicas, &samples, size, records, now);
        let waits = observed.usable.findings.warming_up && !self.is_decided;
        let nothing =
            || DrainSight { observation: DrainObservation::default(), places: Vec::new() };
        let drain =
            if waits { nothing() } else { self.drain.observe(&replicas, &samples, now.wall) };
        RoleSight { states: observed.usable.states(), replicas, observed, drain, case, waits }
    }

    fn snapshot(
        &mut self,
        replicas: &Replicas,
        samples: &Samples,
        size: i32,
        records: bool,
        now: Now,
    ) -> (Observations, Option<Value>) {
        let vitals = self.target.vitals.as_deref();
        self.engines.observe(vitals, replicas, samples, now.monotonic);
        let snapshot = TargetSnapshot {
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
        };
        let workload = self.drain.workload();
        let case = records.then(|| record::role(self.name.as_deref(), &snapshot, workload));
        let mut observed = observe(&snapshot);
        let slo = self.target.slo.as_deref().map(|slo| (slo, self.target.engine));
        let states = &observed.usable.observation.replicas;
        self.promise.observe(slo, replicas, states, samples, size, now);
        observed.set_promised(self.promise.promised());
        (observed, case)
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

    /// Records the number of requested replicas that are missing, where roles wait for each other.
    pub(super) fn record_lag(&mut self, sight: &RoleSight, now: Now) {
        let requested = sight.observed.usable.observation.scale.current;
        self.memory.lag.observe(sight.for_plan().counts.missing(requested), now.wall);
    }

    /// Carries out the plan of the role, and remembers it.
    pub(super) fn carry_out(
        &mut self,
        plan: &RolePlan,
        sight: &RoleSight,
        written: Option<Write>,
        now: Now,
    ) -> Step {
        self.is_decided = true;
        let RoleSight { drain, replicas, .. } = sight;
        let closed = self.drain.carry_out(&plan.drain, drain, replicas, now.wall);
        if written.is_some() {
            self.drain.record_write(&plan.drain, drain, replicas, now.wall);
        }
        let block = WriteBlock::default();
        self.memory.record(&self.target.policy, &plan.decision, block, written, now);
        let why = written.map(|_| reason::of(&self.target, &plan.decision, self.promise.size()));
        let why = match &self.name {
            Some(name) => why.map(|why| format!("{name}: {why}")),
            None => why,
        };
        Step {
            why,
            size: written.map(|Write { to, .. }| u32::try_from(to).unwrap_or_default()),
            closed: closed.map(|names| names.iter().filter_map(|name| pods::id(name)).collect()),
            scrape_in: None,
        }
    }
}

impl RoleSight {
    /// Returns the observation as the plan takes it.
    pub(super) fn for_plan(&self) -> RoleObservation<'_> {
        let beyond_doubt = self.observed.beyond_doubt.as_ref();
        RoleObservation {
            usable: &self.observed.usable.observation,
            beyond_doubt: beyond_doubt.map(|sight| &sight.observation),
            states: &self.states,
            counts: self.replicas.counts(&self.observed.usable.observation.replicas),
            block: WriteBlock::default(),
            drain: self.drain.observation.clone(),
        }
    }
}
