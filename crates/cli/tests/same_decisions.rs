//! `simulate` and `evaluate` make the same decisions: the steps of a simulation are recorded as a
//! case, and answered again.

#![allow(clippy::unwrap_used, reason = "clippy does not see that helper functions belong to tests")]

use std::{cell::RefCell, path::Path, rc::Rc, sync::Arc};

use llm_autoscaler::evaluate;
use llm_autoscaler_core::Profile;
use llm_autoscaler_simulate::{
    DEFAULT_PROFILE, Disaggregated, EngineProfile, Faults, Promise, Routing, Scenario, Sight,
    Starts, Transfer, Victims,
    arrivals::{Lengths, Load, Spread, SyntheticLoad, Trace, TraceLoad},
    policy::{Autoscaler, RoleAutoscaler, Spec, Step, Timing},
};
use serde_json::{Value, json};

/// The fewest writes in each direction.
const FEWEST: usize = 20;

/// Writes down the sizes that an autoscaler writes, and the pods that it has out of service.
struct Recorder {
    inner: Spec,
    /// For each step and role, the size before and the answer.
    answers: Vec<Vec<(u32, Step)>>,
}

impl RoleAutoscaler for Recorder {
    fn timing(&self) -> Timing {
        RoleAutoscaler::timing(&self.inner)
    }

    fn reads_gateway(&self) -> bool {
        RoleAutoscaler::reads_gateway(&self.inner)
    }

    fn step(&mut self, sights: &[Sight<'_>]) -> Vec<Step> {
        let steps = RoleAutoscaler::step(&mut self.inner, sights);
        let sizes = sights.iter().map(|sight| sight.requested);
        self.answers.push(sizes.zip(steps.iter().cloned()).collect());
        steps
    }
}

impl Autoscaler for Recorder {
    fn timing(&self) -> Timing {
        RoleAutoscaler::timing(self)
    }

    fn reads_gateway(&self) -> bool {
        RoleAutoscaler::reads_gateway(self)
    }

    fn step(&mut self, sight: &Sight<'_>) -> Step {
        RoleAutoscaler::step(self, std::slice::from_ref(sight)).remove(0)
    }
}

/// A day's worth of changes within half an hour.
fn bursts() -> Load {
    Load::Synthetic(SyntheticLoad {
        shape: "bursts:base=6,peak=34,every=240,for=120,length=1800".parse().unwrap(),
        lengths: Lengths::Lognormal { prompt: 1155.0, output: 211.0, sigma: 0.8 },
        warm_up: 60.0,
    })
}

/// The code trace: its load comes in bursts of seconds.
fn code() -> Load {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/traces");
    let text = std::fs::read_to_string(folder.join("azure_code_2023.csv")).unwrap();
    let trace = Arc::new(Trace::parse(&text).unwrap());
    Load::Trace(TraceLoad { trace, copies: 2, spread: Spread::Jitter(2.0), warm_up: 60.0 })
}

fn scenario(load: Load) -> Scenario {
    Scenario {
        load,
        warm_up: 60.0,
        profile: EngineProfile::named(DEFAULT_PROFILE).unwrap(),
        cached: 0.0,
        promise: Promise::default(),
        routing: Routing::LeastOutstanding,
        starts: Starts { median: 60.0, failing: 0.05, ..Starts::default() },
        faults: Faults { loss: 0.01, vanishing: 1.0, crashes: 0.5, ..Faults::default() },
        gpu_limit: None,
        replicas: 3,
        grace: 60.0,
        victims: Victims::NotReady,
        seed: 3,
    }
}

/// Returns the spec of an autoscaler by requests in flight, with further fields.
fn spec(kind: &str, fields: &Value) -> Value {
    let mut spec = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": "llm"},
        "engine": "VLLM", "minReplicas": 1, "maxReplicas": 20,
        "metrics": [{
            "signal": "InFlightRequests",
            "target": {"type": "AverageValue", "averageValue": "24"},
        }],
    });
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

