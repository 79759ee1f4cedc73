//! The observation of one role in a step, in the form that the plan takes.

use std::collections::BTreeSet;

use llm_autoscaler_api::{Advice, workloads::Victims};
use llm_autoscaler_core::{
    Basis, DrainObservation, ReplicaCounts, ReplicaState, RoleObservation, WriteBlock,
};
use llm_autoscaler_observe::observer::{Findings, Observations, Problem};

/// The observation of one role.
#[derive(Debug)]
pub(super) struct RoleSight {
    pub(super) observed: Observations,
    /// The states of the replicas, in their order.
    pub(super) states: Vec<ReplicaState>,
    /// The names of the replicas, in their order: each is that of its first pod.
    pub(super) names: Vec<String>,
    pub(super) counts: ReplicaCounts,
    pub(super) block: WriteBlock,
    /// The order in which a smaller size removes replicas, where it is known.
    pub(super) order: Option<Victims>,
    /// For each candidate of the drain, its place in the list of replicas.
    pub(super) places: Vec<usize>,
    pub(super) drain: DrainObservation,
    /// Advice about the time that pods have to terminate.
    pub(super) advice: Option<Advice>,
}

impl RoleSight {
    /// Returns the observation as the plan takes it.
    pub(super) fn for_plan(&self) -> RoleObservation<'_> {
        RoleObservation {
            usable: &self.observed.usable.observation,
            beyond_doubt: self.observed.beyond_doubt.as_ref().map(|sight| &sight.observation),
            states: &self.states,
            counts: self.counts,
            block: self.block,
            drain: self.drain.clone(),
        }
    }

    /// Returns the findings of the observation that a decision rests on.
    pub(super) fn findings(&self, basis: Basis) -> &Findings {
        &self.observed.by_basis(basis).findings
    }

    /// Returns the problems to report: if a decision could not do without samples in doubt, those
    /// of the samples beyond doubt.
    pub(super) fn problems(&self, basis: Basis) -> &[Problem] {
        self.observed.problems(basis)
    }

    /// Returns all advice, whatever samples the decision rests on.
    pub(super) fn all_advice(&self, basis: Basis) -> BTreeSet<&Advice> {
        let own = self.findings(basis).advice.iter();
        own.chain(&self.observed.usable.findings.advice).chain(&self.advice).collect()
    }
}
