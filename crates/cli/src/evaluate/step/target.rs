//! A target between steps: its state in the cluster, and the memory of the operator about it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{
    LLMAutoscalerStatus, ParsedRole, TargetConfig, TargetStatus,
    conditions::{ConditionType, status_text},
    memory::Remembered,
    workloads,
};
use llm_autoscaler_core::{
    DrainAction, DrainObservation, DrainStep, Now, RoleMemory, RolePlan, Scale, Selector, Verdict,
    WorkloadState, Write, WriteBlock,
};
use llm_autoscaler_observe::{
    advice,
    draining::{DrainMemory, GatePermission, key, name},
    observer::{TargetSnapshot, observe},
    progress::ProgressTracker,
    replicas::{ReplicaPods, Replicas},
    requests::{Requests, requests, slowest_request},
    samples::Samples,
    startup_tracker::StartupTracker,
    workload::{RolloutProgress, Workload},
};

use super::{
    case::{RoleCase, ScaleCase, SelectorCase, WorkloadCase},
    pods::Pods,
    problem::Problem,
    samples::Sources,
    sight::RoleSight,
};

/// A target, and everything that is known of it.
#[derive(Debug)]
pub(super) struct Target {
    /// The name of the role; `None` for the only target of a spec without roles.
    pub(super) name: Option<String>,
    pub(super) config: TargetConfig,
    pub(super) memory: RoleMemory,
    /// The latest state of the fields that a step may leave out.
    cluster: Cluster,
    sources: Sources,
    replicas: Replicas,
    starts: StartupTracker,
    drain: DrainMemory,
    engines: ProgressTracker,
    /// True after the first decision: its first samples have arrived.
    is_decided: bool,
    scaled_to_zero: bool,
}

/// The state of a target in the cluster.
#[derive(Debug, Default)]
struct Cluster {
    scale: Option<ScaleCase>,
    selector: SelectorCase,
    pods: Pods,
    workload: WorkloadCase,
    manual_change: bool,
    /// The time until which writes wait, because another writer undoes them.
    contested_until: Option<DateTime<Utc>>,
    woken: bool,
    write_fails: bool,
}

/// The replicas that an accepted write removes, by their identities.
pub(super) struct Leaving(Vec<String>);

impl Target {
    pub(super) fn new(role: ParsedRole, now: DateTime<Utc>) -> Self {
        let ParsedRole { name, config, .. } = role;
        Self {
            name,
            memory: RoleMemory::default(),
            cluster: Cluster::default(),
            sources: Sources::new(&config, now),
            replicas: Replicas::default(),
            starts: StartupTracker::default(),
            drain: DrainMemory::default(),
            engines: ProgressTracker::default(),
            is_decided: false,
            scaled_to_zero: false,
            config,
        }
    }

    /// Restores the memory from a status, as the operator does when it is restarted.
    pub(super) fn restore(&mut self, status: &LLMAutoscalerStatus, now: Now) {
        let Now { wall: now, monotonic } = now;
        self.scaled_to_zero = self.name.is_none()
            && status.conditions.iter().any(|condition| {
                condition.type_ == ConditionType::ScaledToZero
                    && condition.status == status_text(true)
            });
        let is_own = |target: &&Arc<TargetStatus>| {
            self.name.as_ref().is_none_or(|name| target.name == *name)
        };
        if let Some(own) = status.targets.iter().find(is_own) {
            let remembered = Remembered::of(own);
            let timeout = remembered.startup_times.startup_timeout();
            let counts = self.replicas.counts(&self.replicas.states_without_samples(now, timeout));
            let (requested, drains) = (self.scale().current, self.config.drain.is_some());
            self.memory = remembered.restore(&self.config.policy, requested, counts, drains, now);
            self.engines = ProgressTracker::restored(&remembered.wedged, monotonic);
        }
        self.learn_starts(now);
    }

    /// Takes the state of the cluster from a step.
    pub(super) fn apply(&mut self, role: &RoleCase, now: DateTime<Utc>) -> Result<(), Problem> {
        let cluster = &mut self.cluster;
        cluster.scale = role.scale.or(cluster.scale);
        cluster.selector = role.selector.unwrap_or(cluster.selector);
        cluster.manual_change = role.manual_change.unwrap_or(cluster.manual_change);
        if let Some(wait) = role.contested_for_seconds {
            cluster.contested_until = Some(now + wait.delta());
        }
        cluster.woken = role.woken.unwrap_or(cluster.woken);
        cluster.write_fails = role.write_fails.unwrap_or(cluster.write_fails);
        if let Some(workload) = &role.workload {
            cluster.workload.clone_from(workload);
        }
        if let Some(pods) = &role.pods {
            cluster.pods = Pods::new(pods, now);
        }
        if let Some(sources) = &role.sources {
            let set = self.sources.set(&self.config, sources, now);
            set.map_err(|problem| problem.below("sources"))?;
        }
        Ok(())
    }

