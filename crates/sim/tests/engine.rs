//! Invariants of the engine under any load, and the figures of the default configuration.

#![allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "helpers of tests; an empty cache is exactly zero"
)]

use std::time::Duration;

use llm_autoscaler_sim::{Engine, EngineConfig, Event, EventKind, Request};
use proptest::prelude::*;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn request(id: u64) -> Request {
    Request { id, prompt_tokens: 1500, output_tokens: 100 }
}

/// Runs a closed loop of `concurrency` clients against `replicas` engines: each answer starts the
/// next request on the same engine. Returns the time of the last answer, and the gauges (running,
/// waiting) halfway.
fn closed_loop(replicas: u64, concurrency: u64, requests: u64) -> (f64, Vec<(u64, u64)>) {
    let mut engines: Vec<_> = (0..replicas).map(|_| Engine::new(EngineConfig::default())).collect();
    let mut sent = 0;
    while sent < concurrency {
        let engine = &mut engines[(sent % replicas) as usize];
        engine.submit(Duration::ZERO, request(sent)).unwrap();
        sent += 1;
    }
    let (mut done, mut end, mut halfway) = (0, Duration::ZERO, Vec::new());
    while done < requests {
        let now = engines.iter().filter_map(Engine::next_event_at).min().unwrap();
        for engine in &mut engines {
            for event in engine.advance(now) {
                if event.kind != EventKind::Finished {
                    continue;
                }
                (done, end) = (done + 1, event.at);
                if sent < requests {
                    engine.submit(event.at, request(sent)).unwrap();
                    sent += 1;
                }
            }
        }
        if done >= requests / 2 && halfway.is_empty() {
            let gauges = engines.iter().map(Engine::gauges);
            halfway = gauges.map(|g| (g.running, g.waiting)).collect();
        }
    }
    (end.as_secs_f64(), halfway)
}

#[test]
fn one_replica_under_the_guides_load_keeps_a_queue_of_eleven() {
    let (end, halfway) = closed_loop(1, 20, 400);
    let rate = 400.0 / end;
    assert!((2.3..2.5).contains(&rate), "{rate} requests a second");
    assert!(matches!(halfway[..], [(7..=8, 11..=13)]), "{halfway:?}");
}

#[test]
fn three_replicas_serve_three_times_as_much() {
    let one = 400.0 / closed_loop(1, 20, 400).0;
    let three = 1200.0 / closed_loop(3, 60, 1200).0;
    assert!((2.9..3.1).contains(&(three / one)), "{one} and {three} requests a second");
}

#[test]
fn a_lone_request_takes_its_prefill_and_its_steps() {
    let mut engine = Engine::new(EngineConfig::default());
    engine.submit(seconds(5.0), request(1)).unwrap();
    let events = engine.advance(seconds(60.0));
    // The prompt of 1500 tokens at 10,000 tokens a second, in a step of 17.5 ms; then 99 steps of
    // 17.5 ms.
    let first = seconds(5.0) + seconds(0.15) + seconds(0.0175);
    let last = first + seconds(0.0175) * 99;
    assert_eq!(events.first(), Some(&Event { at: first, id: 1, kind: EventKind::FirstToken }));
    assert_eq!(events.last(), Some(&Event { at: last, id: 1, kind: EventKind::Finished }));
    assert_eq!(events.len(), 101);
    assert_eq!(engine.next_event_at(), None);
}

#[test]
fn a_request_that_can_never_fit_is_refused_and_one_that_just_fits_is_served() {
    let config = EngineConfig { kv_blocks: 5, block_size: 10, ..EngineConfig::default() };
    let mut engine = Engine::new(config);
    let sized = |output_tokens| Request { id: 1, prompt_tokens: 20, output_tokens };
    let refusal = engine.submit(Duration::ZERO, sized(21)).unwrap_err();
    assert_eq!((refusal.needed_blocks, refusal.usable_blocks), (5, 4));
    engine.submit(Duration::ZERO, sized(20)).unwrap();
    assert_eq!(engine.advance(seconds(60.0)).last().map(|e| e.kind), Some(EventKind::Finished));
}

