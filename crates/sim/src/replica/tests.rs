use proptest::prelude::*;

use super::{reference::Reference, *};

fn job(arrived_at: f64, prompt_tokens: u32, output_tokens: u32) -> Job {
    Job {
        arrived_at,
        first_token_at: None,
        prompt_tokens,
        prefill_tokens: prompt_tokens,
        output_tokens,
        ends_with_prefill: false,
    }
}

fn config(kv_tokens: u64, max_num_seqs: usize) -> ReplicaConfig {
    ReplicaConfig {
        base: 0.017,
        per_prefill_token: 66e-6,
        per_sequence: 80e-6,
        per_kv_token: 5e-7,
        kv_tokens,
        max_batched_tokens: 256,
        max_num_seqs,
    }
}

/// Submits the jobs at their arrivals, and runs until nothing is left.
fn run(config: ReplicaConfig, jobs: &[Job]) -> (Replica, Vec<Finished>) {
    let (mut replica, mut finished) = (Replica::new(config), Vec::new());
    for job in jobs {
        replica.advance(job.arrived_at, &mut finished);
        assert!(replica.submit(job.arrived_at, *job));
    }
    replica.advance(f64::MAX, &mut finished);
    (replica, finished)
}

#[test]
fn a_lone_request_takes_its_prefill_and_a_step_for_each_token() {
    let config = config(10_000, 8);
    let (replica, finished) = run(config.clone(), &[job(1.0, 100, 3)]);
    let prefill = config.step_time(100, 0, 100);
    let decode = config.step_time(0, 1, 100) + config.step_time(0, 1, 101);
    assert!((finished[0].time_to_first_token() - prefill).abs() < 1e-9);
    assert!((finished[0].inter_token_latency().unwrap() - decode / 2.0).abs() < 1e-9);
    assert_eq!(replica.metrics().generation_tokens, 3);
    assert_eq!((replica.kv_tokens(), replica.outstanding()), (0, 0));
}

#[test]
fn a_context_that_never_fits_is_refused() {
    let mut replica = Replica::new(config(100, 8));
    assert!(!replica.submit(0.0, job(0.0, 90, 11)));
    assert!(replica.submit(0.0, job(0.0, 90, 10)));
}

#[test]
fn a_prompt_that_another_replica_has_computed_only_decodes() {
    let config = config(10_000, 8);
    let handed = Job { first_token_at: Some(0.5), prefill_tokens: 0, ..job(0.0, 100, 3) };
    let mut replica = Replica::new(config.clone());
    assert!(replica.submit(1.0, handed));
    let mut finished = Vec::new();
    replica.advance(f64::MAX, &mut finished);
    let steps = config.step_time(0, 1, 100) + config.step_time(0, 1, 101);
    assert!((finished[0].first_token_at - 0.5).abs() < 1e-12);
    assert!((finished[0].finished_at - 1.0 - steps).abs() < 1e-9);
}

#[test]
fn gauges_and_counters_are_those_of_the_moment() {
    let config = config(10_000, 8);
    let mut replica = Replica::new(config.clone());
    assert!(replica.submit(0.0, job(0.0, 100, 1_000)));
    let first = config.step_time(100, 0, 100);
    let at = first + config.step_time(0, 1, 100) + config.step_time(0, 1, 101) + 1e-4;
    replica.advance(at, &mut Vec::new());
    replica.synchronize(at);
    assert_eq!(replica.metrics().generation_tokens, 3);
    assert_eq!(replica.metrics().inter_token_latency.count(), 2);
    assert_eq!(replica.gauges().running, 1);
    assert!((replica.gauges().kv_usage - 102.0 / 10_000.0).abs() < 1e-12);
}

fn jobs() -> impl Strategy<Value = Vec<Job>> {
    let single = (0.0..0.4, 1_u32..700, 1_u32..120);
    prop::collection::vec(single, 1..60).prop_map(|singles| {
        let mut at = 0.0;
        let jobs = singles.into_iter().map(|(gap, prompt, output)| {
            at += gap;
            job(at, prompt, output)
        });
        jobs.collect()
    })
}

proptest! {
    /// The jumps end where single steps end. A small cache preempts.
    #[test]
    fn jumps_equal_single_steps(
        jobs in jobs(),
        kv_tokens in 900_u64..4_000,
        max_num_seqs in 1_usize..12,
        looks in prop::collection::vec(0.0..30.0, 0..8),
    ) {
        let config = config(kv_tokens, max_num_seqs);
        let mut reference = Reference::new(config.clone());
        let (mut replica, mut finished) = (Replica::new(config), Vec::new());
        let mut looks = looks;
        looks.sort_by(f64::total_cmp);
        let mut looks = looks.into_iter().peekable();
        for job in &jobs {
            while let Some(look) = looks.next_if(|look| *look < job.arrived_at) {
                replica.advance(look, &mut finished);
                replica.synchronize(look);
            }
            replica.advance(job.arrived_at, &mut finished);
            prop_assert!(replica.submit(job.arrived_at, *job));
            reference.submit(job.arrived_at, *job);
        }
        replica.advance(1e9, &mut finished);
        reference.advance(1e9);
        prop_assert_eq!(finished.len(), jobs.len());
        prop_assert_eq!(replica.metrics().preemptions, reference.preemptions);
        prop_assert_eq!(replica.metrics().generation_tokens, reference.tokens);
        let by_arrival = |a: &Finished, b: &Finished| a.job.arrived_at.total_cmp(&b.job.arrived_at);
        finished.sort_by(by_arrival);
        reference.finished.sort_by(by_arrival);
        for (jump, single) in finished.iter().zip(&reference.finished) {
            prop_assert_eq!(jump.job, single.job);
            prop_assert!((jump.first_token_at - single.first_token_at).abs() < 1e-6);
            prop_assert!((jump.finished_at - single.finished_at).abs() < 1e-6);
        }
        let metrics = replica.metrics();
        prop_assert_eq!(metrics.time_to_first_token.count(), jobs.len() as u64);
        prop_assert_eq!(metrics.inter_token_latency.count(), reference.tokens - jobs.len() as u64);
    }
}
