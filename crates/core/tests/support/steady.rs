//! A service in equilibrium, as the SLO mode observes it.

use llm_autoscaler_core::slo::{EngineSample, ServingState, SloObservation, SloReplica};

/// The requests per second and replica, and the tokens of a request.
const RATE: f64 = 4.0;
const PROMPT: f64 = 1_000.0;
const OUTPUT: f64 = 200.0;
/// The seconds of a step, and of a scrape interval.
const STEP: f64 = 0.03;
const EVERY: f64 = 5.0;

/// Replicas that answer requests at a constant rate.
pub(crate) struct Steady {
    /// The next observation.
    pub(crate) observation: SloObservation,
}

impl Steady {
    /// Returns a service of so many replicas.
    pub(crate) fn new(replicas: u32) -> Self {
        let sample = EngineSample {
            running: RATE * OUTPUT * STEP,
            kv_tokens: Some(RATE * OUTPUT * STEP * (PROMPT + OUTPUT / 2.0)),
            kv_capacity: Some(284_000.0),
            late: Some(0.0),
            ..EngineSample::default()
        };
        let replica = |id| SloReplica {
            id,
            age: 1_000.0,
            state: ServingState::Serving,
            sample: Some(sample),
        };
        let replicas = (0..u64::from(replicas)).map(replica).collect::<Vec<_>>();
        let requested = replicas.len() as u32;
        Self { observation: SloObservation { now: 0.0, requested, queued: Some(0.0), replicas } }
    }

    /// Serves for the time of one scrape interval.
    pub(crate) fn serve(&mut self) {
        self.observation.now += EVERY;
        let requests = RATE * EVERY;
        for sample in self.observation.replicas.iter_mut().filter_map(|it| it.sample.as_mut()) {
            sample.at = self.observation.now;
            sample.prompt_tokens += requests * PROMPT;
            sample.generated_tokens += requests * OUTPUT;
            sample.first_tokens += requests;
            sample.finished += requests;
            sample.steps += EVERY / STEP;
        }
    }
}