    /// Takes over the pods as they are now.
    pub(super) fn follow_pods(&mut self) {
        self.replicas = Replicas::of(&self.cluster.pods.members(), &self.config.groupings);
        self.cluster.pods.open_new();
    }

    /// Learns how long replicas take to start.
    pub(super) fn learn_starts(&mut self, now: DateTime<Utc>) {
        self.starts.observe(&self.replicas, &mut self.memory.startup_times, now);
    }

    /// Returns whether a step has given the scale.
    pub(super) fn is_found(&self) -> bool {
        self.cluster.scale.is_some()
    }

    fn scale(&self) -> Scale {
        self.cluster.scale.map_or_else(Scale::default, |scale| Scale {
            current: scale.spec_replicas,
            status: scale.status_replicas.unwrap_or(scale.spec_replicas),
        })
    }

    /// Observes the target; `None` while its first samples are on their way.
    pub(super) fn observe(&mut self, paused: bool, now: Now) -> Option<RoleSight> {
        if self.config.drain.is_some()
            && self.drain.workload.is_none()
            && workloads::has_modes(&self.config.target)
            && !self.cluster.workload.unreadable
        {
            self.drain.workload = Some(Box::new(self.workload()));
        }
        let samples = self.sources.samples(&self.config, &self.replicas.reporting_pods, now.wall);
        let vitals = self.config.vitals.as_deref();
        self.engines.observe(vitals, &self.replicas, &samples, now.monotonic);
        let startup_timeout = self.memory.startup_times.startup_timeout();
        let observed = observe(&TargetSnapshot {
            config: &self.config,
            replicas: &self.replicas,
            samples: &samples,
            scale: self.scale(),
            selector: match self.cluster.selector {
                SelectorCase::Valid => Selector::Valid,
                SelectorCase::Missing => Selector::Missing,
                SelectorCase::Invalid => Selector::Invalid,
                SelectorCase::Ambiguous => Selector::Ambiguous,
                SelectorCase::Unknown => Selector::Unknown,
            },
            scaled_to_zero: self.scaled_to_zero,
            woken: self.cluster.woken,
            progress: &self.engines,
            startup_timeout,
            now: now.wall,
        });
        self.sources.renew(&observed.usable.findings.needed_sources, now.wall);
        if observed.usable.findings.warming_up && !self.is_decided {
            return None;
        }
        self.is_decided = true;
        let mut sight = RoleSight {
            states: observed.usable.states(),
            names: self.replicas.list.iter().map(|group| name(group).to_owned()).collect(),
            counts: self.replicas.counts(&observed.usable.observation.replicas),
            block: WriteBlock {
                paused,
                manual_change: self.cluster.manual_change,
                contested_until: self.cluster.contested_until.filter(|until| now.wall < *until),
            },
            observed,
            order: None,
            places: Vec::new(),
            drain: DrainObservation::default(),
            advice: None,
        };
        if self.config.drain.is_some() {
            self.observe_drain(&mut sight, &samples, now.wall);
        }
        Some(sight)
    }

    /// Adds the input of a scale-down that drains.
    fn observe_drain(&mut self, sight: &mut RoleSight, samples: &Samples, now: DateTime<Utc>) {
        let pods = self.replicas.list.iter().flat_map(|group| &group.pods);
        let slowest = slowest_request(&self.replicas, samples);
        sight.advice = slowest.and_then(|slowest| advice::short_grace_period(pods, slowest));
        self.drain.observe(&self.replicas, GatePermission::Granted, now);
        let is_measured = self.config.drain.as_ref().is_some_and(|drain| drain.requests.is_some());
        let requests = requests(&self.replicas, samples, is_measured, now);
        self.observe_candidates(sight, &requests);
    }

    /// Adds the replicas that could be removed, in the order of their removal.
    fn observe_candidates(&self, sight: &mut RoleSight, requests: &[Option<Requests>]) {
        let order = self.drain.order(&self.config.target);
        let candidates = order.and_then(|order| {
            self.drain.candidates(order, &self.replicas, requests, GatePermission::Granted)
        });
        sight.order = order.filter(|_| candidates.is_some());
        (sight.places, sight.drain.candidates) = candidates.unwrap_or_default().into_iter().unzip();
        sight.drain.removal = sight.order.and_then(|_| self.drain.removal(&self.config.target));
    }

