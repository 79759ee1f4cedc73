//! The pools of a service: one of replicas that do everything, or those of prefill and decode.

use std::collections::BTreeMap;

use llm_autoscaler_sim::Job;

use super::{Disaggregated, Scenario};
use crate::{
    faults::Pages,
    fleet::{Fleet, FleetConfig, Routing, StateSeconds},
    policy::RoleAutoscaler,
    random::{POOL_SEEDS, Use, generator},
    sight::Scraper,
    starts::StartTimes,
    timeline::FleetState,
};

/// Replicas of one kind, and what is seen of them.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) fleet: Fleet,
    pub(super) scraper: Scraper,
}

/// The KV caches on their way from prefill to decode, by the time of their arrival.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    jobs: BTreeMap<(u64, u64), Job>,
    sent: u64,
}

/// Returns the pools of a service, with their first replicas.
pub(super) fn pools(
    scenario: &Scenario,
    disaggregated: Option<&Disaggregated>,
    autoscaler: &dyn RoleAutoscaler,
) -> Vec<Pool> {
    let own = disaggregated.map(|it| it.decode_replicas);
    let replicas = [Some(scenario.replicas), own].into_iter().flatten();
    let sizes = autoscaler.initial_sizes();
    let pool = |(place, replicas): (usize, u32)| {
        let mut pool = Pool::new(scenario, place);
        pool.fleet.begin_with(sizes.get(place).copied().flatten().unwrap_or(replicas), 0.0);
        pool
    };
    replicas.enumerate().map(pool).collect()
}

impl Pool {
    /// Returns a pool without replicas. Each pool of a run has random numbers of its own.
    fn new(scenario: &Scenario, place: usize) -> Self {
        let Scenario { faults, warm_up, .. } = *scenario;
        let seed = scenario.seed.wrapping_add(POOL_SEEDS.wrapping_mul(place as u64));
        let config = FleetConfig {
            replica: scenario.profile.replica(),
            gpus: scenario.profile.gpus,
            gpu_limit: scenario.gpu_limit,
            routing: match scenario.routing {
                // The gateway's queue is before prefill.
                Routing::SharedQueue if place > 0 => Routing::LeastOutstanding,
                routing => routing,
            },
            victims: scenario.victims,
            grace: scenario.grace,
            crashes: faults.crashes,
            counted_from: warm_up,
        };
        let starts = StartTimes::new(scenario.starts, generator(seed, Use::Starts));
        let mut faults_rng = generator(seed, Use::Faults);
        let crashes = faults_rng.fork();
        Self {
            fleet: Fleet::new(config, starts, generator(seed, Use::Router), crashes),
            scraper: Scraper::new(faults, Pages::new(faults, faults_rng)),
        }
    }
}

impl Transfers {
    /// Sends a KV cache.
    pub(super) fn send(&mut self, arrives_at: f64, job: Job) {
        self.sent += 1;
        // The bits of numbers that are not negative are in their order.
        self.jobs.insert((arrives_at.to_bits(), self.sent), job);
    }

    /// Returns the time of the next arrival; infinity while nothing is on its way.
    pub(super) fn next_at(&self) -> f64 {
        self.jobs.first_key_value().map_or(f64::INFINITY, |((at, _), _)| f64::from_bits(*at))
    }

    /// Returns the job of the next arrival.
    pub(super) fn receive(&mut self) -> Option<Job> {
        self.jobs.pop_first().map(|(_, job)| job)
    }
}

/// Returns the state of all pools together. `queued` is the number of requests at the gateway.
pub(super) fn state(pools: &[Pool], queued: u64) -> FleetState {
    let mut sum = FleetState { waiting: queued, ..FleetState::default() };
    for Pool { fleet, .. } in pools {
        let ((running, waiting), states) = (fleet.in_flight(), fleet.states());
        sum.requested += fleet.requested();
        sum.states += states;
        sum.running += running;
        sum.waiting += waiting;
    }
    sum
}

/// Returns the replica-seconds of all pools together.
pub(super) fn state_seconds(pools: &[Pool], now: f64) -> StateSeconds {
    pools.iter().map(|pool| pool.fleet.state_seconds(now)).sum()
}