#[test]
fn sequences_that_outgrow_the_cache_are_preempted_and_finish_all_the_same() {
    let config = EngineConfig { kv_blocks: 9, block_size: 10, ..EngineConfig::default() };
    let mut engine = Engine::new(config);
    for id in 0..4 {
        let request = Request { id, prompt_tokens: 20, output_tokens: 40 };
        engine.submit(Duration::ZERO, request).unwrap();
    }
    engine.advance(seconds(600.0));
    assert!(engine.metrics().preemptions > 0);
    assert_eq!(engine.metrics().finished_length, 4);
    assert_eq!(engine.metrics().generation_tokens, 160);
    assert_eq!(engine.gauges().kv_usage, 0.0);
}

#[test]
fn an_aborted_request_frees_its_place() {
    let config = EngineConfig { max_num_seqs: 1, ..EngineConfig::default() };
    let mut engine = Engine::new(config);
    engine.submit(Duration::ZERO, request(1)).unwrap();
    engine.submit(Duration::ZERO, request(2)).unwrap();
    assert!(engine.abort(seconds(0.5), 1));
    assert!(!engine.abort(seconds(0.5), 1));
    let finished: Vec<_> = engine
        .advance(seconds(60.0))
        .into_iter()
        .filter(|e| e.kind == EventKind::Finished)
        .map(|e| e.id)
        .collect();
    assert_eq!(finished, [2]);
    assert_eq!(engine.metrics().finished_abort, 1);
}

#[derive(Debug, Clone)]
enum Action {
    Submit { prompt: u32, output: u32 },
    Abort { id: u64 },
    Wait { milliseconds: u64 },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0u32..300, 0u32..60).prop_map(|(prompt, output)| Action::Submit { prompt, output }),
        1 => (0u64..40).prop_map(|id| Action::Abort { id }),
        3 => (0u64..400).prop_map(|milliseconds| Action::Wait { milliseconds }),
    ]
}

proptest! {
    /// No request is lost, no limit is exceeded, and in the end all requests are done.
    #[test]
    fn requests_are_conserved_within_the_limits(
        actions in prop::collection::vec(action(), 1..60),
        max_num_seqs in 1usize..6,
        kv_blocks in 2u32..40,
        max_batched_tokens in 1u32..512,
    ) {
        let config = EngineConfig { max_num_seqs, kv_blocks, block_size: 16, max_batched_tokens, ..EngineConfig::default() };
        let mut engine = Engine::new(config);
        let (mut now, mut submitted) = (Duration::ZERO, 0u64);
        for action in actions {
            match action {
                Action::Submit { prompt, output } => {
                    let request = Request { id: submitted, prompt_tokens: prompt, output_tokens: output };
                    submitted += u64::from(engine.submit(now, request).is_ok());
                }
                Action::Abort { id } => { engine.abort(now, id); }
                Action::Wait { milliseconds } => now += Duration::from_millis(milliseconds),
            }
            let events = engine.advance(now);
            prop_assert!(events.is_sorted_by_key(|e| e.at));
            let gauges = engine.gauges();
            prop_assert_eq!(gauges.waiting + gauges.running + engine.metrics().finished(), submitted);
            prop_assert!(gauges.running <= max_num_seqs as u64);
            prop_assert!((0.0..=1.0).contains(&gauges.kv_usage));
            prop_assert!(engine.next_event_at().is_none_or(|at| at > now));
        }
        engine.advance(now + Duration::from_secs(100_000));
        prop_assert_eq!(engine.metrics().finished(), submitted);
        prop_assert_eq!(engine.gauges().kv_usage, 0.0);
        prop_assert_eq!(engine.next_event_at(), None);
    }
}
