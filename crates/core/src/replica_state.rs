//! The state of a replica as one value.

use crate::observation::{EngineActivity, Replica};

/// The state of one replica of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplicaState {
    /// Requested, and no pod of it exists yet.
    NotCreated,
    /// Created, and neither ready nor answering yet: it waits for a node, for an image, or loads a
    /// model.
    Starting,
    /// Ready: its Services send requests to it.
    Ready,
    /// Not ready, although its metrics page answers: a saturated engine lets its probes time
    /// out.
    Unready,
    /// Running with its engine put to sleep.
    Asleep,
    /// Running, and its engine does not progress.
    Wedged,
    /// Being deleted; it may still answer requests.
    Ending,
    /// All its containers have ended.
    Ended,
    /// Not ready, and it will not get ready by waiting.
    Stuck,
}

impl ReplicaState {
    /// Derives the state of a replica from its fields.
    pub fn new(replica: Replica) -> Self {
        if replica.has_ended() {
            return Self::Ended;
        }
        if replica.deleting {
            return Self::Ending;
        }
        match (replica.activity, replica.ready) {
            (EngineActivity::Asleep, _) => Self::Asleep,
            (EngineActivity::Wedged, _) => Self::Wedged,
            (_, true) => Self::Ready,
            (_, false) if replica.stuck => Self::Stuck,
            (EngineActivity::Answering, false) => Self::Unready,
            (EngineActivity::Unknown | EngineActivity::Warming, false) => Self::Starting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Phase;

    #[test]
    fn a_replica_has_one_state() {
        use EngineActivity::{Answering, Asleep, Unknown, Wedged};
        const READY: Replica = Replica::READY;
        const LOADING: Replica = Replica { ready: false, ..READY };
        const STUCK: Replica = Replica { stuck: true, ..LOADING };
        const DELETING: Replica = Replica { deleting: true, ..READY };
        const FAILED: Replica = Replica { phase: Phase::Failed, ..LOADING };
        // replica, activity; state
        let table = [
            (READY, Unknown, ReplicaState::Ready),
            (READY, Answering, ReplicaState::Ready),
            (READY, Asleep, ReplicaState::Asleep),
            (READY, Wedged, ReplicaState::Wedged),
            (LOADING, Unknown, ReplicaState::Starting),
            (LOADING, Answering, ReplicaState::Unready),
            (Replica::PENDING, Unknown, ReplicaState::Starting),
            (STUCK, Unknown, ReplicaState::Stuck),
            (DELETING, Answering, ReplicaState::Ending),
            (FAILED, Unknown, ReplicaState::Ended),
        ];
        for (replica, activity, state) in table {
            let found = ReplicaState::new(Replica { activity, ..replica });
            assert_eq!(found, state, "{replica:?} {activity:?}");
        }
    }
}
