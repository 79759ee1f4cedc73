//! One run: a load, a fleet and an autoscaler, from event to event.

mod disaggregated;
mod pools;

use std::collections::VecDeque;

use llm_autoscaler_sim::{Finished, Job};

pub use self::disaggregated::{Disaggregated, Transfer};
use self::pools::{Pool, Transfers, pools, state, state_seconds};
use crate::{
    arrivals::{Load, Request},
    faults::Faults,
    fleet::{Admission, Routing, StateSeconds, Victims},
    policy::{Autoscaler, Limits, PolicyContext, RoleAutoscaler, Single, Step, Timing},
    profile::EngineProfile,
    score::{Outcome, Promise, Score},
    sight::{GatewayReading, Sight},
    starts::Starts,
};

/// The time after the last arrival in which requests may still end, in seconds.
const AFTERMATH: f64 = 300.0;

/// Everything of a run but the autoscaler.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The requests.
    pub load: Load,
    /// The time at the start that does not count, in seconds.
    pub warm_up: f64,
    /// The engine of each replica.
    pub profile: EngineProfile,
    /// The share of prompt tokens that a prefix cache has, from 0 to 1.
    pub cached: f64,
    /// The promise to the users.
    pub promise: Promise,
    /// The choice of a replica for a request.
    pub routing: Routing,
    /// How long replicas take to start.
    pub starts: Starts,
    /// What goes wrong.
    pub faults: Faults,
    /// The number of GPUs of the cluster; `None` for as many as are asked for.
    pub gpu_limit: Option<u32>,
    /// The replicas at the start, all of them ready.
    pub replicas: u32,
    /// The time that a terminating pod has for its requests, in seconds.
    pub grace: f64,
    /// The order in which a smaller size removes pods.
    pub victims: Victims,
    /// The seed of all random numbers.
    pub seed: u64,
}

/// A report on a run that goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// The share of the run that is done, from 0 to 1.
    pub done: f64,
    /// The requests so far.
    pub requests: u64,
}

impl Scenario {
    /// Returns a scenario in which nothing goes wrong and requests go to the replica with the
    /// fewest: one replica at the start, two minutes to terminate, usual times to start.
    pub fn new(load: Load, warm_up: f64, profile: EngineProfile) -> Self {
        Self {
            load,
            warm_up,
            profile,
            cached: 0.0,
            promise: Promise::default(),
            routing: Routing::LeastOutstanding,
            starts: Starts::default(),
            faults: Faults::default(),
            gpu_limit: None,
            replicas: 1,
            grace: 120.0,
            victims: Victims::NotReady,
            seed: 1,
        }
    }

    /// Returns what a policy by name is configured with.
    pub fn policy_context(&self, limits: Limits) -> PolicyContext {
        PolicyContext {
            limits,
            promise: self.promise,
            engine: self.profile.clone(),
            delay: self.faults.delay,
            has_gateway: self.routing == Routing::SharedQueue,
        }
    }

    /// Runs the scenario under an autoscaler. `watch` is called at each moment of its
    /// timeline.
    pub fn run(&self, autoscaler: &mut dyn Autoscaler, watch: &mut dyn FnMut(Progress)) -> Outcome {
        let mut single = Single(autoscaler);
        Run::new(self, None, &single).run(&mut single, watch)
    }
}

/// The next thing that happens.
#[derive(Debug, Clone, Copy)]
enum Event {
    Arrival(Request),
    /// Of an engine, by its pool and its place there.
    Engine(usize, usize),
    /// Of the pods of a pool.
    Pods(usize),
    /// The arrival of a KV cache at decode.
    Transfer,
    Scrape,
    Decision,
    Timeline,
}

/// The state of a run.
struct Run<'a> {
    scenario: &'a Scenario,
    /// All replicas, or those of prefill and then those of decode.
    pools: Vec<Pool>,
    /// The transfer of KV caches, if there is a pool of decode.
    transfer: Option<Transfer>,
    transfers: Transfers,
    score: Score,
    timing: Timing,
    now: f64,
    /// The time of the last possible arrival, until which replicas are paid for.
    ends_at: f64,
    next_arrival: Option<Request>,
    next_scrape: f64,
    next_decision: f64,
    /// The queue of a gateway.
    queue: VecDeque<Job>,
    /// The requests so far, and their prompt tokens.
    arrived: (u64, u64),
    finished: Vec<Finished>,
    /// The replica-seconds at the end of the arrivals.
    paid: Option<StateSeconds>,
}

