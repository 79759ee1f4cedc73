//! The times between which a pod exists, for the bill.

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1 as core;
use llm_autoscaler_api::time;

use super::Pod;

/// The times of a pod, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// The time at which it was first seen; `None` before a store has taken it.
    pub seen: Option<DateTime<Utc>>,
    /// The time at which its last container ended; `None` while one runs, or is to run.
    pub ended: Option<DateTime<Utc>>,
    /// The time by which it is gone, if it is being deleted.
    pub deadline: Option<DateTime<Utc>>,
}

/// The precision of times that Kubernetes writes: a creation time has no fraction of a second.
const PRECISION: TimeDelta = TimeDelta::seconds(1);

impl Lifetime {
    /// Reads the times that the pod itself has.
    pub(super) fn of(pod: &core::Pod) -> Self {
        let deleted = pod.metadata.deletion_timestamp.as_ref();
        let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter());
        let ends = containers.flatten().filter_map(|container| {
            container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()
        });
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let has_ended = matches!(phase, Some("Succeeded" | "Failed"));
        let ended = ends.map(time::from_kubernetes).max().filter(|_| has_ended);
        Self { seen: None, ended, deadline: deleted.map(time::from_kubernetes) }
    }
}

impl Pod {
    /// Records that a store has taken the pod at this time. `known` is its version before.
    pub fn record_seen(&mut self, known: Option<&Self>, now: DateTime<Utc>) {
        let own = self.lifetime.ended.unwrap_or(now);
        let ended = match known {
            Some(known) if known.replica.has_ended() => known.lifetime.ended.unwrap_or(own),
            // The end was seen, which is more exact than a time in whole seconds.
            Some(_) => now,
            None => own,
        };
        self.lifetime.ended = self.replica.has_ended().then_some(ended);
        self.lifetime.seen = known.and_then(|known| known.lifetime.seen).or(Some(now));
    }

    /// Returns the time of its creation: when it was first seen, if that was within the second that
    /// Kubernetes gives, and else the middle of that second.
    pub fn start(&self) -> DateTime<Utc> {
        match self.lifetime.seen {
            Some(seen) if seen < self.created + PRECISION => seen,
            _ => self.created + PRECISION / 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::tests::pod;
    use llm_autoscaler_core::{Phase, Replica};

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(ms).unwrap()
    }

    #[test]
    fn a_pod_that_was_seen_in_its_second_began_when_it_was_seen() {
        // created, seen; start, in milliseconds
        for (created, seen, expected) in
            [(1000, 1200, 1200), (1000, 2100, 1500), (1000, 900, 900), (1000, 1_000_000, 1500)]
        {
            let mut pod = Pod { created: at(created), ..pod("a", "a") };
            pod.record_seen(None, at(seen));
            assert_eq!(pod.start(), at(expected), "{created} {seen}");
            let mut later = Pod { created: at(created), ..pod.clone() };
            later.record_seen(Some(&pod), at(seen + 5000));
            assert_eq!(later.start(), at(expected), "{created} {seen}");
        }
    }

    #[test]
    fn a_pod_ended_when_that_was_seen_or_as_its_containers_say() {
        let running = pod("a", "a");
        let failed = Replica { phase: Phase::Failed, ready: false, ..Replica::READY };
        let ended = |ended: Option<i64>| {
            let lifetime = Lifetime { ended: ended.map(at), ..Lifetime::default() };
            Pod { replica: failed, lifetime, ..running.clone() }
        };
        let seen = |mut pod: Pod, known: Option<&Pod>| {
            pod.record_seen(known, at(9000));
            pod.lifetime.ended
        };
        assert_eq!(seen(running.clone(), None), None);
        assert_eq!(seen(ended(Some(5000)), None), Some(at(5000)));
        assert_eq!(seen(ended(None), None), Some(at(9000)));
        assert_eq!(seen(ended(Some(5000)), Some(&running)), Some(at(9000)));
        assert_eq!(seen(ended(Some(5000)), Some(&ended(Some(7000)))), Some(at(7000)));
    }
}
