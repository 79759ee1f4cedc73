//! The time of a step as it is learned from the pages of engines with a law that is known: those of
//! the scenarios on the real API server, at the same rates.

#![allow(clippy::unwrap_used, reason = "clippy does not see that helper functions belong to tests")]

use std::time::Duration;

use llm_autoscaler_core::slo::{
    Binding, EngineSample, Promise, ServingState, Slo, SloObservation, SloPolicy, SloReplica,
    SloRole, SloSize,
};
use llm_autoscaler_sim::{Engine, EngineConfig, EventKind, Request};

const PROMPT: u32 = 400;
/// The time between two scrapes, and between two sights of the fleet, in seconds.
const SCRAPED_EVERY: f64 = 4.0;

/// Replicas of constant number under a load.
struct Fleet {
    policy: SloPolicy,
    output: u32,
    /// Draws the times between requests; they are equal without it.
    random: Option<fastrand::Rng>,
    engines: Vec<(Engine, u32)>,
    slo: Slo,
    now: f64,
    due: f64,
    next_id: u64,
    size: Option<SloSize>,
}

impl Fleet {
    /// A fleet that answers with so many tokens.
    fn new(speed: u32, replicas: usize, output: u32) -> Self {
        let promise = Promise { time_to_first_token: 2.0, inter_token_latency: 0.1 };
        Self {
            policy: SloPolicy::new(promise, 1, 14),
            output,
            random: None,
            engines: (0..replicas)
                .map(|_| (Engine::new(EngineConfig::of_speed(speed)), 0))
                .collect(),
            slo: Slo::default(),
            now: 0.0,
            due: 0.0,
            next_id: 0,
            size: None,
        }
    }

    /// Serves for some time, at a rate that goes from one value to another.
    fn serve(&mut self, seconds: f64, rate: (f64, f64)) {
        let (from, mut seen) = (self.now, self.now);
        while self.now < from + seconds {
            self.now += 0.02;
            let share = (self.now - from) / seconds;
            self.due += 0.02 * (rate.0 + share * (rate.1 - rate.0));
            while self.due >= 1.0 {
                let until = self.random.as_mut().map_or(1.0, |random| -(1.0 - random.f64()).ln());
                self.due -= until;
                self.send();
            }
            self.advance();
            if self.now - seen >= SCRAPED_EVERY {
                seen = self.now;
                self.step();
            }
        }
    }

    fn advance(&mut self) {
        for (engine, in_flight) in &mut self.engines {
            let events = engine.advance(Duration::from_secs_f64(self.now));
            *in_flight -= events.iter().filter(|it| it.kind == EventKind::Finished).count() as u32;
        }
    }

    fn send(&mut self) {
        self.advance();
        let (engine, in_flight) = self.engines.iter_mut().min_by_key(|it| it.1).unwrap();
        let request =
            Request { id: self.next_id, prompt_tokens: PROMPT, output_tokens: self.output };
        engine.submit(Duration::from_secs_f64(self.now), request).unwrap();
        (*in_flight, self.next_id) = (*in_flight + 1, self.next_id + 1);
    }

    fn step(&mut self) {
        let replicas = self.engines.iter().enumerate().map(|(id, (engine, _))| SloReplica {
            id: id as u64,
            age: self.now,
            state: ServingState::Serving,
            sample: Some(sample(engine, self.now)),
        });
        let observation = SloObservation {
            now: self.now,
            requested: self.engines.len() as u32,
            queued: None,
            replicas: replicas.collect(),
        };
        self.size = self.slo.step(&observation, &self.policy).ok();
    }
}

fn sample(engine: &Engine, at: f64) -> EngineSample {
    let (gauges, metrics, config) = (engine.gauges(), engine.metrics(), engine.config());
    let capacity = f64::from(config.usable_blocks() * config.block_size);
    EngineSample {
        at,
        waiting: gauges.waiting as f64,
        running: gauges.running as f64,
        kv_tokens: Some(gauges.kv_usage * capacity),
        kv_capacity: Some(capacity),
        prompt_tokens: metrics.prompt_tokens as f64,
        cached_tokens: 0.0,
        generated_tokens: metrics.generation_tokens as f64,
        first_tokens: metrics.time_to_first_token.count() as f64,
        finished: metrics.finished() as f64,
        steps: engine.steps() as f64,
        late: Some(0.0),
    }
}

