//! One run: a load, a fleet and an autoscaler, from event to event.

use std::collections::VecDeque;

use llm_autoscaler_sim::{Finished, Job};

use crate::{
    arrivals::{Load, Request},
    faults::{Faults, Pages},
    fleet::{Admission, Fleet, FleetConfig, Routing, StateSeconds, Victims},
    policy::{Autoscaler, Limits, PolicyContext, Step, Timing},
    profile::EngineProfile,
    random::{Use, generator},
    score::{Outcome, Promise, Score},
    sight::{Scraper, Sight},
    starts::{StartTimes, Starts},
    timeline::FleetState,
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
        }
    }

    /// Runs the scenario under an autoscaler. `watch` is called at each moment of its
    /// timeline.
    pub fn run(&self, autoscaler: &mut dyn Autoscaler, watch: &mut dyn FnMut(Progress)) -> Outcome {
        let mut run = Run::new(self, autoscaler);
        let mut arrivals = self.load.stream(self.seed);
        run.next_arrival = arrivals.next();
        while let Some(event) = run.next_event() {
            match event {
                Event::Arrival(request) => {
                    run.next_arrival = arrivals.next();
                    run.arrive(request);
                }
                Event::Engine(place) => run.advance(place),
                Event::Pods => run.fleet.change(run.now),
                Event::Scrape => run.scrape(autoscaler),
                Event::Decision => run.decide(autoscaler),
                Event::Timeline => {
                    watch(Progress { done: run.now / run.ends_at, requests: run.arrived.0 });
                    let state = run.state();
                    run.score.timeline.record_moment(run.now, state);
                }
            }
            run.dispatch();
        }
        run.conclude()
    }
}

/// The next thing that happens.
#[derive(Debug, Clone, Copy)]
enum Event {
    Arrival(Request),
    Engine(usize),
    Pods,
    Scrape,
    Decision,
    Timeline,
}

/// The state of a run.
struct Run<'a> {
    scenario: &'a Scenario,
    fleet: Fleet,
    scraper: Scraper,
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
    fn new(scenario: &'a Scenario, autoscaler: &dyn Autoscaler) -> Self {
        let timing = autoscaler.timing();
        let Scenario { seed, faults, warm_up, .. } = *scenario;
        let config = FleetConfig {
            replica: scenario.profile.replica(),
            gpus: scenario.profile.gpus,
            gpu_limit: scenario.gpu_limit,
            routing: scenario.routing,
            victims: scenario.victims,
            grace: scenario.grace,
            crashes: faults.crashes,
            counted_from: warm_up,
        };
        let starts = StartTimes::new(scenario.starts, generator(seed, Use::Starts));
        let mut faults_rng = generator(seed, Use::Faults);
        let crashes = faults_rng.fork();
        let mut fleet = Fleet::new(config, starts, generator(seed, Use::Router), crashes);
        fleet.begin_with(autoscaler.initial_size().unwrap_or(scenario.replicas), 0.0);
        let ends_at = scenario.load.duration();
        Self {
            scenario,
            fleet,
            scraper: Scraper::new(faults, Pages::new(faults, faults_rng)),
            score: Score::new(scenario.promise, warm_up, ends_at),
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

    /// Moves on to the next event; `None` at the end of the run.
    fn next_event(&mut self) -> Option<Event> {
        let (engine_at, place) = self.fleet.next_event();
        let mut next = (engine_at, Event::Engine(place));
        let mut consider = |at: f64, event: Event| {
            if at < next.0 {
                next = (at, event);
            }
        };
        consider(self.fleet.next_change(), Event::Pods);
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
            self.paid = Some(self.fleet.state_seconds(self.ends_at));
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
        };
        if self.scenario.routing == Routing::SharedQueue {
            self.queue.push_back(job);
        } else {
            self.submit(job);
        }
    }

    fn submit(&mut self, job: Job) {
        let is_refused = self.fleet.submit(self.now, job) != Admission::Submitted;
        if is_refused && job.arrived_at >= self.scenario.warm_up {
            self.score.refused += 1;
        }
    }

    /// Sends requests of the gateway's queue to replicas with room.
    fn dispatch(&mut self) {
        while !self.queue.is_empty() && self.fleet.has_room() {
            let Some(job) = self.queue.pop_front() else { break };
            self.submit(job);
        }
    }

    fn advance(&mut self, place: usize) {
        self.fleet.advance(place, self.now, &mut self.finished);
        for finished in self.finished.drain(..) {
            let replica = self.fleet.replica_config();
            let own_prefill = replica.prefill_time(u64::from(finished.job.prefill_tokens));
            self.score.record_finish(&finished, own_prefill);
        }
    }

    fn scrape(&mut self, autoscaler: &mut dyn Autoscaler) {
        self.scraper.scrape(&mut self.fleet, self.now);
        self.next_scrape = self.now + self.timing.scrape_every;
        if self.timing.decides_on_scrapes {
            self.step(autoscaler);
        }
    }

    fn decide(&mut self, autoscaler: &mut dyn Autoscaler) {
        self.next_decision = self.now + self.timing.decide_every;
        self.step(autoscaler);
    }

    fn step(&mut self, autoscaler: &mut dyn Autoscaler) {
        let pods = self.scraper.look(&self.fleet, self.now);
        let clock = self.scenario.faults.clock;
        let clock = clock.filter(|(at, _)| self.now >= self.scenario.warm_up + at);
        let Step { size, closed, scrape_in, why } = autoscaler.step(&Sight {
            now: self.now,
            clock_ahead: clock.map_or(0.0, |(_, ahead)| ahead),
            requested: self.fleet.requested(),
            pods,
            queued: self.queue.len(),
            arrived: self.arrived,
        });
        if let Some(closed) = closed {
            self.fleet.close(&closed, self.now);
        }
        let from = self.fleet.requested();
        let size = size.unwrap_or(from);
        self.score.record_size(self.now, from, size);
        if size != from {
            let state = self.state();
            self.score.timeline.record_change(self.now, size, state, why);
            self.fleet.scale(size, self.now);
        }
        if let Some(scrape_in) = scrape_in {
            self.next_scrape = self.next_scrape.min(self.now + scrape_in);
        }
    }

    fn state(&self) -> FleetState {
        let (running, waiting) = self.fleet.in_flight();
        FleetState {
            requested: self.fleet.requested(),
            states: self.fleet.states(),
            running,
            waiting: waiting + self.queue.len() as u64,
        }
    }

    fn conclude(self) -> Outcome {
        let paid = self.paid.unwrap_or_else(|| self.fleet.state_seconds(self.now));
        self.score.conclude(paid, self.scenario.profile.gpus, self.fleet.cut_off)
    }
}
