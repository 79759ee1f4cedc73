//! The observation of one role at one moment: the input of its plan, and of its report.

use std::borrow::Cow;

use llm_autoscaler_api::Advice;
use llm_autoscaler_core::{Basis, DrainObservation, ReplicaCounts, ReplicaState, RoleObservation};
use llm_autoscaler_observe::{
    advice,
    observer::{Findings, Observations},
    settling::Unsettled,
};

use crate::{drain::drainer::DrainScene, ownership::write_block::WriteBlock};

/// The observation of one role.
pub(super) struct RoleSight {
    /// Its observations.
    pub observed: Observations,
    /// The states of its replicas.
    pub states: Vec<ReplicaState>,
    /// The number of its replicas by what they are.
    pub counts: ReplicaCounts,
    /// The reasons why the operator may not write.
    pub block: WriteBlock,
    /// Its drains, as they are carried out.
    pub drain: DrainScene,
    /// Its drains, as the plan takes them.
    pub drain_observation: DrainObservation,
    /// Advice about its drains and its owner.
    pub advice: Vec<Advice>,
    /// The difference between requested and existing replicas, where it is overdue.
    pub unsettled: Option<Unsettled>,
}

impl RoleSight {
    /// The observation as the plan takes it.
    pub(super) fn for_plan(&self) -> RoleObservation<'_> {
        RoleObservation {
            usable: &self.observed.usable.observation,
            beyond_doubt: self.observed.beyond_doubt.as_ref().map(|sight| &sight.observation),
            states: &self.states,
            counts: self.counts,
            block: self.block.for_plan(),
            drain: self.drain_observation.clone(),
        }
    }

    /// The findings of the observation that the decision rests on. Advice is given whatever it
    /// rests on.
    pub(super) fn findings(&self, basis: Basis) -> Cow<'_, Findings> {
        let usable = &self.observed.usable.findings;
        let mut findings = Cow::Borrowed(&self.observed.by_basis(basis).findings);
        if !usable.advice.is_subset(&findings.advice) {
            findings.to_mut().advice.extend(usable.advice.iter().cloned());
        }
        if !self.advice.is_empty() {
            findings.to_mut().advice.extend(self.advice.iter().cloned());
        }
        match &self.unsettled {
            Some(unsettled @ Unsettled::NotCreated { .. }) => {
                findings.to_mut().uncreated = Some(unsettled.clone());
            }
            Some(Unsettled::NotRemoved { requested, existing }) => {
                findings.to_mut().advice.insert(advice::not_removed(*existing, *requested));
            }
            None => {}
        }
        findings
    }
}
