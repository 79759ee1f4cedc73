//! Carries out the drains of a plan: closes and opens readiness gates, and marks victims for
//! removal. The plan has chosen the replicas, and the moment at which the size may be written.

use std::sync::Arc;

use llm_autoscaler_api::{DrainConfig, ScaleTargetRef, workloads::Victims};
use llm_autoscaler_core::{DrainAction, DrainStep, Now, RolePlan, Verdict};
use llm_autoscaler_observe::{
    draining::{DrainMemory, GatePermission, has_gate, key, name},
    pod::{Pod, service::Gate},
    replicas::{ReplicaPods, Replicas},
    requests::Requests,
    workload::Rollout,
};
use tracing::{info, warn};

use crate::{
    drain::{
        pod_gates::{GatePosition, PodGates},
        progress::{
            BestEffort, DrainOutcome, DrainProgress, FinishedDrain, GateProblem, PendingDrain,
            RemainingRequests,
        },
    },
    telemetry::Telemetry,
};

/// The observation of a target that its drains need.
#[derive(Clone, Debug, Default)]
pub(crate) struct DrainScene {
    /// The order in which a smaller size removes replicas; `None` where it is not known.
    pub order: Option<Victims>,
    /// For each candidate of the plan, its place in the list of replicas.
    pub places: Vec<usize>,
    /// The requests of each replica.
    pub requests: Vec<Option<Requests>>,
}

/// A target, while the drains of a plan are carried out for it.
pub(crate) struct Drainer<'a> {
    /// Writes to pods.
    pub gates: &'a PodGates,
    /// Counts how drains end.
    pub telemetry: &'a Telemetry,
    /// The target's namespace.
    pub namespace: &'a str,
    /// The target.
    pub target: &'a ScaleTargetRef,
    /// The configuration of its drains; `None` if its scale-downs do not drain.
    pub config: Option<&'a DrainConfig>,
    /// Its replicas.
    pub replicas: &'a Replicas,
    /// The observation that its drains need.
    pub scene: &'a DrainScene,
    /// The time of the step.
    pub now: Now,
}

/// A write of a size for which victims have been drained.
pub(crate) struct PreparedWrite {
    /// The identities of the replicas that it removes.
    keys: Vec<String>,
    finished: FinishedDrain,
}

