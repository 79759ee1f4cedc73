//! The state of a replica as one value, and the two questions that are asked of it.

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
            (EngineActivity::Unknown, false) => Self::Starting,
        }
    }

    /// Returns whether the replica may have requests: then what its page reports is load.
    pub fn bears_load(self) -> bool {
        match self {
            Self::Ready | Self::Unready | Self::Wedged | Self::Ending => true,
            Self::NotCreated | Self::Starting | Self::Asleep | Self::Ended | Self::Stuck => false,
        }
    }

    /// Returns whether the replica is capacity now: new requests are answered by it.
    pub fn is_capacity(self) -> bool {
        match self {
            Self::Ready | Self::Unready => true,
            Self::NotCreated
            | Self::Starting
            | Self::Asleep
            | Self::Wedged
            | Self::Ending
            | Self::Ended
            | Self::Stuck => false,
        }
    }

    /// Returns whether the replica is capacity on its way: it is not asked for twice.
    pub fn is_coming(self) -> bool {
        matches!(self, Self::NotCreated | Self::Starting)
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
        // replica, activity; state, bears load, is capacity, is coming
        let table = [
            (READY, Unknown, ReplicaState::Ready, true, true, false),
            (READY, Answering, ReplicaState::Ready, true, true, false),
            (READY, Asleep, ReplicaState::Asleep, false, false, false),
            (READY, Wedged, ReplicaState::Wedged, true, false, false),
            (LOADING, Unknown, ReplicaState::Starting, false, false, true),
            (LOADING, Answering, ReplicaState::Unready, true, true, false),
            (Replica::PENDING, Unknown, ReplicaState::Starting, false, false, true),
            (STUCK, Unknown, ReplicaState::Stuck, false, false, false),
            (DELETING, Answering, ReplicaState::Ending, true, false, false),
            (FAILED, Unknown, ReplicaState::Ended, false, false, false),
        ];
        for (replica, activity, state, load, capacity, coming) in table {
            let found = ReplicaState::new(Replica { activity, ..replica });
            assert_eq!(found, state, "{replica:?} {activity:?}");
            let answers = (found.bears_load(), found.is_capacity(), found.is_coming());
            assert_eq!(answers, (load, capacity, coming), "{state:?}");
        }
        assert!(ReplicaState::NotCreated.is_coming());
    }
}