    /// Reads the target's own object for a scale-down, and observes again what depends on it.
    pub(super) fn read_workload(&mut self, sight: &mut RoleSight, now: DateTime<Utc>) {
        if self.cluster.workload.unreadable {
            sight.drain.workload = WorkloadState::Unreadable;
            return;
        }
        let workload = self.workload();
        self.drain.rollouts.observe(&workload, now);
        self.drain.workload = Some(Box::new(workload));
        let samples = self.sources.samples(&self.config, &self.replicas.reporting_pods, now);
        let is_measured = self.config.drain.as_ref().is_some_and(|drain| drain.requests.is_some());
        let requests = requests(&self.replicas, &samples, is_measured, now);
        self.observe_candidates(sight, &requests);
        sight.drain.workload =
            WorkloadState::Read { rollout_holds: self.drain.rollouts.holds(now) };
    }

    fn workload(&self) -> Workload {
        let WorkloadCase { first_ordinal, is_ordered, annotations, rollout, is_given_up, .. } =
            &self.cluster.workload;
        let has_modes = workloads::has_modes(&self.config.target);
        Workload {
            first_ordinal: *first_ordinal,
            victims: has_modes.then(|| workloads::role_victims(annotations)),
            is_ordered: *is_ordered,
            rollout: rollout.map(|rollout| RolloutProgress {
                updated: rollout.updated,
                wanted: rollout.wanted,
                ready: rollout.ready,
                generation: rollout.generation,
            }),
            is_given_up: *is_given_up,
        }
    }

    /// Records the number of requested replicas that are missing.
    pub(super) fn record_lag(&mut self, sight: &RoleSight, now: DateTime<Utc>) {
        self.memory.lag.observe(sight.counts.missing(self.scale().current), now);
    }

    /// Carries out the drain of a plan on the pods. Returns the replicas that its write removes.
    pub(super) fn carry_out_drain(
        &mut self,
        plan: &RolePlan,
        sight: &RoleSight,
        now: DateTime<Utc>,
    ) -> Leaving {
        match &plan.drain {
            DrainAction::Keep => Leaving(Vec::new()),
            DrainAction::Release | DrainAction::ReleaseUnknown => {
                self.replicas.list.iter().for_each(|group| self.cluster.pods.open(group));
                self.drain.clear();
                Leaving(Vec::new())
            }
            DrainAction::Step(step) => self.carry_out_step(step, sight, now),
        }
    }

    fn carry_out_step(
        &mut self,
        step: &DrainStep,
        sight: &RoleSight,
        now: DateTime<Utc>,
    ) -> Leaving {
        let group =
            |candidate: usize| -> &ReplicaPods { &self.replicas.list[sight.places[candidate]] };
        for victim in &step.begin {
            self.drain.begin(group(*victim), now);
        }
        for candidate in 0..sight.places.len() {
            if step.victims.contains(&candidate) {
                self.cluster.pods.close(group(candidate), now);
            } else {
                self.cluster.pods.open(group(candidate));
            }
        }
        for replica in &step.cancel {
            self.drain.cancel(group(*replica));
        }
        let leaving = match &step.verdict {
            Verdict::Write { leaving, .. } => *leaving,
            Verdict::Idle | Verdict::Wait { .. } => 0,
        };
        let victims = step.victims.iter().take(leaving);
        Leaving(victims.map(|victim| key(group(*victim)).to_owned()).collect())
    }

    /// Writes the size. Returns whether the write was accepted.
    pub(super) fn write(&mut self, write: Write, leaving: &Leaving, now: DateTime<Utc>) -> bool {
        if self.cluster.write_fails {
            return false;
        }
        if let Some(scale) = &mut self.cluster.scale {
            scale.spec_replicas = write.to;
        }
        self.scaled_to_zero = write.to == 0;
        for key in &leaving.0 {
            self.drain.record_write(key, now);
        }
        true
    }

    /// Records the decision, and the write if one was accepted.
    pub(super) fn record(
        &mut self,
        plan: &RolePlan,
        sight: &RoleSight,
        written: Option<Write>,
        now: Now,
    ) {
        self.memory.record(&self.config.policy, &plan.decision, sight.block, written, now);
        if !plan.shrinks(sight.block) {
            self.drain.rollouts.clear();
        }
    }
}
