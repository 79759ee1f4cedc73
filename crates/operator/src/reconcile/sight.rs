//! The observation of one role at one moment: the input of its plan, and of its report.

use std::borrow::Cow;

use llm_autoscaler_api::Advice;
use llm_autoscaler_core::{
    Basis, DrainObservation, Observation, Reading, ReplicaCounts, ReplicaState, RoleObservation,
    Scale,
};
use llm_autoscaler_observe::{
    advice,
    observer::{Findings, Observations, TargetObservation},
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
    /// True if the target is left to another owner. Other roles reckon with its size.
    pub is_left_alone: bool,
    /// The difference between requested and existing replicas, where it is overdue.
    pub unsettled: Option<Unsettled>,
}

impl RoleSight {
    /// Returns the observation of a target that is left to another owner: nothing is known but its
    /// size.
    pub(super) fn left_alone(scale: Scale, metrics: usize) -> Self {
        let observation = Observation {
            scale,
            readings: vec![Reading::Failed; metrics],
            ..Observation::default()
        };
        let alive = scale.current.max(scale.status);
        Self {
            observed: Observations {
                usable: TargetObservation { observation, findings: Findings::default() },
                beyond_doubt: None,
            },
            states: Vec::new(),
            counts: ReplicaCounts { alive, coming: alive, ..ReplicaCounts::default() },
            block: WriteBlock::default(),
            drain: DrainScene::default(),
            drain_observation: DrainObservation::default(),
            advice: Vec::new(),
            is_left_alone: true,
            unsettled: None,
        }
    }

    /// The observation as the plan takes it. A target that is left alone keeps its size, as one
    /// whose size was set by hand does.
    pub(super) fn for_plan(&self) -> RoleObservation<'_> {
        let mut block = self.block.for_plan();
        block.manual_change |= self.is_left_alone;
        RoleObservation {
            usable: &self.observed.usable.observation,
            beyond_doubt: self.observed.beyond_doubt.as_ref().map(|sight| &sight.observation),
            states: &self.states,
            counts: self.counts,
            block,
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
