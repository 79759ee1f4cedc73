//! Properties of the SLO mode, for any engine, load and number of replicas.

use proptest::prelude::*;

use super::*;
use crate::slo::track::{Interval, Row};

prop_compose! {
    /// Engines that are up to three times as slow or as fast as the one of the tests.
    fn engine()(
        scale in 0.4f64..2.5,
        prompt in 0.5f64..2.0,
        sequence in 0.5f64..2.0,
        kv in 0.5f64..2.0,
    ) -> StepTime {
        StepTime {
            base: ENGINE.base * scale,
            per_prompt_token: ENGINE.per_prompt_token * scale * prompt,
            per_sequence: ENGINE.per_sequence * scale * sequence,
            per_kv_token: ENGINE.per_kv_token * scale * kv,
        }
    }
}

prop_compose! {
    fn sizing()(
        model in engine(),
        prompt in 10.0f64..20_000.0,
        cached in 0.0f64..0.9,
        output in 1.0f64..4_000.0,
        first in 0.5f64..10.0,
        token in 0.02f64..0.5,
        latency in 0.44f64..0.88,
        utilization in 0.4f64..0.8,
        sequences in prop::option::of(8.0f64..256.0),
    ) -> Sizing {
        Sizing {
            model,
            lengths: Lengths { prompt, computed: prompt * (1.0 - cached), output },
            kv_capacity: Some(284_000.0),
            sequences,
            promise: Promise { time_to_first_token: first, inter_token_latency: token },
            margins: Margins { latency, utilization },
            role: SloRole::Both,
        }
    }
}

/// The utilizations of some minutes in a row.
fn loads() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(0.25f64..0.75, 6..16)
}

/// Returns the requests per second that use replicas of an engine so far.
fn rate(engine: &StepTime, replicas: usize, utilization: f64) -> f64 {
    let per_token = engine.per_sequence + engine.per_kv_token * (PROMPT + OUTPUT / 2.0);
    replicas as f64 * utilization / (engine.per_prompt_token * PROMPT + per_token * OUTPUT)
}

/// Serves a minute at each load, and returns the last result.
fn minutes(service: &mut Service, loads: &[f64]) -> Result<SloSize, NoSize> {
    let mut result = Err(NoSize::Samples);
    for load in loads {
        let rate = rate(&service.engine, service.samples.len(), *load);
        result = service.run(60.0, rate, |_| true);
    }
    result
}

/// Returns an engine that takes so many times as long for everything.
fn scaled(engine: &StepTime, factor: f64) -> StepTime {
    StepTime {
        base: engine.base * factor,
        per_prompt_token: engine.per_prompt_token * factor,
        per_sequence: engine.per_sequence * factor,
        per_kv_token: engine.per_kv_token * factor,
    }
}

/// Returns the time of a step with 20 sequences, by a model.
fn step_time(model: &StepTime) -> f64 {
    let context = PROMPT + OUTPUT / 2.0;
    model.base
        + 0.1 * PROMPT * model.per_prompt_token
        + 20.0 * (model.per_sequence + context * model.per_kv_token)
}

