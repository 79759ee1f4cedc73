//! The engine profiles against published measurements.
//!
//! The measurements are those of GPUStack's performance lab (gpustack/gpustack,
//! `docs/performance-lab/qwen3-32b/a100.md`): Qwen3-32B on one A100 80 GB, vLLM 0.11, 500 prompts at
//! once.

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
    // The error is stated in docs/simulate.md.
    for (prompt, output, rate, time_per_token) in
        [(2_000, 100, 1.20, 0.143), (4_000, 200, 0.44, 0.096)]
    {
        let (found_rate, found_time) = measured("q32-a100x1", prompt, output);
        let errors = (found_rate / rate - 1.0, found_time / time_per_token - 1.0);
        println!("{prompt}/{output}: {found_rate:.3} requests/s, {found_time:.4} s, {errors:?}");
        assert!((-0.16..0.05).contains(&errors.0), "{prompt}/{output}: rate {errors:?}");
        assert!(errors.1.abs() < 0.06, "{prompt}/{output}: time per token {errors:?}");
    }
}
