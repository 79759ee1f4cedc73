//! Where decisions deliberately differ from the HPA's, each difference by its name.

/// Whether decisions are the HPA's to the bit, or ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// No deviation at all: what Kubernetes 1.37's HPA would do, its odd parts included.
    HpaExact,
    /// The HPA with every [`Deviation`].
    Default,
    /// The HPA with these deviations and no others: tells which of them a difference is due to.
    Only(Deviations),
}

/// A rule by which the Default profile departs from the HPA. Reasons, upstream issues and tests of each
/// are in `docs/hpa-compatibility.md`, under these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// A metric above its target never shrinks the target, one below never grows it, whatever the
    /// number of replicas that were seen.
    DirectionCheck,
    /// A ratio says nothing while no replica is ready; to the HPA it then says zero replicas.
    NoneReady,
    /// No scale-down with samples from fewer than 80 % of the replicas.
    Quorum,
    /// Samples of anything that is not a replica of the target are not counted.
    ReplicaUnits,
    /// Replicas that were asked for and are not there yet are capacity on the way, like pending ones.
    StartingReplicas,
    /// A stuck replica is neither capacity nor an obstacle.
    StuckReplicas,
    /// A total is compared with the number of replicas that was asked for, not with the number seen.
    AskedForReplicas,
    /// The window of a spec without `behavior` never grows the target.
    WindowNeverGrows,
    /// The limit of growth of a spec without `behavior` is per 15 s; the HPA's is per step, and it takes one every 15 s.
    GrowthByTime,
    /// What is remembered outlives the process, and is kept in bounded space.
    SurvivingHistory,
    /// Changes of size are remembered as long as a policy of either direction counts them.
    KeptScaleEvents,
    /// Numbers out of range end at the end of the range; the HPA's wrap around or turn negative.
    Saturation,
}

impl Deviation {
    /// Every deviation.
    pub const ALL: [Self; 12] = [
        Self::DirectionCheck,
        Self::NoneReady,
        Self::Quorum,
        Self::ReplicaUnits,
        Self::StartingReplicas,
        Self::StuckReplicas,
        Self::AskedForReplicas,
        Self::WindowNeverGrows,
        Self::GrowthByTime,
        Self::SurvivingHistory,
        Self::KeptScaleEvents,
        Self::Saturation,
    ];
}

/// A set of deviations, collected from an iterator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deviations(u16);

impl Deviations {
    /// Whether the set has this deviation.
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
    /// Whether decisions follow our rule instead of the HPA's. Asked by name, so that each place where we
    /// differ can be found and says which rule it is.
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
            // Twice is as good as once.
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