impl<'a> Run<'a> {
    fn new(
        scenario: &'a Scenario,
        disaggregated: Option<&Disaggregated>,
        autoscaler: &dyn RoleAutoscaler,
    ) -> Self {
        let timing = autoscaler.timing();
        let ends_at = scenario.load.duration();
        Self {
            scenario,
            pools: pools(scenario, disaggregated, autoscaler),
            transfer: disaggregated.map(|it| it.transfer),
            transfers: Transfers::default(),
            score: Score::new(scenario.promise, scenario.warm_up, ends_at),
            timing,
            now: 0.0,
            ends_at,
            next_arrival: None,
            next_scrape: 0.0,
            next_decision: timing.decide_every,
            queue: VecDeque::new(),
            arrived: (0, 0),
            finished: Vec::new(),
            paid: None,
        }
    }

    /// Runs to the end.
    fn run(
        mut self,
        autoscaler: &mut dyn RoleAutoscaler,
        watch: &mut dyn FnMut(Progress),
    ) -> Outcome {
        let mut arrivals = self.scenario.load.stream(self.scenario.seed);
        self.next_arrival = arrivals.next();
        while let Some(event) = self.next_event() {
            match event {
                Event::Arrival(request) => {
                    self.next_arrival = arrivals.next();
                    self.arrive(request);
                }
                Event::Engine(pool, place) => self.advance(pool, place),
                Event::Pods(pool) => self.pools[pool].fleet.change(self.now),
                Event::Transfer => self.hand_over(),
                Event::Scrape => self.scrape(autoscaler),
                Event::Decision => self.decide(autoscaler),
                Event::Timeline => {
                    watch(Progress { done: self.now / self.ends_at, requests: self.arrived.0 });
                    let state = state(&self.pools, self.queue.len() as u64);
                    self.score.timeline.record_moment(self.now, state);
                }
            }
            self.dispatch();
        }
        self.conclude()
    }

    /// Moves on to the next event; `None` at the end of the run.
    fn next_event(&mut self) -> Option<Event> {
        let mut next = (self.transfers.next_at(), Event::Transfer);
        let mut consider = |at: f64, event: Event| {
            if at < next.0 {
                next = (at, event);
            }
        };
        for (number, pool) in self.pools.iter().enumerate() {
            let (at, place) = pool.fleet.next_event();
            consider(at, Event::Engine(number, place));
        }
        for (number, pool) in self.pools.iter().enumerate() {
            consider(pool.fleet.next_change(), Event::Pods(number));
        }
        if let Some(request) = self.next_arrival {
            consider(request.at, Event::Arrival(request));
        }
        if self.paid.is_none() {
            consider(self.next_scrape, Event::Scrape);
            consider(self.next_decision, Event::Decision);
            consider(self.score.timeline.next_at, Event::Timeline);
        }
        let (at, event) = next;
        if at >= self.ends_at && self.next_arrival.is_none() && self.paid.is_none() {
            self.paid = Some(state_seconds(&self.pools, self.ends_at));
            self.now = self.ends_at;
            return self.next_event();
        }
        self.now = at.max(self.now);
        (at <= self.ends_at + AFTERMATH).then_some(event)
    }

    fn arrive(&mut self, request: Request) {
        let Scenario { profile, cached, .. } = self.scenario;
        let work = profile.work(request.prompt_tokens, request.output_tokens, *cached);
        self.score.record_arrival(request.at);
        self.score.timeline.record_arrival(work);
        self.arrived.0 += 1;
        self.arrived.1 += u64::from(request.prompt_tokens);
        let uncached = f64::from(request.prompt_tokens) * (1.0 - self.scenario.cached);
        let job = Job {
            arrived_at: request.at,
            first_token_at: None,
            prompt_tokens: request.prompt_tokens,
            prefill_tokens: uncached.ceil() as u32,
            output_tokens: request.output_tokens,
            ends_with_prefill: self.transfer.is_some(),
        };
        if self.scenario.routing == Routing::SharedQueue {
            self.queue.push_back(job);
        } else {
            self.submit(0, job);
        }
    }

    /// Sends a request to a replica of a pool.
    fn submit(&mut self, pool: usize, job: Job) {
        let is_refused = self.pools[pool].fleet.submit(self.now, job) != Admission::Submitted;
        if is_refused && job.arrived_at >= self.scenario.warm_up {
            self.score.refused += 1;
        }
    }

