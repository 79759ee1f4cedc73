//! Reads a target's own object, as far as a scale-down that drains depends on it.

use std::time::Duration;

use llm_autoscaler_api::{ScaleTargetRef, workloads};
use llm_autoscaler_core::{Monotonic, Now, WorkloadState};
use llm_autoscaler_observe::draining::DrainMemory;
use tracing::warn;

use crate::scale::client::ScaleClient;

/// The shortest time between two reads of an object.
const EVERY: Duration = Duration::from_secs(2);

/// The times at which the object of one target was last read.
#[derive(Debug, Default)]
pub(crate) struct WorkloadReader {
    /// The last read, while a scale-down is wanted.
    read: Option<Monotonic>,
    /// The last attempt while none was.
    tried: Option<Monotonic>,
    /// The last attempt for a scale-down that failed.
    failed: Option<Monotonic>,
}

impl WorkloadReader {
    /// Returns the state of the object as the plan takes it.
    pub(crate) fn state(&self, memory: &DrainMemory, now: Now) -> WorkloadState {
        if self.failed == Some(now.monotonic) {
            return WorkloadState::Unreadable;
        }
        match self.read {
            Some(at) if now.monotonic.since(at) < EVERY => {
                WorkloadState::Read { rollout_holds: memory.rollouts.holds(now.wall) }
            }
            _ => WorkloadState::Unread,
        }
    }

    /// Reads the object for a scale-down.
    pub(crate) async fn read(
        &mut self,
        client: &ScaleClient,
        namespace: &str,
        target: &ScaleTargetRef,
        memory: &mut DrainMemory,
        now: Now,
    ) {
        match client.get_workload(namespace, target).await {
            Ok(workload) => {
                memory.rollouts.observe(&workload, now.wall);
                memory.workload = Some(Box::new(workload));
                self.read = Some(now.monotonic);
            }
            Err(error) => {
                warn!(
                    namespace, target = target.name, %error,
                    "cannot read the target's object, so it does not shrink now"
                );
                self.failed = Some(now.monotonic);
            }
        }
    }

    /// Reads the object once although no scale-down is wanted, if its kind has modes, so that the
    /// victims of a smaller size are known.
    pub(crate) async fn read_modes(
        &mut self,
        client: &ScaleClient,
        namespace: &str,
        target: &ScaleTargetRef,
        memory: &mut DrainMemory,
        now: Now,
    ) {
        let tried = self.tried.is_some_and(|at| now.monotonic.since(at) < EVERY);
        if memory.workload.is_none() && !tried && workloads::has_modes(target) {
            self.tried = Some(now.monotonic);
            memory.workload = client.get_workload(namespace, target).await.ok().map(Box::new);
        }
    }

    /// Records that no scale-down is wanted: the next one reads the object again.
    pub(crate) fn clear(&mut self, memory: &mut DrainMemory) {
        self.read = None;
        memory.rollouts.clear();
    }
}
