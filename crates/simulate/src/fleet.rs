//! The pods of a service, from creation to deletion, and the requests on them.

mod pod;
mod router;
mod usage;

use fastrand::Rng;
use llm_autoscaler_sim::{Finished, Job, ReplicaConfig};

use crate::{random::exponential, starts::StartTimes};

pub(crate) use pod::{Pod, PodPhase};
pub use router::Routing;
pub(crate) use usage::{StateSeconds, States};

use self::usage::Usage;

/// The order in which a smaller size removes pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Victims {
    /// The newest ones, as a StatefulSet does.
    #[default]
    Newest,
    /// Those that are not ready or out of service, and then the newest ones, as a Deployment does.
    NotReady,
}

impl Victims {
    /// Returns the order of a kind of workload.
    pub fn of_kind(kind: &str) -> Self {
        if kind == "Deployment" { Self::NotReady } else { Self::Newest }
    }
}

/// The rules of a fleet.
#[derive(Debug, Clone)]
pub(crate) struct FleetConfig {
    pub(crate) replica: ReplicaConfig,
    /// The number of GPUs of one replica.
    pub(crate) gpus: u32,
    /// The number of GPUs of the cluster.
    pub(crate) gpu_limit: Option<u32>,
    pub(crate) routing: Routing,
    pub(crate) victims: Victims,
    /// The time that a terminating pod has for its requests, in seconds.
    pub(crate) grace: f64,
    /// The crashes of a pod's engine per hour.
    pub(crate) crashes: f64,
    /// The time from which on replica-seconds count.
    pub(crate) counted_from: f64,
}

/// The pods of a service.
#[derive(Debug)]
pub(crate) struct Fleet {
    config: FleetConfig,
    pods: Vec<Pod>,
    /// The time of the next event of each pod's engine, in the order of the pods.
    next_events: Vec<f64>,
    /// The time of the next change of a pod's phase.
    next_change: f64,
    /// The places of the pods that get requests.
    routable: Vec<usize>,
    router: router::Router,
    starts: StartTimes,
    crashes: Rng,
    created: u64,
    requested: u32,
    /// The requests of terminated and crashed pods that had no answer.
    pub(crate) cut_off: u64,
    usage: Usage,
}

/// What became of a request at its arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Submitted,
    /// Its context is longer than any replica's KV cache.
    TooLong,
    /// No replica is in service.
    NoReplica,
}

impl Fleet {
    pub(crate) fn new(config: FleetConfig, starts: StartTimes, router: Rng, crashes: Rng) -> Self {
        Self {
            router: router::Router::new(config.routing, router),
            usage: Usage::from(config.counted_from),
            config,
            pods: Vec::new(),
            next_events: Vec::new(),
            next_change: f64::INFINITY,
            routable: Vec::new(),
            starts,
            crashes,
            created: 0,
            requested: 0,
            cut_off: 0,
        }
    }

    pub(crate) fn pods(&self) -> &[Pod] {
        &self.pods
    }

    pub(crate) fn replica_config(&self) -> &ReplicaConfig {
        &self.config.replica
    }

    pub(crate) fn requested(&self) -> u32 {
        self.requested
    }

    /// Returns the number of pods that are neither terminating nor gone.
    pub(crate) fn alive(&self) -> u32 {
        self.pods.iter().filter(|pod| !pod.is_terminating()).count() as u32
    }

    /// Returns the number of requests on all pods: running, and waiting.
    pub(crate) fn in_flight(&self) -> (u64, u64) {
        let gauges = self.pods.iter().map(|pod| pod.replica.gauges());
        gauges.fold((0, 0), |sum, it| (sum.0 + it.running, sum.1 + it.waiting))
    }

    /// Creates pods for the start of a run: those with nodes are ready.
    pub(crate) fn begin_with(&mut self, size: u32, now: f64) {
        self.scale(size, now);
        for pod in self.pods.iter_mut().filter(|pod| pod.scheduled_at.is_some()) {
            pod.become_ready();
        }
        self.draw_crashes(now);
        self.refresh(now);
    }

    fn draw_crashes(&mut self, now: f64) {
        for pod in self.pods.iter_mut().filter(|pod| pod.phase == PodPhase::Ready) {
            if self.config.crashes > 0.0 && pod.crashes_at.is_infinite() {
                pod.crashes_at =
                    now + exponential(&mut self.crashes) * 3_600.0 / self.config.crashes;
            }
        }
    }

    /// Sets the size: creates pods, or terminates some.
    pub(crate) fn scale(&mut self, size: u32, now: f64) {
        self.requested = size;
        let alive = self.alive();
        for others in alive..size {
            let start = self.starts.draw(now, others);
            self.pods.push(Pod::new(self.created, now, start, self.config.replica.clone()));
            self.created += 1;
        }
        for _ in size..alive {
            let Some(place) = self.victim() else { break };
            let grace = self.config.grace;
            self.pods[place].terminate(now, grace);
        }
        self.bind_nodes(now);
        self.remove_ended(now);
    }

