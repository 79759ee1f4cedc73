//! Profiles, and the deviations from the HPA by name.

/// The set of deviations that apply to a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// No deviation applies: decisions are those of the HPA of Kubernetes 1.37 to the bit.
    HpaExact,
    /// Every [`Deviation`] applies.
    Default,
    /// These deviations apply and no others, to find the one that causes a difference.
    Only(Deviations),
}

/// A rule by which the Default profile differs from the HPA. The file `docs/hpa-compatibility.md`
/// has the reason, upstream issues and tests of each, under these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// A metric above its target never scales down, and one below never scales up, whatever the
    /// number of replicas that are listed.
    DirectionCheck,
    /// A metric with a `Value` target fails while no replica is ready; in the HPA its ratio is then
    /// multiplied by zero ready replicas.
    NoneReady,
    /// Samples from fewer than 80 % of the replicas never scale down.
    Quorum,
    /// Samples of pods that are not replicas of the target are not counted.
    ReplicaUnits,
    /// Replicas that are requested and not listed yet count as starting capacity, like pending
    /// ones.
    StartingReplicas,
    /// A stuck replica is not capacity, and holds back no scale-down.
    StuckReplicas,
    /// A replica that has succeeded is ignored like one that has failed.
    EndedReplicas,
    /// A replica that is being deleted is not counted as ready where a ratio is multiplied by the
    /// ready replicas.
    EndingReplicas,
    /// A replica that answers is capacity although it is not ready; one whose engine sleeps or
    /// makes no progress is neither load nor capacity.
    EngineActivity,
    /// A total is compared with `spec.replicas`; the HPA compares it with `status.replicas`.
    AskedForReplicas,
    /// The window of a spec without `behavior` never scales up.
    WindowNeverGrows,
    /// The scale-up limit of a spec without `behavior` is per 15 s; the HPA's is per step, which it
    /// takes every 15 s.
    GrowthByTime,
    /// The history survives a restart and has a bounded size.
    SurvivingHistory,
    /// Time without a usable metric counts as if the current size had been recommended. In the HPA
    /// it counts as nothing, so the first low sample after it may shrink the target at once.
    UnobservedTime,
    /// Scale events are remembered as long as a policy of either direction counts them.
    KeptScaleEvents,
    /// Numbers out of range saturate; the HPA's wrap around or turn negative.
    Saturation,
}

impl Deviation {
    /// Every deviation.
    pub const ALL: [Self; 16] = [
        Self::DirectionCheck,
        Self::NoneReady,
        Self::Quorum,
        Self::ReplicaUnits,
        Self::StartingReplicas,
        Self::StuckReplicas,
        Self::EndedReplicas,
        Self::EndingReplicas,
        Self::EngineActivity,
        Self::AskedForReplicas,
        Self::WindowNeverGrows,
        Self::GrowthByTime,
        Self::SurvivingHistory,
        Self::UnobservedTime,
        Self::KeptScaleEvents,
        Self::Saturation,
    ];
}

/// A set of deviations, collected from an iterator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deviations(u32);

impl Deviations {
    /// Returns whether the set contains a deviation.
    pub fn contains(self, deviation: Deviation) -> bool {
        self.0 & 1 << deviation as u16 != 0
    }
}

impl FromIterator<Deviation> for Deviations {
    fn from_iter<I: IntoIterator<Item = Deviation>>(deviations: I) -> Self {
        Self(deviations.into_iter().fold(0, |set, deviation| set | 1 << deviation as u16))
    }
}

impl Profile {
    /// Returns whether a deviation applies. Every place in this crate that differs from the HPA
    /// asks for its deviation here, by name.
    pub fn has(self, deviation: Deviation) -> bool {
        match self {
            Self::HpaExact => false,
            Self::Default => true,
            Self::Only(deviations) => deviations.contains(deviation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_all_deviations_or_none_or_those_that_it_names() {
        for deviation in Deviation::ALL {
            let alone = Profile::Only([deviation, deviation].into_iter().collect());
            let rest = Deviation::ALL.into_iter().filter(|other| *other != deviation);
            let rest = Profile::Only(rest.collect());
            assert!(
                Profile::Default.has(deviation) && !Profile::HpaExact.has(deviation),
                "{deviation:?}"
            );
            for other in Deviation::ALL {
                assert_eq!(alone.has(other), other == deviation, "{deviation:?} {other:?}");
                assert_eq!(rest.has(other), other != deviation, "{deviation:?} {other:?}");
            }
        }
    }

    #[test]
    fn every_deviation_is_documented() {
        let document = include_str!("../../../docs/hpa-compatibility.md");
        for deviation in Deviation::ALL {
            assert!(
                document.contains(&format!("`{deviation:?}`")),
                "{deviation:?} is not in docs/hpa-compatibility.md"
            );
        }
    }
}
