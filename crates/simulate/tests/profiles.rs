//! The engine profiles against published measurements.
//!
//! The measurements are those of GPUStack's performance lab (gpustack/gpustack,
//! `docs/performance-lab/qwen3-32b`): Qwen3-32B on one A100 80 GB and on one H100 80 GB, vLLM 0.11,
//! 500 prompts at once.

#![allow(clippy::unwrap_used, reason = "clippy does not see that helper functions belong to tests")]

use llm_autoscaler_sim::{Finished, Job, Replica};
use llm_autoscaler_simulate::EngineProfile;

/// The throughput in requests per second, and the mean time per output token in seconds.
fn measured(profile: &str, prompt_tokens: u32, output_tokens: u32) -> (f64, f64) {
    let mut replica = Replica::new(EngineProfile::named(profile).unwrap().replica());
    let job = Job {
        arrived_at: 0.0,
        first_token_at: None,
        prompt_tokens,
        prefill_tokens: prompt_tokens,
        output_tokens,
        ends_with_prefill: false,
    };
    assert!((0..500).all(|_| replica.submit(0.0, job)));
    let mut finished = Vec::new();
    replica.advance(f64::MAX, &mut finished);
    let end = finished.iter().map(|it| it.finished_at).fold(0.0, f64::max);
    let latencies: Vec<f64> = finished.iter().filter_map(Finished::inter_token_latency).collect();
    (500.0 / end, latencies.iter().sum::<f64>() / latencies.len() as f64)
}

#[test]
fn a_profile_is_within_its_stated_error_of_the_measurement() {
    // The errors are stated in docs/simulate.md.
    for (profile, prompt, output, rate, time_per_token, error) in [
        ("q32-a100x1", 2_000, 100, 1.20, 0.143, 0.06),
        ("q32-a100x1", 4_000, 200, 0.44, 0.096, 0.06),
        ("q32-h100x1", 2_000, 100, 3_195.0 / 2_100.0, 0.0866, 0.08),
        ("q32-h100x1", 4_000, 200, 2_149.0 / 4_200.0, 0.0666, 0.08),
    ] {
        let (found_rate, found_time) = measured(profile, prompt, output);
        let errors = [found_rate / rate - 1.0, found_time / time_per_token - 1.0];
        println!("{profile} {prompt}/{output}: {found_rate:.3}/s {found_time:.4} s {errors:?}");
        assert!(errors.iter().all(|it| it.abs() < error), "{profile} {prompt}: {errors:?}");
    }
}
