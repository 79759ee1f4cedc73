//! Runs of services with replicas of prefill and replicas of decode.

#![allow(clippy::unwrap_used, reason = "clippy does not see that helper functions belong to tests")]

use llm_autoscaler_api::LLMAutoscalerSpec;
use llm_autoscaler_core::Profile;
use llm_autoscaler_simulate::{
    Disaggregated, EngineProfile, Faults, Outcome, Promise, Routing, Scenario, Sight, Starts,
    Transfer, Victims,
    arrivals::{Lengths, Load, SyntheticLoad},
    policy::{Autoscaler, Fixed, Independent, RoleAutoscaler, Spec, Step, Timing},
};
use serde_json::json;

fn scenario(shape: &str) -> Scenario {
    let lengths = Lengths::Lognormal { prompt: 1155.0, output: 211.0, sigma: 0.0 };
    let shape = shape.parse().unwrap();
    Scenario {
        load: Load::Synthetic(SyntheticLoad { shape, lengths, warm_up: 60.0 }),
        warm_up: 60.0,
        profile: EngineProfile::named("q32-h100x2-fast").unwrap(),
        cached: 0.0,
        promise: Promise::default(),
        routing: Routing::LeastOutstanding,
        starts: Starts { median: 40.0, ..Starts::default() },
        faults: Faults::default(),
        gpu_limit: None,
        replicas: 2,
        grace: 60.0,
        victims: Victims::NotReady,
        seed: 1,
    }
}

fn service(shape: &str, transfer: Transfer) -> Disaggregated {
    Disaggregated { scenario: scenario(shape), decode_replicas: 2, transfer }
}

fn fixed(prefill: u32, decode: u32) -> Independent {
    let sizes = [prefill, decode].map(|size| Box::new(Fixed(size)) as Box<dyn Autoscaler>);
    Independent(sizes.into())
}

fn run(service: &Disaggregated, autoscaler: &mut dyn RoleAutoscaler) -> Outcome {
    service.run(autoscaler, &mut |_| ())
}

#[test]
fn answers_are_generated_where_no_prompt_disturbs_them() {
    let long_prompts = "stairs:600x2@6000+400";
    let slow = Transfer { latency: 0.5, tokens_per_second: 1e9 };
    let [fast, slow] = [Transfer::default(), slow]
        .map(|transfer| run(&service(long_prompts, transfer), &mut fixed(2, 2)));
    let together = Scenario { replicas: 4, ..scenario(long_prompts) };
    let together = together.run(&mut Fixed(4), &mut |_| ());
    assert_eq!((fast.unfinished, fast.refused, fast.cut_off), (0, 0, 0));
    assert!((fast.mean_replicas - 4.0).abs() < 1e-6 && fast.peak_replicas == 4);
    assert!((fast.gpu_hours - 8.0 * 600.0 / 3_600.0).abs() < 1e-6, "both roles are paid for");
    let (own, shared) = (fast.itl_p99.unwrap(), together.itl_p99.unwrap());
    assert!(own < 0.9 * shared, "{own} beside {shared}");
    // The first token comes with the KV cache: half a second later, less 36 ms.
    let later = slow.ttft_p50.unwrap() - fast.ttft_p50.unwrap();
    assert!((later - 0.464).abs() < 0.03, "{later}");
}

#[test]
fn a_lack_in_either_role_is_a_lack_of_the_service() {
    let load = "stairs:600x4@4000+800";
    let attained = [(1, 6), (4, 1), (4, 6)].map(|(prefill, decode)| {
        run(&service(load, Transfer::default()), &mut fixed(prefill, decode)).attainment
    });
    assert!(attained[0] < 0.9 && attained[1] < 0.9 && attained[2] > 0.99, "{attained:?}");
}

/// Records the sizes of both roles.
struct Sizes<A>(A, Vec<(u32, u32)>);

impl<A: RoleAutoscaler> RoleAutoscaler for Sizes<A> {
    fn timing(&self) -> Timing {
        self.0.timing()
    }

