//! The types of conditions, in the order in which people read them.

use super::named_variants;

named_variants! {
    /// The type of a condition. The order of the variants is the order in a status: the HPA's come
    /// first, in the HPA's order.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    ConditionType {
        /// The target's scale can be read and written. The HPA's.
        AbleToScale,
        /// A number of replicas can be computed from the metrics. The HPA's.
        ScalingActive,
        /// A limit, a hold or another role keeps the size from being what the metrics ask for.
        /// The HPA's.
        ScalingLimited,
        /// This autoscaler was the one that scaled the target to zero, so it may scale it up again.
        /// The HPA's.
        ScaledToZero,
        /// The target is found, its metrics are read and its size is kept.
        Ready,
        /// Waiting does not help: the spec, or what it refers to, has to be changed.
        Stalled,
        /// The spec asks for recommendations only: nothing is written to the target.
        Recommending,
        /// The annotation `llmautoscaler.io/paused` keeps the operator from writing to the target.
        Paused,
        /// A size that another writer has set is respected for a while.
        ManualChange,
        /// Every running replica has a sample.
        SamplesComplete,
        /// Some replicas will not get ready by waiting: they crash, or cannot be scheduled.
        ReplicasStuck,
        /// The first source is enough. Only present where the spec has several.
        FirstSourceUsed,
        /// The fallback of the spec is in force, because no metric can be read.
        Fallback,
        /// The size follows the promise of the spec. Only present where the spec has `slo`.
        SLOActive,
        /// A scale-down waits for requests that are in flight. Only present where the spec has
        /// `drain`.
        Draining,
        /// Requests may be cut off although the spec has `drain`.
        DrainBestEffort,
        /// A scale-down no longer waits for a rollout that makes no progress.
        RolloutStuck,
        /// The readiness gates of the target's pods can be written.
        ReadinessGateKept,
        /// There is something that a person should know, although nothing is wrong.
        Advisory,
        /// The PodMonitor of the target is as the spec asks.
        PodMonitorReady,
        /// The CRD has other fields than the operator.
        SchemaMismatch,
    }
}

/// The meaning of the status `True` of a condition, for tools that judge the health of objects
/// without knowing this kind (kstatus, Argo CD).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// `True` is as it should be, and `False` is a problem.
    NormalTrue,
    /// `True` is a problem.
    AbnormalTrue,
    /// Neither status is a problem.
    Neutral,
}

impl Polarity {
    /// Returns the word for it in `docs/conditions.md`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NormalTrue => "normal-true",
            Self::AbnormalTrue => "abnormal-true",
            Self::Neutral => "neutral",
        }
    }
}

impl ConditionType {
    /// Returns the type with this name, or `None` if it is not one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|type_| type_.as_str() == text)
    }

    /// Returns whether the status `True` is good news, bad news or neither.
    pub const fn polarity(self) -> Polarity {
        match self {
            Self::AbleToScale
            | Self::ScalingActive
            | Self::Ready
            | Self::SamplesComplete
            | Self::FirstSourceUsed
            | Self::SLOActive
            | Self::ReadinessGateKept
            | Self::PodMonitorReady => Polarity::NormalTrue,
            Self::Stalled
            | Self::ReplicasStuck
            | Self::Fallback
            | Self::DrainBestEffort
            | Self::RolloutStuck
            | Self::SchemaMismatch => Polarity::AbnormalTrue,
            Self::ScalingLimited
            | Self::ScaledToZero
            | Self::Recommending
            | Self::Paused
            | Self::ManualChange
            | Self::Draining
            | Self::Advisory => Polarity::Neutral,
        }
    }

    /// Returns the status in which there is nothing to point out to a person. A neutral condition
    /// is worth pointing out while it is `True`.
    pub const fn usual_status(self) -> bool {
        matches!(self.polarity(), Polarity::NormalTrue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_found_by_its_name() {
        for type_ in ConditionType::ALL {
            assert_eq!(ConditionType::parse(type_.as_str()), Some(*type_));
        }
        assert_eq!(ConditionType::parse("Reconciling"), None);
    }

    #[test]
    fn only_normal_true_conditions_are_usually_true() {
        assert!(ConditionType::Ready.usual_status());
        assert!(!ConditionType::Stalled.usual_status());
        assert!(!ConditionType::ScalingLimited.usual_status());
    }
}
