//! Opens the readiness gates of pods that no autoscaler manages, in the namespaces that this copy
//! of the operator serves.

use std::{collections::HashSet, sync::Arc, time::Duration};

use llm_autoscaler_observe::pod::{Pod, service::Gate};

use crate::{
    clock::Clock,
    cluster::pods::PodStore,
    drain::pod_gates::{GatePosition, PodGates},
    lease::Leases,
};

/// The time between two sweeps.
const PERIOD: Duration = Duration::from_secs(1);
/// The number of sweeps between two complete ones.
const COMPLETE_EVERY: u32 = 10;

/// Sweeps for the life of the process.
pub(crate) async fn run(gates: PodGates, pods: PodStore, leases: Leases, clock: Clock) {
    let mut tick = tokio::time::interval(PERIOD);
    let mut sweep = Sweep::default();
    loop {
        tick.tick().await;
        if pods.health().problem().is_some() {
            sweep = Sweep::default();
            continue;
        }
        // Those of others have autoscalers that this copy knows nothing of.
        let mut unmanaged = pods.unmanaged();
        unmanaged.retain(|pod| leases.holds(&pod.namespace));
        for pod in sweep.opening(unmanaged) {
            gates.set(&pod, GatePosition::Open, clock.now());
        }
    }
}

/// The unmanaged pods of earlier sweeps, by UID.
#[derive(Default)]
struct Sweep {
    /// The number of sweeps so far.
    count: u32,
    /// Those of the last complete sweep.
    complete: HashSet<Arc<str>>,
    /// Those of the last sweep.
    latest: HashSet<Arc<str>>,
}

impl Sweep {
    /// Returns the pods of which the gates are to be opened now.
    ///
    /// A gate that is not set yet is opened at once: the pod is new, and has nothing to drain. One
    /// that is closed is opened after two complete sweeps, so that a pod that moves from one
    /// autoscaler to another is left alone. A write that failed is tried again by each complete
    /// sweep.
    fn opening(&mut self, unmanaged: Vec<Arc<Pod>>) -> Vec<Arc<Pod>> {
        let uids: HashSet<Arc<str>> = unmanaged.iter().map(|pod| pod.uid.clone()).collect();
        let is_complete = self.count.is_multiple_of(COMPLETE_EVERY);
        self.count += 1;
        let is_due = |pod: &Arc<Pod>| {
            is_complete && self.complete.contains(&pod.uid)
                || pod.service.gate == Gate::Unset && !self.latest.contains(&pod.uid)
        };
        let opening = unmanaged.into_iter().filter(is_due).collect();
        if is_complete {
            self.complete.clone_from(&uids);
        }
        self.latest = uids;
        opening
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn pod(name: &str, gate: Gate) -> Arc<Pod> {
        let mut pod = Pod::serving(name, "a");
        pod.service.gate = gate;
        pod.uid = name.into();
        Arc::new(pod)
    }

    #[test]
    fn a_new_pod_is_opened_at_once_and_a_closed_one_after_two_complete_sweeps() {
        let new = pod("new", Gate::Unset);
        let closed = pod("closed", Gate::Closed { since: DateTime::UNIX_EPOCH });
        let mut sweep = Sweep::default();
        let opened: Vec<Vec<String>> = (0..21)
            .map(|_| {
                let opening = sweep.opening(vec![new.clone(), closed.clone()]);
                opening.iter().map(|pod| pod.uid.to_string()).collect()
            })
            .collect();
        let expected = |second: usize| match second {
            0 => vec!["new"],
            // Its first write may have failed.
            10 | 20 => vec!["new", "closed"],
            _ => vec![],
        };
        for (second, opened) in opened.iter().enumerate() {
            assert_eq!(opened, &expected(second), "at {second} s");
        }
        // A pod that is managed in between begins anew.
        assert!(sweep.opening(Vec::new()).is_empty());
        let again = sweep.opening(vec![new.clone()]);
        assert_eq!(again.len(), 1);
    }
}
