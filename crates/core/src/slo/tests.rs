//! Steps of the SLO mode, on an emulated service without noise.

mod properties;

use super::*;

const PROMISE: Promise = Promise { time_to_first_token: 2.0, inter_token_latency: 0.1 };
const POLICY: SloPolicy = SloPolicy::new(PROMISE, 1, 64);
/// The time of a step of Qwen3-32B on 2 H100.
const ENGINE: StepTime = StepTime {
    base: 0.017,
    per_prompt_token: 0.066e-3,
    per_sequence: 0.08e-3,
    per_kv_token: 0.05e-6,
};
const PROMPT: f64 = 1_155.0;
const OUTPUT: f64 = 211.0;

/// A service in equilibrium: replicas share a rate of requests, and answer at once.
struct Service {
    engine: StepTime,
    policy: SloPolicy,
    slo: Slo,
    now: f64,
    every: f64,
    samples: Vec<EngineSample>,
    late: f64,
    size: u32,
    /// The age of the samples, and the gateway's queue.
    age: f64,
    queued: Option<f64>,
}

impl Service {
    fn new(replicas: usize, every: f64) -> Self {
        let first = EngineSample { late: Some(0.0), ..EngineSample::default() };
        let (slo, samples) = (Slo::default(), vec![first; replicas]);
        let size = replicas as u32;
        let (now, late, age, queued) = (0.0, 0.0, 0.0, None);
        let (engine, policy) = (ENGINE, POLICY);
        Self { engine, policy, slo, now, every, samples, late, size, age, queued }
    }

    /// Serves at a rate for some time. Of the replicas that `scraped` names the samples arrive.
    fn run(
        &mut self,
        seconds: f64,
        rate: f64,
        scraped: impl Fn(usize) -> bool,
    ) -> Result<SloSize, NoSize> {
        let end = self.now + seconds;
        let mut result = Err(NoSize::Samples);
        while self.now < end {
            self.now += self.every;
            let requests = rate / self.samples.len() as f64 * self.every;
            for sample in &mut self.samples {
                serve(sample, &self.engine, self.now, requests, self.every, self.late);
            }
            let replicas = self.samples.iter().enumerate().map(|(place, sample)| SloReplica {
                id: place as u64,
                age: self.now + 1_000.0,
                state: ServingState::Serving,
                sample: scraped(place).then_some(*sample),
            });
            let observation = SloObservation {
                now: self.now + self.age,
                requested: self.size,
                queued: self.queued,
                replicas: replicas.collect(),
            };
            result = self.slo.step(&observation, &self.policy);
        }
        result
    }
}

/// Lets an engine answer requests, by the formulas of its step.
fn serve(
    sample: &mut EngineSample,
    engine: &StepTime,
    now: f64,
    requests: f64,
    time: f64,
    late: f64,
) {
    let (computed, generated) = (requests * PROMPT / time, requests * OUTPUT / time);
    let context = PROMPT + OUTPUT / 2.0;
    let busy = engine.per_prompt_token * computed
        + (engine.per_sequence + engine.per_kv_token * context) * generated;
    let latency = engine.base / (1.0 - busy);
    let running = generated * latency;
    sample.at = now;
    (sample.running, sample.waiting) = (running, 0.0);
    (sample.kv_tokens, sample.kv_capacity) = (Some(running * context), Some(284_000.0));
    sample.prompt_tokens += requests * PROMPT;
    sample.generated_tokens += requests * OUTPUT;
    sample.first_tokens += requests;
    sample.finished += requests;
    sample.steps += time / latency;
    sample.late = sample.late.map(|before| before + requests * late);
}

#[test]
fn nothing_is_sized_before_a_model_is_known() {
    let mut service = Service::new(8, 5.0);
    assert_eq!(service.run(5.0, 40.0, |_| true), Err(NoSize::Model(Unfit::TooFewRows(0.0))));
    assert!(service.run(60.0, 40.0, |_| true).is_ok());
    assert!(service.run(115.0, 40.0, |_| false).is_ok());
    assert_eq!(service.run(20.0, 40.0, |_| false), Err(NoSize::Samples));
}