    /// Returns the place of the pod that a smaller size removes.
    fn victim(&self) -> Option<usize> {
        let alive = self.pods.iter().enumerate().filter(|(_, pod)| !pod.is_terminating());
        let place = alive.max_by_key(|(_, pod)| match self.config.victims {
            Victims::Newest => (false, pod.id),
            Victims::NotReady => (pod.phase != PodPhase::Ready || pod.closed, pod.id),
        });
        place.map(|(place, _)| place)
    }

    /// Gives nodes to the oldest pods without one, as far as there are GPUs.
    fn bind_nodes(&mut self, now: f64) {
        let per_pod = self.config.gpus.max(1);
        let room = self.config.gpu_limit.map_or(u32::MAX, |limit| limit / per_pod);
        let bound = self.pods.iter().filter(|pod| pod.scheduled_at.is_some()).count();
        let free = (room as usize).saturating_sub(bound);
        for pod in self.pods.iter_mut().filter(|pod| pod.scheduled_at.is_none()).take(free) {
            pod.schedule(now);
        }
    }

    /// Removes the pods that have ended, and cuts off what they have not answered.
    fn remove_ended(&mut self, now: f64) {
        let count = self.pods.len();
        let mut cut_off = 0;
        self.pods.retain(|pod| {
            let stays = !pod.has_ended(now);
            if !stays {
                cut_off += pod.replica.outstanding() as u64;
            }
            stays
        });
        self.count_cut_off(cut_off, now);
        if self.pods.len() < count {
            self.bind_nodes(now);
        }
        self.refresh(now);
    }

    fn count_cut_off(&mut self, requests: u64, now: f64) {
        if now >= self.config.counted_from {
            self.cut_off += requests;
        }
    }

    /// Derives the lists from the pods, after any change of them.
    fn refresh(&mut self, now: f64) {
        self.usage.count(&self.pods, now);
        self.next_events.clear();
        self.next_events.extend(self.pods.iter().map(|pod| pod.replica.next_event_at()));
        self.routable.clear();
        let routable = self.pods.iter().enumerate().filter(|(_, pod)| pod.is_routable());
        self.routable.extend(routable.map(|(place, _)| place));
        let changes = self.pods.iter().map(Pod::next_change_at);
        self.next_change = changes.fold(f64::INFINITY, f64::min);
    }

    /// Returns the time of the next event of an engine, with its place, and that of the next change
    /// of a pod.
    pub(crate) fn next_event(&self) -> (f64, usize) {
        let mut next = (f64::INFINITY, 0);
        for (place, at) in self.next_events.iter().enumerate() {
            if *at < next.0 {
                next = (*at, place);
            }
        }
        next
    }

    pub(crate) fn next_change(&self) -> f64 {
        self.next_change
    }

    /// Lets the engine at a place run until a time.
    pub(crate) fn advance(&mut self, place: usize, now: f64, finished: &mut Vec<Finished>) {
        let pod = &mut self.pods[place];
        pod.replica.advance(now, finished);
        self.next_events[place] = pod.replica.next_event_at();
        if pod.is_terminating() && pod.replica.outstanding() == 0 {
            self.remove_ended(now);
        }
    }

    /// Carries out the changes of pods that are due.
    pub(crate) fn change(&mut self, now: f64) {
        let mut cut_off = 0;
        for pod in &mut self.pods {
            cut_off += pod.change(now, &self.config.replica);
        }
        self.count_cut_off(cut_off, now);
        self.draw_crashes(now);
        self.remove_ended(now);
    }

    /// Sends a request to a replica.
    pub(crate) fn submit(&mut self, now: f64, job: Job) -> Admission {
        let Some(place) = self.router.choose(&self.routable, &self.pods) else {
            return Admission::NoReplica;
        };
        let pod = &mut self.pods[place];
        if !pod.replica.submit(now, job) {
            return Admission::TooLong;
        }
        self.next_events[place] = pod.replica.next_event_at();
        Admission::Submitted
    }

    /// Returns true if a replica has room for one more request that it would begin at once.
    pub(crate) fn has_room(&self) -> bool {
        self.routable.iter().any(|place| self.pods[*place].replica.has_room())
    }

    /// Takes pods out of service, or back: those with these IDs are out.
    pub(crate) fn close(&mut self, closed: &[u64], now: f64) {
        for pod in &mut self.pods {
            pod.closed = closed.contains(&pod.id);
        }
        self.refresh(now);
    }

    /// Accounts for the steps of all engines up to a time, so that their gauges are those of it.
    pub(crate) fn synchronize(&mut self, now: f64) {
        self.pods.iter_mut().for_each(|pod| pod.replica.synchronize(now));
    }

    /// Returns the number of pods with a node, by their state.
    pub(crate) fn states(&self) -> States {
        self.usage.states()
    }

    /// Returns the time that pods had a node, by their state, up to now.
    pub(crate) fn state_seconds(&self, now: f64) -> StateSeconds {
        self.usage.until(now)
    }
}
