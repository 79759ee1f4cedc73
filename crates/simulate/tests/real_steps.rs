//! The time of a step as it is learned from the pages of a real engine, against its own figures.

#![allow(clippy::unwrap_used, reason = "clippy does not see that helper functions belong to tests")]

use llm_autoscaler_core::slo::{
    EngineSample, Promise, ServingState, Slo, SloObservation, SloPolicy, SloReplica, SloSize,
};
use llm_autoscaler_engines::{
    Engine, Signal,
    exposition::{Extractor, Scratch, Value},
};

/// A page every three seconds of a vLLM with a step of 30 ms (`tests/vllm/record_pages.py`).
const PAGES: &str = include_str!("../../../tests/fixtures/steps/vllm-0.15.1-of-30-ms.txt");

/// A page: what is learned from, and the engine's own times between tokens and their number.
struct Page {
    sample: EngineSample,
    between: [f64; 2],
}

fn pages() -> Vec<Page> {
    let vllm = Engine::Vllm.profile();
    let step = vllm.step.unwrap().recipes();
    let signal = |signal| vllm.recipe(signal).unwrap();
    let recipes = [
        signal(Signal::RunningRequests),
        signal(Signal::WaitingRequests),
        signal(Signal::KVCacheUsage),
        step.kv_capacity,
        step.steps,
        step.prompt_tokens,
        step.cached_tokens,
        step.generated_tokens,
        step.first_tokens,
        step.finished,
    ];
    let (extractor, mut scratch) = (Extractor::new(&recipes), Scratch::default());
    let read = |text: &str| {
        let (at, page) = text.split_once('\n').unwrap();
        let mut found = Vec::new();
        extractor.read(page.as_bytes(), &mut scratch, &mut found).unwrap();
        let number = |place: usize| match found[place].value {
            Value::Number(number) => number,
            _ => f64::NAN,
        };
        let own = |end: &str| {
            let name = format!("vllm:inter_token_latency_seconds_{end}");
            let line = page.lines().find(|line| line.starts_with(&name)).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        let sample = EngineSample {
            at: at.parse().unwrap(),
            running: number(0),
            waiting: number(1),
            kv_tokens: Some(number(2) * number(3)),
            kv_capacity: Some(number(3)),
            steps: number(4),
            prompt_tokens: number(5),
            cached_tokens: number(6),
            generated_tokens: number(7),
            first_tokens: number(8),
            finished: number(9),
            late: None,
        };
        Page { sample, between: ["sum", "count"].map(own) }
    };
    PAGES.split("# at ").skip(1).map(read).collect()
}

/// Returns the size after the last of some pages of one replica.
fn learned(pages: &[Page]) -> SloSize {
    let promise = Promise { time_to_first_token: 2.0, inter_token_latency: 0.1 };
    let (policy, mut slo) = (SloPolicy::new(promise, 1, 8), Slo::default());
    let sizes = pages.iter().map(|page| {
        let (now, sample) = (page.sample.at, Some(page.sample));
        let replica = SloReplica { id: 1, age: now, state: ServingState::Serving, sample };
        let observation =
            SloObservation { now, requested: 1, queued: None, replicas: vec![replica] };
        slo.step(&observation, &policy).ok()
    });
    sizes.last().flatten().unwrap()
}

/// Learned from half of the pages, the mean time of a step in the other half is within a tenth of
/// the engine's own time between tokens, and of what is configured.
#[test]
fn the_time_of_a_step_of_real_vllm_is_learned() {
    let pages = pages();
    let (seen, unseen) = pages.split_at(pages.len() / 2);
    let model = learned(seen).model;
    let (first, last) = (&unseen[0], unseen.last().unwrap());
    let growth = |of: fn(&EngineSample) -> f64| of(&last.sample) - of(&first.sample);
    let steps = growth(|it| it.steps);
    let held = unseen.iter().filter_map(|page| page.sample.kv_tokens).sum::<f64>();
    let predicted = model.base
        + model.per_prompt_token * growth(|it| it.prompt_tokens - it.cached_tokens) / steps
        + model.per_sequence * growth(|it| it.generated_tokens) / steps
        + model.per_kv_token * held / unseen.len() as f64;
    let [sum, count] = [0, 1].map(|place| last.between[place] - first.between[place]);
    let own = sum / count;
    assert!((predicted / own - 1.0).abs() < 0.1, "{predicted} of {own}: {model:?}");
    assert!((predicted / 0.03 - 1.0).abs() < 0.1, "{predicted} of 30 ms: {model:?}");
}