#[test]
fn a_steady_load_has_the_size_that_the_engine_needs_however_often_it_is_scraped() {
    for every in [1.0, 5.0, 15.0] {
        let mut service = Service::new(12, every);
        let found = service.run(3_600.0, 66.0, |_| true).unwrap();
        assert!((found.arrivals - 66.0).abs() < 0.1, "{every}: {found:?}");
        // The fit knows one load only, by which 10 or 11 replicas keep the promise.
        assert_eq!((found.replicas, found.needed, found.burst), (11, 11, None), "{every}");
        assert!(found.headroom < 0.01 && found.trend < 0.01, "{every}: {found:?}");
        assert_eq!(found.held, None, "{every}");
    }
}

#[test]
fn a_rise_is_carried_on_and_a_fall_waits_for_the_window() {
    let mut service = Service::new(12, 5.0);
    for rate in [30.0, 50.0, 35.0, 45.0, 40.0] {
        service.run(600.0, rate, |_| true).unwrap();
    }
    for rate in 41..60 {
        service.run(15.0, f64::from(rate), |_| true).unwrap();
    }
    let rising = service.run(5.0, 60.0, |_| true).unwrap();
    assert!(rising.trend > 0.04, "{rising:?}");
    let soon = service.run(60.0, 20.0, |_| true).unwrap();
    assert!(soon.replicas >= rising.needed && soon.held == Some(SloHold::Window), "{soon:?}");
    // Replicas that only the rise has asked for are not kept as long as those of the load.
    let falling = service.run(180.0, 20.0, |_| true).unwrap();
    assert!(falling.needed <= 4 && falling.held == Some(SloHold::Window), "{falling:?}");
    assert!((9..rising.needed).contains(&falling.replicas), "{falling:?} {rising:?}");
    assert!(service.run(400.0, 20.0, |_| true).unwrap().replicas <= 4);
}

#[test]
fn a_fifth_of_the_samples_may_be_missing_and_more_hold_the_size() {
    for (missing, replicas, held) in [(2, 4, None), (3, 12, Some(SloHold::Samples))] {
        let mut service = Service::new(12, 5.0);
        service.run(1_800.0, 18.0, |_| true).unwrap();
        let found = service.run(60.0, 18.0, |place| place >= missing).unwrap();
        assert_eq!((found.replicas, found.held), (replicas, held), "{missing}");
    }
}

#[test]
fn a_burst_orders_at_once_within_the_limits() {
    let mut service = Service::new(8, 5.0);
    service.run(3_000.0, 16.0, |_| true).unwrap();
    let found = service.run(10.0, 48.0, |_| true).unwrap();
    let burst = found.burst.unwrap();
    assert!(burst.needed >= 7 && found.replicas >= 8, "{found:?}");
    let found = service.run(10.0, 60.0, |_| true).unwrap();
    assert!(found.burst.is_some_and(|burst| burst.ordered > 8), "{found:?}");
    assert!(found.replicas <= POLICY.max);
}

#[test]
fn late_requests_of_a_sufficient_size_tighten_the_margins() {
    let mut service = Service::new(16, 5.0);
    service.run(600.0, 66.0, |_| true).unwrap();
    let before = service.slo.feedback.margins();
    service.late = 0.05;
    let found = service.run(300.0, 66.0, |_| true).unwrap();
    assert!(found.margins.latency < before.latency, "{found:?}");
    assert!(found.needed > 10, "{found:?}");
}