impl Drainer<'_> {
    /// Carries out the drain of a role's plan. Returns the write that the plan prepares, if it
    /// does.
    ///
    /// # Errors
    /// The write has to wait, because victims could not be marked.
    pub(crate) async fn prepare(
        &self,
        plan: &RolePlan,
        memory: &mut DrainMemory,
        progress: &mut DrainProgress,
    ) -> Result<Option<PreparedWrite>, MarkFailed> {
        let step = match &plan.drain {
            DrainAction::Keep => return Ok(None),
            DrainAction::Release => {
                *progress = self.release(memory);
                return Ok(None);
            }
            DrainAction::ReleaseUnknown => {
                let best_effort = Some(Box::new(BestEffort::UnknownVictims));
                *progress = DrainProgress { is_on: true, best_effort, ..self.release(memory) };
                return Ok(None);
            }
            DrainAction::Step(step) => step,
        };
        let cancelled = self.apply(plan, step, memory);
        *progress = self.report(plan, step, memory, progress, cancelled);
        let Verdict::Write { to, leaving, late } = &step.verdict else { return Ok(None) };
        if plan.write.is_none() {
            // It is put off, and other replicas may be removed then.
            return Ok(None);
        }
        let going: Vec<&ReplicaPods> =
            step.victims[..*leaving].iter().map(|victim| self.candidate(*victim)).collect();
        self.mark(&going, progress).await?;
        let outcome = if late.is_empty() {
            DrainOutcome::Drained { seconds: memory.seconds(&going, self.now.wall) }
        } else {
            DrainOutcome::Late(late.iter().map(|victim| self.remaining(*victim)).collect())
        };
        let finished = FinishedDrain { from: plan.decision.current, to: *to, outcome };
        let keys = going.iter().map(|group| key(group).to_owned()).collect();
        Ok(Some(PreparedWrite { keys, finished }))
    }

    /// Returns all pods to their Services: nothing is drained.
    pub(crate) fn release(&self, memory: &mut DrainMemory) -> DrainProgress {
        for group in &self.replicas.list {
            self.open(group);
        }
        memory.clear();
        let gate = gate_problem(self.gates, self.namespace, self.replicas);
        DrainProgress { gate, ..DrainProgress::default() }
    }

    /// Closes the gates of the victims and opens all others. Returns whether a scale-down was
    /// cancelled.
    fn apply(&self, plan: &RolePlan, step: &DrainStep, memory: &mut DrainMemory) -> bool {
        for victim in &step.begin {
            memory.begin(self.candidate(*victim), self.now.wall);
        }
        for candidate in 0..self.scene.places.len() {
            let group = self.candidate(candidate);
            if step.victims.contains(&candidate) {
                group
                    .pods
                    .iter()
                    .for_each(|pod| self.gates.set(pod, GatePosition::Closed, self.now));
            } else {
                self.open(group);
            }
        }
        let (namespace, target) = (self.namespace, &self.target.name);
        if !step.begin.is_empty() {
            let pods: Vec<&str> =
                step.begin.iter().map(|victim| name(self.candidate(*victim))).collect();
            let (current, desired) = (plan.decision.current, plan.granted);
            info!(namespace, target, current, desired, ?pods, "draining");
        }
        let mut cancelled = false;
        for replica in &step.cancel {
            cancelled |= memory.cancel(self.candidate(*replica));
        }
        cancelled &= step.victims.is_empty();
        if cancelled {
            info!(namespace, target, "the drain is cancelled");
            self.telemetry.record_drain("cancelled");
        }
        cancelled
    }

    /// Marks the victims that are to be removed, where the target's controller chooses replicas by
    /// their deletion costs.
    ///
    /// # Errors
    /// A victim could not be marked, for another reason than a lack of permission.
    async fn mark(
        &self,
        going: &[&ReplicaPods],
        progress: &mut DrainProgress,
    ) -> Result<(), MarkFailed> {
        let pods: Vec<Arc<Pod>> =
            going.iter().flat_map(|group| group.pods.iter().cloned()).collect();
        let (marked, role) = match self.scene.order {
            None | Some(Victims::PodOrdinals | Victims::LabelOrdinals(_)) => return Ok(()),
            Some(Victims::DeletionCost) => {
                (self.gates.mark(&pods).await, "llm-autoscaler-deletion-cost")
            }
            Some(Victims::InstanceCost) => {
                (self.gates.mark_instances(&pods).await, "llm-autoscaler-instance-deletion-cost")
            }
        };
        match marked {
            Ok(()) => Ok(()),
            Err(failure) if failure.is_forbidden => {
                let error = failure.text;
                let not_marked = BestEffort::NotMarked { role, error };
                progress.best_effort.get_or_insert_with(|| Box::new(not_marked));
                Ok(())
            }
            Err(failure) => {
                warn!(
                    namespace = self.namespace,
                    target = self.target.name,
                    error = failure.text,
                    "replicas could not be marked for removal; a later step tries again"
                );
                Err(MarkFailed)
            }
        }
    }

    /// Returns the progress of the scale-down after the step.
    fn report(
        &self,
        plan: &RolePlan,
        step: &DrainStep,
        memory: &DrainMemory,
        before: &DrainProgress,
        cancelled: bool,
    ) -> DrainProgress {
        let current = plan.decision.current;
        let waiting = match step.verdict {
            Verdict::Wait { until } => Some(Box::new(PendingDrain {
                from: current,
                to: plan.granted.unwrap_or(current),
                victims: step.victims.iter().map(|victim| self.remaining(*victim)).collect(),
                until,
            })),
            Verdict::Idle | Verdict::Write { .. } => None,
        };
        let rollout: Option<Rollout> = memory.rollouts.rollout(self.now.wall);
        let holds = plan.waits == Some(llm_autoscaler_core::WaitingOn::Rollout);
        let outcome = DrainOutcome::Cancelled;
        let ended = || Box::new(FinishedDrain { from: current, to: current, outcome });
        let cancelled = cancelled.then(ended);
        let not_marked = before
            .best_effort
            .clone()
            .filter(|best_effort| matches!(**best_effort, BestEffort::NotMarked { .. }));
        DrainProgress {
            is_on: true,
            waiting,
            for_role: None,
            held: rollout.filter(|_| holds),
            stuck: rollout.filter(|_| !holds),
            finished: cancelled.or_else(|| before.finished.clone()),
            best_effort: self.best_effort().map(Box::new).or(not_marked),
            gate: gate_problem(self.gates, self.namespace, self.replicas),
        }
    }

    fn best_effort(&self) -> Option<BestEffort> {
        let candidates = (0..self.scene.places.len()).map(|candidate| self.candidate(candidate));
        let without: Vec<String> = candidates
            .filter(|group| !has_gate(group))
            .map(|group| name(group).to_owned())
            .collect();
        if !without.is_empty() {
            return Some(BestEffort::NoGate(without));
        }
        if self.gates.permission(self.namespace) == GatePermission::Denied {
            return Some(BestEffort::NotPermitted);
        }
        let is_unknown = self.config.is_some_and(|config| config.requests.is_none());
        is_unknown.then_some(BestEffort::RequestsUnknown)
    }

    fn remaining(&self, candidate: usize) -> RemainingRequests {
        let place = self.scene.places[candidate];
        let requests = self.scene.requests.get(place).copied().flatten();
        RemainingRequests {
            name: name(self.candidate(candidate)).to_owned(),
            requests: requests.map(|requests| requests.count),
        }
    }

    fn candidate(&self, candidate: usize) -> &ReplicaPods {
        &self.replicas.list[self.scene.places[candidate]]
    }

    fn open(&self, group: &ReplicaPods) {
        for pod in &group.pods {
            self.gates.set(pod, GatePosition::Open, self.now);
            self.gates.unmark(pod, self.now);
        }
    }
}

