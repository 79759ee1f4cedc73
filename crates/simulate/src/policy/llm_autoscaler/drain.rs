//! Scale-downs that drain, by the plan's own steps.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{ScaleTargetRef, TargetConfig, workloads};
use llm_autoscaler_core::{DrainAction, DrainObservation, Verdict, WorkloadState};
use llm_autoscaler_observe::{
    draining::{DrainMemory, GatePermission, key, name},
    replicas::{ReplicaPods, Replicas},
    requests::requests,
    samples::Samples,
    workload::Workload,
};

use super::role::DrainSight;

/// The drains between steps.
#[derive(Debug)]
pub(super) struct Drain {
    is_used: bool,
    /// True if the requests of replicas are measured.
    is_measured: bool,
    target: ScaleTargetRef,
    memory: DrainMemory,
}

impl Drain {
    pub(super) fn new(config: &TargetConfig) -> Self {
        let has_modes = workloads::has_modes(&config.target);
        let workload = Workload {
            first_ordinal: Some(0),
            victims: has_modes.then(|| workloads::role_victims(&BTreeMap::new())),
            is_ordered: false,
            rollout: None,
            is_given_up: false,
        };
        let mut memory = DrainMemory::default();
        memory.workload = Some(Box::new(workload));
        Self {
            is_used: config.drain.is_some(),
            is_measured: config.drain.as_ref().is_some_and(|drain| drain.requests.is_some()),
            target: config.target.clone(),
            memory,
        }
    }

    /// Returns the target's own object, if scale-downs drain.
    pub(super) fn workload(&self) -> Option<&Workload> {
        self.memory.workload.as_deref().filter(|_| self.is_used)
    }

    /// Returns what a scale-down that drains rests on.
    pub(super) fn observe(
        &mut self,
        replicas: &Replicas,
        samples: &Samples,
        now: DateTime<Utc>,
    ) -> DrainSight {
        if !self.is_used {
            return DrainSight { observation: DrainObservation::default(), places: Vec::new() };
        }
        self.memory.observe(replicas, GatePermission::Granted, now);
        let requests = requests(replicas, samples, self.is_measured, now);
        let order = self.memory.order(&self.target);
        let candidates = order.and_then(|order| {
            self.memory.candidates(order, replicas, &requests, GatePermission::Granted)
        });
        let order = order.filter(|_| candidates.is_some());
        let (places, candidates) = candidates.unwrap_or_default().into_iter().unzip();
        let observation = DrainObservation {
            removal: order.and_then(|_| self.memory.removal(&self.target)),
            candidates,
            workload: WorkloadState::Read { rollout_holds: false },
        };
        DrainSight { observation, places }
    }

    /// Carries out the drain of a plan. Returns the names of the pods that are out of service;
    /// `None` if that stays as it is.
    pub(super) fn carry_out(
        &mut self,
        action: &DrainAction,
        sight: &DrainSight,
        replicas: &Replicas,
        now: DateTime<Utc>,
    ) -> Option<Vec<String>> {
        if !self.is_used {
            return None;
        }
        let group = |candidate: usize| -> &ReplicaPods { &replicas.list[sight.places[candidate]] };
        match action {
            DrainAction::Keep => None,
            DrainAction::Release | DrainAction::ReleaseUnknown => {
                self.memory.clear();
                Some(Vec::new())
            }
            DrainAction::Step(step) => {
                for victim in &step.begin {
                    self.memory.begin(group(*victim), now);
                }
                for replica in &step.cancel {
                    self.memory.cancel(group(*replica));
                }
                Some(step.victims.iter().map(|victim| name(group(*victim)).to_owned()).collect())
            }
        }
    }

    /// Records that the size without the drained replicas was written.
    pub(super) fn record_write(
        &mut self,
        action: &DrainAction,
        sight: &DrainSight,
        replicas: &Replicas,
        now: DateTime<Utc>,
    ) {
        let DrainAction::Step(step) = action else { return };
        let Verdict::Write { leaving, .. } = &step.verdict else { return };
        for victim in step.victims.iter().take(*leaving) {
            self.memory.record_write(key(&replicas.list[sight.places[*victim]]), now);
        }
    }
}
