//! Opens the readiness gates of pods that no autoscaler manages any more.

use std::{collections::HashSet, time::Duration};

use crate::{
    clock::Clock,
    cluster::pods::PodStore,
    drain::pod_gates::{GatePosition, PodGates},
};

/// The time between two sweeps.
const PERIOD: Duration = Duration::from_secs(10);

/// Sweeps for the life of the process. A pod must be found unmanaged in two consecutive sweeps, so
/// that a pod that moves from one autoscaler to another is left alone.
pub(crate) async fn run(gates: PodGates, pods: PodStore, clock: Clock) {
    let mut tick = tokio::time::interval(PERIOD);
    let mut unmanaged_before: HashSet<String> = HashSet::new();
    loop {
        tick.tick().await;
        if pods.problem().is_some() {
            unmanaged_before.clear();
            continue;
        }
        let unmanaged = pods.unmanaged();
        for pod in unmanaged.iter().filter(|pod| unmanaged_before.contains(&pod.uid)) {
            gates.set(pod, GatePosition::Open, clock.now());
        }
        unmanaged_before = unmanaged.iter().map(|pod| pod.uid.clone()).collect();
    }
}