proptest! {
    /// More requests never need fewer replicas, a tighter promise that a replica can keep never
    /// needs fewer, and neither do tighter margins.
    #[test]
    fn more_work_and_tighter_promises_never_need_fewer(
        sizing in sizing(), rate in 0.0f64..300.0, more in 1.0f64..3.0, tighter in 0.5f64..1.0,
    ) {
        let found = sizing.smallest(rate).replicas;
        prop_assert!(sizing.smallest(rate * more).replicas >= found);
        let mut margins = sizing;
        margins.margins.utilization *= tighter;
        prop_assert!(margins.smallest(rate).replicas >= found, "{margins:?}");
        let Sizing { model, lengths, promise, .. } = sizing;
        let own = model.base + model.per_prompt_token * lengths.computed;
        let first = promise.time_to_first_token * tighter;
        let token = promise.inter_token_latency * tighter;
        // A requirement that no number of replicas fulfils is none.
        if first > own && sizing.margins.latency * token > model.base {
            let promise = Promise { time_to_first_token: first, inter_token_latency: token };
            let strict = Sizing { promise, ..sizing };
            prop_assert!(strict.smallest(rate).replicas >= found, "{strict:?}");
        }
    }

    /// Steps take another time for no reason, row by row: only a model that describes them is used.
    #[test]
    fn a_model_that_decides_describes_what_replicas_do(
        rows in prop::collection::vec((0.0f64..2.5, 3.0f64..40.0, 0.0f64..0.6), 40..160),
    ) {
        let (mut fit, mut seen) = (Fit::default(), Vec::new());
        for (faster, sequences, prompts) in rows {
            let (prompt, kv) = (prompts * PROMPT, sequences * PROMPT);
            let StepTime { base, per_prompt_token, per_sequence, per_kv_token } = ENGINE;
            let work = prompt * per_prompt_token + sequences * per_sequence + kv * per_kv_token;
            let steps = faster.exp() / (base + work);
            seen.push([steps, steps * prompt, steps * sequences, steps * kv]);
            fit.add(&Row {
                time: 15.0,
                steps: 15.0 * steps,
                computed_tokens: 15.0 * steps * prompt,
                generated_tokens: 15.0 * steps * sequences,
                kv_tokens: 15.0 * steps * kv,
            });
            let Ok(StepTime { base, per_prompt_token, per_sequence, per_kv_token }) = fit.usable()
            else { continue };
            let model = [base, per_prompt_token, per_sequence, per_kv_token];
            let latest = seen.iter().rev().take(40).map(|row| {
                let fitted: f64 = row.iter().zip(model).map(|(one, other)| one * other).sum();
                (1.0 - fitted).powi(2)
            });
            let error = (latest.sum::<f64>() / seen.len().min(40) as f64).sqrt();
            prop_assert!(seen.len() < 20 || error < 0.5, "{error} {model:?}");
        }
        prop_assert!(matches!(fit.usable(), Err(Unfit::LargeError(error)) if error > 0.3));
    }

    /// Counters that go anywhere, as after restarts, give no negative work and no negative rate.
    #[test]
    fn counters_that_reset_never_give_negative_work(
        pages in prop::collection::vec((0.0f64..60.0, prop::array::uniform9(0.0f64..1e6)), 2..40),
    ) {
        let (mut slo, mut tracker) = (Slo::default(), Tracker::default());
        let mut at = 0.0;
        for (time, [prompt, cached, generated, first, finished, steps, late, running, kv]) in pages {
            at += time;
            let sample = EngineSample {
                at,
                waiting: running / 2.0,
                running,
                kv_tokens: Some(kv),
                kv_capacity: Some(1e6),
                prompt_tokens: prompt,
                cached_tokens: cached,
                generated_tokens: generated,
                first_tokens: first,
                finished,
                steps,
                late: Some(late),
            };
            let state = ServingState::Serving;
            let replicas = vec![SloReplica { id: 1, age: 900.0, state, sample: Some(sample) }];
            let mut intervals = Vec::new();
            tracker.observe(at, &replicas, SloRole::Both, |it| intervals.push(it), |_| ());
            for Interval { from, to, arrivals, finished, late, row, .. } in intervals.iter().copied() {
                prop_assert!(to > from && arrivals >= 0.0 && finished >= 0.0, "{intervals:?}");
                prop_assert!(late.is_none_or(|late| late >= 0.0), "{intervals:?}");
                let row = row.unwrap_or_default();
                let work = [row.steps, row.computed_tokens, row.generated_tokens, row.kv_tokens];
                prop_assert!(work.iter().all(|work| *work >= 0.0), "{intervals:?}");
            }
            let observation = SloObservation { now: at, requested: 1, queued: None, replicas };
            if let Ok(size) = slo.step(&observation, &POLICY) {
                prop_assert!(size.arrivals >= 0.0 && size.trend >= 0.0, "{size:?}");
                prop_assert!((1..=POLICY.max).contains(&size.replicas), "{size:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The learned time of a step follows an engine that becomes slower or faster.
    #[test]
    fn a_drift_of_the_step_time_is_followed(
        first in engine(), drift in 0.6f64..1.6, loads in loads(),
    ) {
        let mut service = Service { engine: first, ..Service::new(6, 5.0) };
        minutes(&mut service, &loads).unwrap();
        service.engine = scaled(&first, drift);
        let loads = loads.iter().cycle().copied().take(120).collect::<Vec<_>>();
        let found = minutes(&mut service, &loads).unwrap().model;
        let ratio = step_time(&found) / step_time(&service.engine);
        prop_assert!((ratio - 1.0).abs() < 0.15, "{ratio}: {found:?} {:?}", service.engine);
    }

    /// Where only the start-up times are kept of what was learned, nothing is decided until a
    /// minute of busy replicas is learned anew, and then by the new engine alone.
    #[test]
    fn what_is_forgotten_decides_nothing(
        first in engine(), second in engine(), loads in loads(),
    ) {
        let mut service = Service { engine: first, ..Service::new(6, 5.0) };
        minutes(&mut service, &loads).unwrap();
        let starts = service.slo.learned().unwrap().starts;
        let kept = Learned { starts, ..Learned::default() };
        service.slo = Slo::restored(&kept, service.now);
        let mut fresh = Service { engine: second, ..Service::new(6, 5.0) };
        (service.engine, fresh.now) = (second, service.now);
        fresh.samples.clone_from(&service.samples);
        prop_assert!(service.run(5.0, 9.0, |_| true).is_err());
        let _ = fresh.run(5.0, 9.0, |_| true);
        let (after, new) = (minutes(&mut service, &loads), minutes(&mut fresh, &loads));
        prop_assert_eq!(after, new);
    }

    /// Without the pages of more than a fifth of the replicas, or of all of them, nothing is
    /// removed; with all pages the size is within its limits.
    #[test]
    fn missing_pages_never_scale_down_and_sizes_are_within_limits(
        engine in engine(),
        loads in loads(),
        missing in prop::collection::hash_set(0usize..12, 3..=12),
        seconds in 35.0f64..300.0,
        (min, more) in (1u32..12, 0u32..20),
    ) {
        let mut service = Service { engine, ..Service::new(12, 5.0) };
        (service.policy.min, service.policy.max) = (min, min + more);
        if let Ok(size) = minutes(&mut service, &loads) {
            prop_assert!((min..=min + more).contains(&size.replicas), "{size:?}");
        }
        if let Ok(size) = service.run(seconds, 1.0, |place| !missing.contains(&place)) {
            prop_assert!(size.replicas >= service.size, "{size:?}");
        }
    }

    /// The order in which replicas are listed changes nothing.
    #[test]
    fn the_order_of_replicas_is_irrelevant(
        loads in loads(), order in Just((0..12usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let (mut one, mut other) = (Slo::default(), Slo::default());
        let first = EngineSample { late: Some(0.0), ..EngineSample::default() };
        let mut samples = [first; 12];
        let mut now = 0.0;
        for load in loads.iter().flat_map(|load| [*load; 12]) {
            now += 5.0;
            for (place, sample) in samples.iter_mut().enumerate() {
                let load = load * (0.6 + place as f64 / 30.0);
                serve(sample, &ENGINE, now, rate(&ENGINE, 1, load) * 5.0, 5.0, 0.013);
            }
            let mut replicas = samples.iter().enumerate().map(|(place, sample)| SloReplica {
                id: place as u64,
                age: now,
                state: ServingState::Serving,
                sample: Some(*sample),
            }).collect::<Vec<_>>();
            let mut observation =
                SloObservation { now, requested: 12, queued: None, replicas: replicas.clone() };
            let found = one.step(&observation, &POLICY).map(|size| size.replicas);
            replicas.sort_by_key(|replica| order[replica.id as usize]);
            observation.replicas = replicas;
            let again = other.step(&observation, &POLICY).map(|size| size.replicas);
            prop_assert_eq!(found.ok(), again.ok());
        }
    }
}