/// Simulates a spec and answers its steps again. Returns the numbers of steps, of writes up, of
/// writes down, and of steps with a pod out of service.
fn same_decisions(scenario: &Scenario, spec: &Value, profile: Profile) -> [usize; 4] {
    let inner = Spec::new(&serde_json::from_value(spec.clone()).unwrap(), profile, 0.0).unwrap();
    let (simulated, steps) = (json!(inner.simulated()), Rc::new(RefCell::new(Vec::new())));
    let mut recorder = Recorder { inner, answers: Vec::new() };
    let received = steps.clone();
    recorder.inner.record_steps(Box::new(move |step| received.borrow_mut().push(step)));
    if recorder.inner.has_roles() {
        let (scenario, transfer) = (scenario.clone(), Transfer::default());
        let service = Disaggregated { scenario, decode_replicas: 3, transfer };
        service.run(&mut recorder, &mut |_| ());
    } else {
        scenario.run(&mut recorder, &mut |_| ());
    }
    let case = json!({"mode": "step", "spec": simulated, "steps": *steps.borrow()}).to_string();
    let mut answer = Vec::new();
    evaluate::evaluate(case.as_bytes(), &mut answer, profile, false).unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert!(answer["error"].is_null(), "{}", answer["error"]);
    let steps = answer["steps"].as_array().unwrap();
    assert_eq!(steps.len(), recorder.answers.len());
    let (mut ups, mut downs, mut draining) = (0, 0, 0);
    for (step, answers) in steps.iter().zip(&recorder.answers) {
        let writes = step["writes"].as_array().map_or(&[][..], Vec::as_slice);
        let mut written: Vec<_> = writes.iter().map(|it| (&it["from"], &it["to"])).collect();
        for (role, (from, answer)) in answers.iter().enumerate() {
            let victims = step["roles"][role]["drain"]["victims"].as_array().map_or(0, Vec::len);
            if let Some(closed) = &answer.closed {
                assert_eq!(victims, closed.len(), "{step}");
            }
            draining += usize::from(victims > 0);
            let Some(size) = answer.size else { continue };
            let place = written.iter().position(|(f, t)| **f == *from && **t == size);
            assert!(place.is_some(), "{from} to {size}: {step}");
            written.remove(place.unwrap());
            ups += usize::from(size > *from);
            downs += usize::from(size < *from);
        }
        assert!(written.is_empty(), "{written:?}: {step}");
    }
    [steps.len(), ups, downs, draining]
}

#[test]
fn a_simulation_and_its_case_have_the_same_writes() {
    let down = |seconds: u32| json!({"scaleDown": {"stabilizationWindowSeconds": seconds}});
    let windows = spec("Deployment", &json!({"behavior": down(60)}));
    let policies = json!({
        "scaleUp": {
            "stabilizationWindowSeconds": 10,
            "policies": [{"type": "Pods", "value": 2, "periodSeconds": 15}],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": 30,
            "policies": [{"type": "Percent", "value": 40, "periodSeconds": 30}],
        },
    });
    let drains =
        spec("StatefulSet", &json!({"drain": {"deadlineSeconds": 30}, "behavior": down(0)}));
    let latency = spec(
        "Deployment",
        &json!({"behavior": down(30), "metrics": [
            {
                "signal": "WaitingRequests",
                "target": {"type": "AverageValue", "averageValue": "4"},
            },
            {
                "signal": "TimeToFirstToken", "percentile": 90,
                "target": {"type": "Value", "value": "1500m"},
            },
        ]}),
    );
    let gateway = json!({"podSelector": {"matchLabels": {"app": "gateway"}}, "gateway": "SMG"});
    let gateway = json!({"sources": [{"scrape": gateway}, {"scrape": {}}], "behavior": down(30)});
    let role = |name: &str, target: &str| {
        json!({
            "name": name,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "metrics": [{
                "signal": "InFlightRequests",
                "target": {"type": "AverageValue", "averageValue": target},
            }],
        })
    };
    let roles = json!({
        "engine": "VLLM", "maxReplicas": 16, "behavior": down(20),
        "roles": [role("prefill", "2"), role("decode", "16")],
        "ratio": {"between": ["prefill", "decode"], "min": "250m", "max": "2"},
    });
    let (behavior, default) = (json!({"behavior": policies}), Profile::Default);
    let queue = |load| Scenario { routing: Routing::SharedQueue, ..scenario(load) };
    let cases = [
        ("the HPA to the bit", scenario(bursts()), windows.clone(), Profile::HpaExact),
        ("a window", scenario(bursts()), windows.clone(), default),
        ("a window, code", scenario(code()), windows, default),
        ("policies", scenario(bursts()), spec("Deployment", &behavior), default),
        ("drains", scenario(bursts()), drains, default),
        ("a queue and a latency", scenario(bursts()), latency, default),
        ("roles", scenario(bursts()), roles, default),
        ("a gateway", queue(bursts()), spec("Deployment", &gateway), default),
    ];
    std::thread::scope(|scope| {
        for (name, scenario, spec, profile) in cases {
            scope.spawn(move || {
                let counts = same_decisions(&scenario, &spec, profile);
                let [steps, ups, downs, draining] = counts;
                println!("{name}: {steps} steps, {ups} up, {downs} down, {draining} steps drain");
                assert!(ups >= FEWEST && downs >= FEWEST, "{name}: {counts:?}");
                assert_eq!(draining > 0, name == "drains", "{name}: {counts:?}");
            });
        }
    });
}