    fn step(&mut self, sights: &[Sight<'_>]) -> Vec<Step> {
        self.1.push((sights[0].requested, sights[1].requested));
        self.0.step(sights)
    }
}

fn roles(max: u32) -> Spec {
    let role = |name: &str, target: &str| {
        json!({
            "name": name,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "metrics": [{
                "signal": "InFlightRequests",
                "target": {"type": "AverageValue", "averageValue": target},
            }],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
        })
    };
    // The order of the spec is another one than that of the pools.
    let spec: LLMAutoscalerSpec = serde_json::from_value(json!({
        "engine": "SGLang", "maxReplicas": max,
        "roles": [role("decode", "40"), role("prefill", "2")],
        "ratio": {"between": ["prefill", "decode"], "min": "125m", "max": "2"},
    }))
    .unwrap();
    Spec::new(&spec, Profile::Default, 0.0).unwrap()
}

#[test]
fn roles_follow_a_shift_within_their_ratio_and_ceiling() {
    let shift = "stairs:500x5@6000+200/700x5@500+2000";
    let mut sizes = Sizes(roles(9), Vec::new());
    assert!(sizes.0.has_roles() && sizes.0.notes().len() == 1, "{:?}", sizes.0.notes());
    let outcome = run(&service(shift, Transfer::default()), &mut sizes);
    let most = |of: fn(&(u32, u32)) -> u32| sizes.1.iter().map(of).max().unwrap();
    let (prefill, decode) = (most(|sizes| sizes.0), most(|sizes| sizes.1));
    let last = *sizes.1.last().unwrap();
    assert!(prefill >= 3 && decode >= 5, "{prefill} and {decode}");
    assert!(last.1 > last.0 && last.0 < prefill, "{last:?}");
    assert!(sizes.1.iter().all(|(prefill, decode)| prefill + decode <= 9));
    let in_range =
        |(prefill, decode): &(u32, u32)| 8 * prefill >= *decode && *prefill <= 2 * decode;
    assert!(sizes.1.iter().all(in_range));
    assert_eq!(outcome.peak_replicas, most(|(prefill, decode)| prefill + decode));
    let why = outcome.size_changes[0].why.as_ref().unwrap();
    assert!(why.starts_with("prefill: ") || why.starts_with("decode: "), "{why}");
    let again = run(&service(shift, Transfer::default()), &mut roles(9));
    assert_eq!(again, outcome, "equal seeds have equal results");
}

/// The pages of simulated decode have no first tokens, as those of real engines have, so that its
/// requests in flight decide there.
#[test]
fn prefill_keeps_its_phase_of_a_promise() {
    let role = |name: &str, phase: &str, requests: u32| {
        json!({
            "name": name,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "slo": {"phase": phase, "requestsPerReplica": requests},
        })
    };
    let spec: LLMAutoscalerSpec = serde_json::from_value(json!({
        "engine": "VLLM", "maxReplicas": 40,
        "slo": {"timeToFirstTokenMilliseconds": 2000, "interTokenLatencyMilliseconds": 100},
        "roles": [role("prefill", "Prefill", 4), role("decode", "Decode", 40)],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
    }))
    .unwrap();
    let service = service("stairs:700x6@3000+300/300x12@3000+300", Transfer::default());
    let spec = Spec::new(&spec, Profile::Default, 0.0).unwrap();
    let mut sizes = Sizes(spec.with_kv_cache(service.scenario.profile.kv_tokens), Vec::new());
    let outcome = run(&service, &mut sizes);
    let whys: Vec<_> = outcome.size_changes.iter().filter_map(|it| it.why.as_deref()).collect();
    let by =
        |role: &str, what: &str| whys.iter().any(|why| why.starts_with(role) && why.contains(what));
    assert!(by("prefill: ", " uncached of "), "{whys:?}");
    assert!(by("decode: ", "slo is at"), "{whys:?}");
    let (half, last) = (sizes.1[sizes.1.len() / 2 - 1], *sizes.1.last().unwrap());
    assert!(last.0 > half.0 && last.1 > half.1, "twice the load: {half:?} -> {last:?}");
    assert!(outcome.attainment > 0.9, "{} {half:?} {last:?}", outcome.attainment);
}

#[test]
fn other_roles_are_refused() {
    let spec = |names: [&str; 2]| {
        let role = |name: &str| {
            json!({
                "name": name,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "metrics": [{"signal": "InFlightRequests",
                    "target": {"type": "AverageValue", "averageValue": "8"}}],
            })
        };
        let spec = json!({"engine": "VLLM", "maxReplicas": 8, "roles": names.map(role)});
        Spec::new(&serde_json::from_value(spec).unwrap(), Profile::Default, 0.0)
    };
    assert!(spec(["prefill", "decode"]).is_ok());
    let error = spec(["encode", "decode"]).unwrap_err().to_string();
    assert!(error.contains("prefill and decode"), "{error}");
}
