//! The time of pods by their state, which is what a fleet costs.

use std::{iter::Sum, ops::AddAssign};

use super::pod::{Pod, PodPhase};

/// The number of pods that have a node, by their state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct States {
    /// Those that get requests.
    pub(crate) serving: u32,
    /// Those that are not ready yet, or start again after a crash.
    pub(crate) starting: u32,
    /// Those on their way out: out of service, or terminating.
    pub(crate) draining: u32,
}

impl AddAssign for States {
    fn add_assign(&mut self, other: Self) {
        self.serving += other.serving;
        self.starting += other.starting;
        self.draining += other.draining;
    }
}

/// The replica-seconds of each state.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct StateSeconds {
    pub(crate) serving: f64,
    pub(crate) starting: f64,
    pub(crate) draining: f64,
}

impl StateSeconds {
    /// Returns the replica-seconds of all states.
    pub(crate) fn sum(self) -> f64 {
        self.serving + self.starting + self.draining
    }
}

impl Sum for StateSeconds {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, each| Self {
            serving: sum.serving + each.serving,
            starting: sum.starting + each.starting,
            draining: sum.draining + each.draining,
        })
    }
}

/// The time of all pods so far. It is exact if each change of a pod is followed by a count.
#[derive(Debug)]
pub(super) struct Usage {
    states: States,
    since: f64,
    seconds: StateSeconds,
}

impl States {
    fn of(pods: &[Pod]) -> Self {
        let mut states = Self::default();
        for pod in pods.iter().filter(|pod| pod.scheduled_at.is_some()) {
            *match pod.phase {
                PodPhase::Terminating { .. } => &mut states.draining,
                PodPhase::Ready if pod.closed => &mut states.draining,
                PodPhase::Ready => &mut states.serving,
                PodPhase::Starting { .. } => &mut states.starting,
            } += 1;
        }
        states
    }
}

impl Usage {
    /// Returns the usage of no pod, from a time on.
    pub(super) fn from(time: f64) -> Self {
        Self { states: States::default(), since: time, seconds: StateSeconds::default() }
    }

    /// Counts the pods again, after a change of them.
    pub(super) fn count(&mut self, pods: &[Pod], now: f64) {
        self.seconds = self.until(now);
        self.since = self.since.max(now);
        self.states = States::of(pods);
    }

    /// Returns the seconds up to now.
    pub(super) fn until(&self, now: f64) -> StateSeconds {
        let (passed, states) = ((now - self.since).max(0.0), self.states);
        StateSeconds {
            serving: self.seconds.serving + passed * f64::from(states.serving),
            starting: self.seconds.starting + passed * f64::from(states.starting),
            draining: self.seconds.draining + passed * f64::from(states.draining),
        }
    }

    pub(super) fn states(&self) -> States {
        self.states
    }
}
