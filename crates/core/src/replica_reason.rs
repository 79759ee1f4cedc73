//! The reason of a replica's existence, by which its time is accounted for.

use serde::{Deserialize, Serialize};

/// The reason of one replica's existence. A replica that does not serve has a reason by its state;
/// for the others it is that of the rule that keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReplicaReason {
    /// The metrics ask for it.
    Needed,
    /// It has not started yet.
    Starting,
    /// It is on its way out.
    Draining,
    /// A stabilization window, a rate policy, the time until the target is idle, a rollout, or a
    /// write of another role that comes first keeps it.
    HeldByWindow,
    /// Samples are missing or in doubt, so nothing shrinks.
    HeldByDoubt,
    /// `minReplicas` asks for it.
    Floor,
    /// The ratio to another role asks for it.
    Ratio,
    /// Something else has set the size, or the autoscaler is paused.
    Manual,
    /// There are more replicas than `maxReplicas` allows.
    AboveCeiling,
    /// Its engine sleeps.
    Asleep,
    /// It will not serve by waiting: it does not get ready, or its engine is wedged.
    Stuck,
}

impl ReplicaReason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Needed,
        Self::Starting,
        Self::Draining,
        Self::HeldByWindow,
        Self::HeldByDoubt,
        Self::Floor,
        Self::Ratio,
        Self::Manual,
        Self::AboveCeiling,
        Self::Asleep,
        Self::Stuck,
    ];
}
