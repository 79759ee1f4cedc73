//! A pod with one replica of the engine.

use llm_autoscaler_sim::{Replica, ReplicaConfig};

/// The share of its start that a pod needs before its containers run: it pulls the image.
const PENDING_SHARE: f64 = 0.3;
/// The share of its start that an engine needs after a crash, when the image is there.
const RESTART_SHARE: f64 = 0.7;

/// A phase of a pod.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum PodPhase {
    /// It is not ready yet, or crashed, until this time.
    Starting {
        until: f64,
    },
    Ready,
    /// It gets no requests any more, and has until this time for those that it has.
    Terminating {
        until: f64,
    },
}

/// A pod.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) id: u64,
    pub(crate) created_at: f64,
    /// The time at which it has got a node; `None` while no GPU is free.
    pub(crate) scheduled_at: Option<f64>,
    /// The time of its start, in seconds.
    start: f64,
    pub(crate) phase: PodPhase,
    /// The time since which it is not ready.
    pub(crate) unready_since: f64,
    pub(crate) was_ready: bool,
    /// True if it has been taken out of service.
    pub(crate) closed: bool,
    /// The time of the next crash of its engine.
    pub(crate) crashes_at: f64,
    pub(crate) restarts: u32,
    pub(crate) replica: Replica,
}

impl Pod {
    pub(super) fn new(id: u64, now: f64, start: f64, replica: ReplicaConfig) -> Self {
        Self {
            id,
            created_at: now,
            scheduled_at: None,
            start,
            phase: PodPhase::Starting { until: f64::INFINITY },
            unready_since: now,
            was_ready: false,
            closed: false,
            crashes_at: f64::INFINITY,
            restarts: 0,
            replica: Replica::new(replica),
        }
    }

    pub(super) fn schedule(&mut self, now: f64) {
        self.scheduled_at = Some(now);
        if let PodPhase::Starting { until } = &mut self.phase {
            *until = now + self.start;
        }
    }

    pub(super) fn become_ready(&mut self) {
        self.phase = PodPhase::Ready;
        self.was_ready = true;
    }

    pub(super) fn terminate(&mut self, now: f64, grace: f64) {
        self.phase = PodPhase::Terminating { until: now + grace };
    }

    pub(crate) fn is_terminating(&self) -> bool {
        matches!(self.phase, PodPhase::Terminating { .. })
    }

    pub(crate) fn is_routable(&self) -> bool {
        self.phase == PodPhase::Ready && !self.closed
    }

    /// Returns true if its containers run, ready or not.
    pub(crate) fn is_running(&self, now: f64) -> bool {
        let image = if self.start.is_finite() { self.start * PENDING_SHARE } else { 30.0 };
        self.was_ready || self.scheduled_at.is_some_and(|at| now >= at + image)
    }

    pub(super) fn has_ended(&self, now: f64) -> bool {
        let PodPhase::Terminating { until } = self.phase else { return false };
        now >= until || self.replica.outstanding() == 0
    }

    pub(super) fn next_change_at(&self) -> f64 {
        match self.phase {
            PodPhase::Starting { until } | PodPhase::Terminating { until } => until,
            PodPhase::Ready => self.crashes_at,
        }
    }

    /// Carries out the change that is due. Returns the number of requests that it cuts off.
    pub(super) fn change(&mut self, now: f64, replica: &ReplicaConfig) -> u64 {
        match self.phase {
            PodPhase::Starting { until } if until <= now => {
                self.become_ready();
                0
            }
            PodPhase::Ready if self.crashes_at <= now => {
                let cut_off = self.replica.outstanding() as u64;
                self.replica = Replica::new(replica.clone());
                self.restarts += 1;
                self.unready_since = now;
                self.phase = PodPhase::Starting { until: now + self.start * RESTART_SHARE };
                self.crashes_at = f64::INFINITY;
                cut_off
            }
            _ => 0,
        }
    }
}
