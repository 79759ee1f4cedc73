//! The time and the memory of a day of 100 requests per second: 8.6 million requests.
//!
//! `cargo bench -p llm-autoscaler-simulate --bench day` prints one line for each policy.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and may fail")]

use llm_autoscaler_api::LLMAutoscalerSpec;
use llm_autoscaler_core::Profile;
use llm_autoscaler_simulate::{
    DEFAULT_PROFILE, EngineProfile, Scenario, Victims,
    arrivals::{Lengths, Load, Shape, SyntheticLoad},
    policy::{Autoscaler, Fixed, Spec},
};

fn main() {
    let shape = std::env::var("SHAPE").unwrap_or_else(|_| "day:peak=165,low=0.2".to_owned());
    let shape: Shape = shape.parse().unwrap();
    let lengths = Lengths::Lognormal { prompt: 1155.0, output: 211.0, sigma: 0.8 };
    let load = Load::Synthetic(SyntheticLoad { shape, lengths, warm_up: 600.0 });
    let profile = EngineProfile::named(DEFAULT_PROFILE).unwrap();
    let scenario =
        Scenario { replicas: 4, victims: Victims::Newest, ..Scenario::new(load, 600.0, profile) };
    let spec: LLMAutoscalerSpec = serde_json::from_value(serde_json::json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "llm"},
        "engine": "VLLM", "minReplicas": 1, "maxReplicas": 64,
        "metrics": [{
            "signal": "InFlightRequests",
            "target": {"type": "AverageValue", "averageValue": "32"},
        }],
    }))
    .unwrap();
    let spec = Spec::new(&spec, Profile::Default, 0.0).unwrap();
    let policies: [(&str, Box<dyn Autoscaler>); 2] =
        [("static 30", Box::new(Fixed(30))), ("in-flight 32", Box::new(spec))];
    for (name, mut policy) in policies {
        let start = cpu_seconds();
        let outcome = scenario.run(&mut *policy, &mut |_| ());
        println!(
            "{name}: {} requests in {:.2} s of CPU time; attainment {:.2} %, {:.2} replicas, peak {}, worst \
             {:.3}, ttft p50 {:?} p99 {:?} itl p99 {:?}, reversals {}, changes {}; {} MB",
            outcome.requests,
            cpu_seconds() - start,
            outcome.attainment * 100.0,
            outcome.mean_replicas,
            outcome.peak_replicas,
            outcome.worst_five_minutes,
            outcome.ttft_p50,
            outcome.ttft_p99,
            outcome.itl_p99,
            outcome.reversals,
            outcome.changes,
            peak_memory(),
        );
    }
}

/// Returns the time for which the process was on a CPU, as Linux has it: other processes do not
/// count.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let first = stat.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
    first.unwrap_or_default() / 1e9
}

/// Returns the peak memory of the process in MB, as Linux has it.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse::<u64>().ok()).unwrap_or_default() / 1024
}