#[test]
fn what_was_learned_is_known_after_a_restart() {
    let mut service = Service::new(12, 5.0);
    let before = service.run(3_600.0, 66.0, |_| true).unwrap();
    let learned = service.slo.learned().unwrap();
    let count = [&learned.fit, &learned.lengths, &learned.margins, &learned.starts];
    assert!(count.map(Vec::len).iter().sum::<usize>() < Learned::NUMBERS);
    service.slo = Slo::restored(&learned, service.now);
    // The model decides as soon as arrivals can be counted: by the second sample.
    let after = service.run(10.0, 66.0, |_| true).unwrap();
    assert_eq!(after.needed, before.needed, "{after:?}");
    let step = |model: StepTime| model.base + 20.0 * model.per_sequence;
    assert!((step(after.model) / step(before.model) - 1.0).abs() < 1e-3, "{after:?}");
    // It is a beginning: further samples are learned from.
    let later = service.run(3_600.0, 66.0, |_| true).unwrap();
    assert_eq!(later.needed, before.needed, "{later:?}");
}

#[test]
fn what_one_request_alone_needs_follows_from_the_model() {
    let mut service = Service::new(12, 5.0);
    let alone = service.run(3_600.0, 66.0, |_| true).unwrap().alone();
    let (ttft, itl) = (ENGINE.base + ENGINE.per_prompt_token * PROMPT, ENGINE.base);
    assert!((alone.time_to_first_token / ttft - 1.0).abs() < 0.3, "{alone:?}");
    assert!((alone.inter_token_latency / itl - 1.0).abs() < 0.3, "{alone:?}");
}

#[test]
fn headroom_of_the_policy_is_added_and_its_window_is_not_applied_twice() {
    let sized = |policy: SloPolicy| {
        let mut service = Service { policy, ..Service::new(12, 5.0) };
        let steady = service.run(1_800.0, 60.0, |_| true).unwrap().needed;
        (steady, service.run(200.0, 20.0, |_| true).unwrap())
    };
    let (plain, held) = sized(POLICY);
    let (more, _) = sized(SloPolicy { headroom: 0.5, ..POLICY });
    assert!(f64::from(more) > 1.3 * f64::from(plain), "{more} {plain}");
    assert_eq!((held.replicas, held.held), (plain, Some(SloHold::Window)));
    let (_, now) = sized(SloPolicy { stabilized: f64::INFINITY, ..POLICY });
    assert_eq!((now.replicas, now.held), (now.needed, None), "{now:?}");
}

#[test]
fn a_queue_that_will_still_be_there_needs_more() {
    let mut service = Service::new(8, 5.0);
    service.run(600.0, 40.0, |_| true).unwrap();
    let sizing = Sizing {
        model: ENGINE,
        lengths: Lengths { prompt: PROMPT, computed: PROMPT, output: OUTPUT },
        kv_capacity: Some(284_000.0),
        sequences: None,
        promise: POLICY.promise,
        margins: service.slo.feedback.margins(),
        role: SloRole::Both,
    };
    let needed = |queued| service.slo.with_backlog(&sizing, 40.0, 120.0, Some(queued)).replicas;
    let calm = needed(0.0);
    // A second of work for each; and what 8 replicas answer within two minutes besides.
    assert_eq!((needed(50.0), needed(1_000.0)), (calm, calm));
    assert!(needed(3_000.0) > calm && needed(3_000.0) < 2 * calm, "{}", needed(3_000.0));
    assert_eq!(needed(1e6), 2 * calm);
}

#[test]
fn samples_that_are_half_a_minute_old_are_no_new_load() {
    let mut service = Service::new(12, 5.0);
    let fresh = service.run(1_800.0, 66.0, |_| true).unwrap();
    let mut late = Service::new(12, 5.0);
    late.age = 30.0;
    late.queued = Some(0.0);
    let found = late.run(1_800.0, 66.0, |_| true).unwrap();
    assert!((found.arrivals / fresh.arrivals - 1.0).abs() < 0.01, "{found:?}");
    assert_eq!((found.replicas, found.burst), (fresh.replicas, None), "{found:?}");
}