    /// Sends requests of the gateway's queue to replicas with room.
    fn dispatch(&mut self) {
        while !self.queue.is_empty() && self.pools[0].fleet.has_room() {
            let Some(job) = self.queue.pop_front() else { break };
            self.submit(0, job);
        }
    }

    fn advance(&mut self, pool: usize, place: usize) {
        self.pools[pool].fleet.advance(place, self.now, &mut self.finished);
        let replica = self.pools[0].fleet.replica_config();
        for finished in self.finished.drain(..) {
            let Finished { job, finished_at, .. } = finished;
            let transfer = self.transfer.filter(|_| job.ends_with_prefill && job.output_tokens > 1);
            if let Some(transfer) = transfer {
                let arrives_at = finished_at + transfer.duration(job.prompt_tokens);
                self.transfers.send(arrives_at, job);
                continue;
            }
            let own_prefill = replica.prefill_time(u64::from(job.prefill_tokens));
            self.score.record_finish(&finished, own_prefill);
        }
    }

    /// Gives a request to a replica of decode, once its KV cache has arrived. The client gets its
    /// first token now.
    fn hand_over(&mut self) {
        let Some(job) = self.transfers.receive() else { return };
        let first_token_at = Some(self.now);
        self.submit(1, Job { first_token_at, ends_with_prefill: false, ..job });
    }

    fn scrape(&mut self, autoscaler: &mut dyn RoleAutoscaler) {
        for Pool { fleet, scraper } in &mut self.pools {
            scraper.scrape(fleet, self.now);
        }
        if autoscaler.reads_gateway() {
            let Pool { fleet, scraper } = &mut self.pools[0];
            let (running, waiting) = fleet.in_flight();
            scraper.scrape_gateway(GatewayReading {
                at: self.now,
                queued: self.queue.len() as u64,
                running: running + waiting,
                arrived: self.arrived.0,
            });
        }
        self.next_scrape = self.now + self.timing.scrape_every;
        if self.timing.decides_on_scrapes {
            self.step(autoscaler);
        }
    }

    fn decide(&mut self, autoscaler: &mut dyn RoleAutoscaler) {
        self.next_decision = self.now + self.timing.decide_every;
        self.step(autoscaler);
    }

    fn step(&mut self, autoscaler: &mut dyn RoleAutoscaler) {
        let clock = self.scenario.faults.clock;
        let clock = clock.filter(|(at, _)| self.now >= self.scenario.warm_up + at);
        let (now, queued, arrived) = (self.now, self.queue.len(), self.arrived);
        let sights: Vec<Sight<'_>> = self
            .pools
            .iter_mut()
            .map(|Pool { fleet, scraper }| Sight {
                now,
                clock_ahead: clock.map_or(0.0, |(_, ahead)| ahead),
                requested: fleet.requested(),
                gateway: scraper.look_at_gateway(now),
                pods: scraper.look(fleet, now),
                queued,
                arrived,
            })
            .collect();
        let steps = autoscaler.step(&sights);
        for (pool, step) in steps.into_iter().enumerate() {
            self.carry_out(pool, step);
        }
    }

    /// Carries out the step of one pool.
    fn carry_out(&mut self, pool: usize, Step { size, closed, scrape_in, why }: Step) {
        let fleet = &mut self.pools[pool].fleet;
        if let Some(closed) = closed {
            fleet.close(&closed, self.now);
        }
        let from = fleet.requested();
        let size = size.unwrap_or(from);
        let others = self.pools.iter().map(|pool| pool.fleet.requested()).sum::<u32>() - from;
        self.score.record_size(self.now, pool, others, (from, size));
        if size != from {
            let state = state(&self.pools, self.queue.len() as u64);
            self.score.timeline.record_change(self.now, others + size, state, why);
            self.pools[pool].fleet.scale(size, self.now);
        }
        if let Some(scrape_in) = scrape_in {
            self.next_scrape = self.next_scrape.min(self.now + scrape_in);
        }
    }

    fn conclude(self) -> Outcome {
        let paid = self.paid.unwrap_or_else(|| state_seconds(&self.pools, self.now));
        let cut_off = self.pools.iter().map(|pool| pool.fleet.cut_off).sum();
        self.score.conclude(paid, self.scenario.profile.gpus, cut_off)
    }
}
