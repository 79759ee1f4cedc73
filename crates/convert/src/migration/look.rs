//! Everything that a plan of a migration rests on.

use std::time::Duration;

use llm_autoscaler_api::{LLMAutoscaler, LLMAutoscalerStatus, ScaleTargetRef, workloads};
use serde_json::Value;

use super::refusal::Refusal;

/// The size of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The requested replicas.
    pub replicas: i32,
    /// The operator's field manager is an owner of them.
    pub is_adopted: bool,
}

/// What a migration sees before each of its steps.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The LLMAutoscaler.
    pub autoscaler: LLMAutoscaler,
    /// The other LLMAutoscalers of the namespace.
    pub neighbours: Vec<LLMAutoscaler>,
    /// The objects of the namespace of all kinds of [`SOURCE_KINDS`](super::SOURCE_KINDS), with
    /// their `apiVersion` and `kind`.
    pub others: Vec<Value>,
    /// The size of the target; `None` if the target is not there, or has no scale.
    pub size: Option<Size>,
    /// For so long no autoscaler of another kind has been seen at work, and the size has been the
    /// same.
    pub quiet: Duration,
}

impl Sight {
    pub(super) fn name(&self) -> &str {
        self.autoscaler.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn status(&self) -> LLMAutoscalerStatus {
        self.autoscaler.status.clone().unwrap_or_default()
    }

    /// Returns the target.
    ///
    /// # Errors
    /// The LLMAutoscaler has roles, which are switched over by hand.
    pub(super) fn target(&self) -> Result<&ScaleTargetRef, Refusal> {
        let spec = &self.autoscaler.spec;
        let target = spec.scale_target_ref.as_ref().filter(|target| target.role.is_none());
        target.filter(|_| spec.roles.is_none()).ok_or_else(|| {
            Refusal(format!(
                "the LLMAutoscaler {} scales roles, and migrate switches whole targets only: \
                 switch over by hand (docs/recommend.md#switching)",
                self.name()
            ))
        })
    }

    /// Returns the size of the target.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn size(&self, target: &ScaleTargetRef) -> Result<Size, Refusal> {
        self.size.ok_or_else(|| {
            Refusal(format!(
                "{} does not exist, or has no scale: create it first",
                reference(target)
            ))
        })
    }

    /// Returns the LLMAutoscaler that scales the target beside this one.
    pub(super) fn rival(&self, target: &ScaleTargetRef) -> Option<&str> {
        let scales_it = |other: &&LLMAutoscaler| {
            let its = other.spec.scale_target_ref.as_ref();
            other.spec.mode == llm_autoscaler_api::ScalingMode::Scale
                && its.is_some_and(|its| workloads::is_same_object(its, target))
        };
        self.neighbours.iter().find(scales_it).and_then(|it| it.metadata.name.as_deref())
    }

    /// Returns the message of a condition with this type and status.
    pub(super) fn condition(&self, type_: &str, status: &str) -> Option<String> {
        let all = self.status().conditions;
        let found = all.into_iter().find(|it| it.type_ == type_ && it.status == status);
        found.map(|condition| condition.message)
    }

    /// Returns whether the status describes the spec as it is.
    pub(super) fn is_observed(&self) -> bool {
        let generation = self.autoscaler.metadata.generation;
        generation.is_some() && self.status().observed_generation == generation
    }
}

/// Returns a target as KIND/NAME.
pub(super) fn reference(target: &ScaleTargetRef) -> String {
    format!("{}/{}", target.kind, target.name)
}
