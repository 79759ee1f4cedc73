//! The pods of a simulation as the operator's watch has them.

use std::{collections::BTreeMap, rc::Rc, sync::Arc};

use llm_autoscaler_core::{EngineActivity, Phase, Replica};
use llm_autoscaler_observe::{
    pod::{
        Pod, Trouble, TroubleKind,
        service::{Gate, ServiceState},
    },
    replicas::Replicas,
};

use super::wall;
use crate::sight::PodSight;

/// The name of the workload, with which the names of pods begin.
const NAME: &str = "llm-";

/// The pods between steps.
#[derive(Debug)]
pub(super) struct Pods {
    /// True if they have the readiness gate of draining.
    is_gated: bool,
    /// The states that the replicas were made of.
    states: Vec<State>,
    replicas: Rc<Replicas>,
}

/// The state of a pod, as far as an observation depends on it.
type State = (u64, [bool; 6], u32);

impl Pods {
    pub(super) fn new(is_gated: bool) -> Self {
        Self { is_gated, states: Vec::new(), replicas: Rc::default() }
    }

    /// Returns the replicas of the pods as they are now. Usually nothing has changed.
    pub(super) fn follow(&mut self, pods: &[PodSight]) -> Rc<Replicas> {
        if !pods.iter().map(state).eq(self.states.iter().copied()) {
            self.states.clear();
            self.states.extend(pods.iter().map(state));
            let members: BTreeMap<String, Arc<Pod>> =
                pods.iter().map(|sight| (name(sight.id), Arc::new(self.pod(sight)))).collect();
            self.replicas = Rc::new(Replicas::of(&Arc::new(members), &[]));
        }
        self.replicas.clone()
    }

    fn pod(&self, sight: &PodSight) -> Pod {
        let name = name(sight.id);
        let gate = match (self.is_gated, sight.is_closed) {
            (false, _) => Gate::Absent,
            (true, false) => Gate::Open,
            (true, true) => Gate::Closed { since: wall(sight.unready_since) },
        };
        let kind =
            if sight.is_scheduled { TroubleKind::NotReady } else { TroubleKind::Unschedulable };
        let trouble = Trouble { kind, since: wall(sight.unready_since) };
        let is_ready = sight.is_ready && !sight.is_terminating;
        Pod {
            replica: Replica {
                phase: if sight.is_running { Phase::Running } else { Phase::Pending },
                deleting: sight.is_terminating,
                ready: is_ready,
                stuck: false,
                activity: EngineActivity::Unknown,
            },
            was_ready: sight.was_ready,
            trouble: (!is_ready).then_some(trouble),
            restarts: i64::from(sight.restarts),
            is_scheduled: sight.is_scheduled,
            service: ServiceState {
                gate,
                serves: is_ready && !sight.is_closed,
                termination_grace_seconds: 30,
                is_marked: false,
            },
            created: wall(sight.created_at),
            ..Pod::serving(&name, "llm")
        }
    }
}

fn state(sight: &PodSight) -> State {
    let flags = [
        sight.is_scheduled,
        sight.is_running,
        sight.is_ready,
        sight.is_terminating,
        sight.is_closed,
        sight.was_ready,
    ];
    (sight.id, flags, sight.restarts)
}

/// Returns the name of a pod. The names are in the order of the IDs.
fn name(id: u64) -> String {
    format!("{NAME}{id:08}")
}

/// Returns the ID of the pod with this name.
pub(super) fn id(name: &str) -> Option<u64> {
    name.strip_prefix(NAME)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_a_name_with_its_id() {
        assert_eq!(id(&name(12_345)), Some(12_345));
        assert!(name(9) < name(10));
    }
}