/// Victims could not be marked, so that other replicas might be removed.
#[derive(Debug)]
pub(crate) struct MarkFailed;

impl PreparedWrite {
    /// Records that the size has been written. Returns how the scale-down ended.
    pub(crate) fn finish(
        self,
        memory: &mut DrainMemory,
        progress: &mut DrainProgress,
        telemetry: &Telemetry,
        now: Now,
    ) -> FinishedDrain {
        for key in &self.keys {
            memory.record_write(key, now.wall);
        }
        let is_late = matches!(self.finished.outcome, DrainOutcome::Late(_));
        telemetry.record_drain(if is_late { "deadline" } else { "drained" });
        progress.waiting = None;
        progress.finished = Some(Box::new(self.finished.clone()));
        self.finished
    }
}

/// Opens the readiness gates of new pods, which have not been written yet.
pub(crate) fn open_new_pods(gates: &PodGates, replicas: &Replicas, now: Now) {
    for pod in replicas.list.iter().flat_map(|group| &group.pods) {
        if pod.service.gate == Gate::Unset {
            gates.set(pod, GatePosition::Open, now);
        }
    }
}

/// Returns why readiness gates cannot be written, where pods depend on it.
fn gate_problem(
    gates: &PodGates,
    namespace: &str,
    replicas: &Replicas,
) -> Option<Box<GateProblem>> {
    if !replicas.list.iter().any(has_gate) {
        return None;
    }
    let failure = gates.failure(namespace)?;
    Some(Box::new(GateProblem { is_forbidden: failure.is_forbidden, text: failure.text }))
}
