//! The heartbeat of the runtime, by which `/livez` tells a stuck process from a busy one.
//!
//! Health is served by a thread of its own. It answers while all other threads are busy, so that
//! the kubelet does not kill a process that only needs a few seconds more; and it says so where
//! they have been stuck for a minute.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use llm_autoscaler_core::Monotonic;

use crate::{clock::Clock, supervise::Supervisor};

/// The time between two beats.
const EVERY: Duration = Duration::from_secs(1);
/// Without a beat for this long, the runtime is stuck.
const STUCK: Duration = Duration::from_mins(1);

/// The time of the latest beat. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Heartbeat {
    clock: Clock,
    /// In milliseconds.
    latest: Arc<AtomicU64>,
}

impl Heartbeat {
    /// Begins to beat on the runtime's threads, for the life of the process.
    pub(crate) fn start(clock: Clock, supervisor: &Supervisor) -> Self {
        let heartbeat = Self { clock, latest: Arc::default() };
        let beating = heartbeat.clone();
        supervisor.spawn("heartbeat", async move {
            loop {
                beating.record(beating.clock.monotonic());
                tokio::time::sleep(EVERY).await;
            }
        });
        heartbeat
    }

    fn record(&self, now: Monotonic) {
        let now = u64::try_from(now.0.as_millis()).unwrap_or(u64::MAX);
        self.latest.store(now, Ordering::Relaxed);
    }

    /// Returns what is wrong with the runtime.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem_at(self.clock.monotonic())
    }

    fn problem_at(&self, now: Monotonic) -> Option<String> {
        let latest = Duration::from_millis(self.latest.load(Ordering::Relaxed));
        let silent = now.since(Monotonic(latest));
        (silent > STUCK).then(|| format!("nothing has run for {} s", silent.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube_api::stand_in::until;

    #[test]
    fn a_runtime_without_a_beat_for_a_minute_is_stuck() {
        let heartbeat = Heartbeat { clock: Clock::start(), latest: Arc::default() };
        let at = |second| Monotonic(Duration::from_secs(second));
        heartbeat.record(at(100));
        // second, the problem
        let table = [(100, None), (160, None), (161, Some("nothing has run for 61 s"))];
        for (second, expected) in table {
            assert_eq!(heartbeat.problem_at(at(second)).as_deref(), expected, "at {second}");
        }
    }

    #[tokio::test]
    async fn it_beats_while_the_runtime_works() {
        let heartbeat = Heartbeat::start(Clock::start(), &Supervisor::impatient());
        heartbeat.latest.store(u64::MAX, Ordering::Relaxed);
        until("a beat", || heartbeat.latest.load(Ordering::Relaxed) < u64::MAX).await;
    }
}