/// Returns the requests per second that one replica serves at a mean time between two tokens, by
/// the numbers of a law: a step's base, a prompt token, a sequence and a token in the KV cache.
fn capacity([base, prompt, sequence, kv]: [f64; 4], output: f64, latency: f64) -> f64 {
    let context = f64::from(PROMPT) + output / 2.0;
    let work = prompt * f64::from(PROMPT) + (sequence + kv * context) * output;
    (1.0 - base / latency) / work
}

/// Prompts and tokens are always in the same proportion here, so that one number may stand for a
/// part of another; what the replicas can do is known all the same.
#[test]
fn the_capacity_of_an_emulated_engine_is_learned() {
    for (speed, rate, replicas) in [(1, 12.0, 6), (1, 20.0, 12), (2, 55.0, 6), (2, 55.0, 10)] {
        let mut fleet = Fleet::new(speed, replicas, 40);
        fleet.serve(180.0, (rate, rate));
        assert!(fleet.size.is_some(), "three minutes are enough for a model");
        fleet.serve(180.0, (rate, 2.0 * rate));
        fleet.serve(120.0, (2.0 * rate, 2.0 * rate));
        let size = fleet.size.unwrap();
        let (law, model) = (EngineConfig::of_speed(speed), size.model);
        let (base, sequence) = (law.step_base.as_secs_f64(), law.step_per_sequence.as_secs_f64());
        let truth = [base, 1.0 / law.prefill_tokens_per_second, sequence, 0.0];
        let learned = [model.base, model.per_prompt_token, model.per_sequence, model.per_kv_token];
        for latency in [1.5 * base, 0.088] {
            let ratio = capacity(learned, 40.0, latency) / capacity(truth, 40.0, latency);
            assert!(
                (ratio - 1.0).abs() < 0.1,
                "{speed} {replicas}: {ratio} of {latency}: {size:?}"
            );
        }
        let Binding::InterTokenLatency { mean, .. } = size.binding else { panic!("{size:?}") };
        let added = (1.0 + size.trend) * (1.0 + size.headroom);
        let rate = size.arrivals * added / f64::from(size.needed - 1);
        // By the truth, a mean time between two tokens at which one serves that rate.
        let expected = base / (1.0 - rate / capacity([0.0, truth[1], truth[2], 0.0], 40.0, 1.0));
        assert!((mean / expected - 1.0).abs() < 0.1, "{mean} of {expected}: {size:?}");
    }
}

/// No page tells how many sequences a batch may have. A batch that stays full while requests wait
/// does, and then the size leaves room in it.
#[test]
fn the_limit_of_a_batch_is_learned_from_a_full_one() {
    let mut fleet = Fleet::new(1, 4, 200);
    for (engine, _) in &mut fleet.engines {
        *engine = Engine::new(EngineConfig { max_num_seqs: 16, ..EngineConfig::of_speed(1) });
    }
    fleet.serve(180.0, (3.0, 3.0));
    let binding = |fleet: &Fleet| fleet.size.unwrap().binding;
    let is_limit = |binding| match binding {
        Binding::Sequences { limit, .. } => (limit - 13.6).abs() < 1e-9,
        _ => false,
    };
    assert!(!is_limit(binding(&fleet)), "it has not been full: {:?}", fleet.size);
    // More than 16 at a time answer.
    fleet.serve(90.0, (7.0, 7.0));
    fleet.serve(300.0, (4.8, 4.8));
    assert!(is_limit(binding(&fleet)), "{:?}", fleet.size);
    assert!((4..7).contains(&fleet.size.unwrap().needed), "{:?}", fleet.size);
}

/// A replica that prefills is idle between prompts, and only times with several prompts in it
/// count. What is idle of these counts as the prompts' own, which errs towards more replicas.
#[test]
fn a_role_that_prefills_is_learned_from_the_prompts_it_computes() {
    let mut fleet = Fleet::new(1, 6, 1);
    fleet.policy.role = SloRole::Prefill;
    fleet.random = Some(fastrand::Rng::with_seed(7));
    fleet.serve(600.0, (84.0, 84.0));
    let size = fleet.size.unwrap();
    let own = size.model.per_prompt_token * f64::from(PROMPT);
    let truth = f64::from(PROMPT) / EngineConfig::of_speed(1).prefill_tokens_per_second;
    assert!((1.0..1.4).contains(&(own / truth)), "{own} of {truth}: {size:?}");
    assert!((6..9).contains(&size.needed), "14 of 20 prompts per second are kept: {size:?}");
    assert!(matches!(size.binding, Binding::Utilization { .. }), "{size:?}");
}
