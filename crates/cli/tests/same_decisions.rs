//! `simulate` and `evaluate` make the same decisions: each step of a simulation is written down as
//! a case, and answered again.

#![allow(clippy::unwrap_used, reason = "clippy does not see that helper functions belong to tests")]

use llm_autoscaler::evaluate;
use llm_autoscaler_core::Profile;
use llm_autoscaler_simulate::{
    DEFAULT_PROFILE, EngineProfile, Faults, PodSight, Promise, Routing, Scenario, Sight, Starts,
    Victims,
    arrivals::{Lengths, Load, SyntheticLoad},
    policy::{Autoscaler, Spec, Step, Timing},
};
use serde_json::{Value, json};

/// The age after which a sample is stale: three intervals of 2 s, and the timeout.
const STALE_AFTER: f64 = 8.0;

/// Writes down what an autoscaler sees and writes.
struct Recorder {
    inner: Spec,
    steps: Vec<Value>,
    sizes: Vec<Option<u32>>,
}

impl Autoscaler for Recorder {
    fn timing(&self) -> Timing {
        self.inner.timing()
    }

    fn step(&mut self, sight: &Sight<'_>) -> Step {
        let step = self.inner.step(sight);
        self.steps.push(case_of(sight));
        self.sizes.push(step.size);
        step
    }
}

fn name(pod: &PodSight) -> String {
    format!("llm-{:08}", pod.id)
}

/// Returns the step of a case with the same pods and samples.
fn case_of(sight: &Sight<'_>) -> Value {
    let pods: Vec<Value> = sight.pods.iter().map(|pod| pod_of(pod, sight.now)).collect();
    let running = sight.pods.iter().filter(|pod| pod.is_running);
    let answers: serde_json::Map<String, Value> =
        running.map(|pod| (name(pod), answer_of(pod, sight.now))).collect();
    json!({
        "t": sight.now,
        "roles": [{
            "scale": {"specReplicas": sight.requested},
            "pods": pods,
            "sources": [{"metrics": {"InFlightRequests": answers}}],
        }],
    })
}

fn pod_of(pod: &PodSight, now: f64) -> Value {
    let is_ready = pod.is_ready && !pod.is_terminating;
    let mut case = json!({
        "name": name(pod),
        "phase": if pod.is_running { "Running" } else { "Pending" },
        "ready": is_ready,
        "wasReady": pod.was_ready,
        "deleting": pod.is_terminating,
        "ageSeconds": now - pod.created_at,
        "hasNode": pod.is_scheduled,
    });
    if !is_ready {
        case["trouble"] = json!({"kind": "NotReady", "forSeconds": now - pod.unready_since});
    }
    case
}

fn answer_of(pod: &PodSight, now: f64) -> Value {
    let fresh = pod.reading.as_ref().filter(|reading| now - reading.at <= STALE_AFTER);
    match fresh {
        Some(reading) => {
            let value = reading.gauges.running + reading.gauges.waiting;
            let mut answer = json!({"value": value, "ageSeconds": now - reading.at});
            if pod.has_failed {
                answer["doubt"] = json!("connection refused");
            }
            answer
        }
        None if pod.has_failed => json!({"missing": "connection refused"}),
        None => json!({"pending": true}),
    }
}

#[test]
fn a_simulation_and_its_case_have_the_same_writes() {
    let spec = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llm"},
        "engine": "VLLM", "minReplicas": 1, "maxReplicas": 20,
        "metrics": [{
            "signal": "InFlightRequests",
            "target": {"type": "AverageValue", "averageValue": "24"},
        }],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 120}},
    });
    let inner = Spec::new(&serde_json::from_value(spec.clone()).unwrap(), Profile::Default, 0.0);
    let mut recorder = Recorder { inner: inner.unwrap(), steps: Vec::new(), sizes: Vec::new() };
    let scenario = Scenario {
        load: Load::Synthetic(SyntheticLoad {
            shape: "step:base=8,peak=30,at=200,for=300,length=1200".parse().unwrap(),
            lengths: Lengths::Lognormal { prompt: 1155.0, output: 211.0, sigma: 0.8 },
            warm_up: 60.0,
        }),
        warm_up: 60.0,
        profile: EngineProfile::named(DEFAULT_PROFILE).unwrap(),
        cached: 0.0,
        promise: Promise::default(),
        routing: Routing::LeastOutstanding,
        starts: Starts { median: 60.0, failing: 0.1, ..Starts::default() },
        faults: Faults { loss: 0.1, ..Faults::default() },
        gpu_limit: None,
        replicas: 3,
        grace: 60.0,
        victims: Victims::NotReady,
        seed: 3,
    };
    scenario.run(&mut recorder, &mut |_| ());
    let case = json!({"mode": "step", "profile": "Default", "spec": spec, "steps": recorder.steps});
    let mut answer = Vec::new();
    let input = case.to_string();
    evaluate::evaluate(input.as_bytes(), &mut answer, Profile::Default, false).unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert!(answer["error"].is_null(), "{}", answer["error"]);
    let steps = answer["steps"].as_array().unwrap();
    assert_eq!(steps.len(), recorder.sizes.len());
    for (step, size) in steps.iter().zip(&recorder.sizes) {
        let written = step["writes"][0]["to"].as_u64();
        assert_eq!(written, size.map(u64::from), "{step}");
    }
    let writes = recorder.sizes.iter().flatten().count();
    println!("{} steps, {writes} writes", steps.len());
    assert!(steps.len() > 500 && writes >= 5, "{} steps, {writes} writes", steps.len());
}
