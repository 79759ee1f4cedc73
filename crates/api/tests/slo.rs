//! The field `slo`: what it becomes, and what is refused.
#![allow(clippy::unwrap_used)]

use llm_autoscaler_api::{LLMAutoscalerSpec, ParsedSpec, SpecError, TargetConfig, parse_spec};
use llm_autoscaler_core::{Profile, slo::SloRole};
use serde_json::{Value, json};

fn parse(change: impl FnOnce(&mut Value), profile: Profile) -> Result<TargetConfig, SpecError> {
    let mut spec = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "qwen3"},
        "engine": "VLLM", "minReplicas": 2, "maxReplicas": 8,
        "slo": {"timeToFirstTokenMilliseconds": 2000, "interTokenLatencyMilliseconds": 100},
    });
    change(&mut spec);
    let spec: LLMAutoscalerSpec = serde_json::from_value(spec).unwrap();
    parse_spec(&spec, profile).map(|mut parsed| parsed.roles.remove(0).config)
}

#[test]
fn a_promise_has_a_policy_measures_and_a_metric_that_stands_in() {
    let config = parse(|_| {}, Profile::Default).unwrap();
    let slo = config.slo.unwrap();
    let policy = slo.policy;
    assert!((policy.promise.time_to_first_token - 2.0).abs() < 1e-9);
    assert!((policy.promise.inter_token_latency - 0.1).abs() < 1e-9);
    assert!((policy.late - 0.01).abs() < 1e-9 && (slo.quantile - 0.99).abs() < 1e-9);
    assert_eq!((policy.min, policy.max, policy.headroom), (2, 8, 0.0));
    assert!((policy.stabilized - 300.0).abs() < 1e-9, "the HPA's window is the decision's own");
    let measures = slo.measures.unwrap();
    assert_eq!(measures.steps.recipe.series_name(), "vllm:iteration_tokens_total_count");
    let names: Vec<_> = config.metrics.iter().map(|it| (&*it.name, &*it.target)).collect();
    assert_eq!(names, [("slo", "32")]);
    assert_eq!(config.policy.metrics.len(), 1);
}

#[test]
fn metrics_beside_it_are_floors_and_its_numbers_are_the_users() {
    let change = |spec: &mut Value| {
        spec["metrics"] = json!([{
            "signal": "InFlightRequests",
            "target": {"type": "AverageValue", "averageValue": "9"},
        }]);
        spec["slo"]["percentile"] = json!(95);
        spec["slo"]["headroomPercent"] = json!(20);
        spec["slo"]["requestsPerReplica"] = json!(7);
        spec["behavior"] = json!({"scaleDown": {"stabilizationWindowSeconds": 60}});
    };
    let config = parse(change, Profile::Default).unwrap();
    let names: Vec<_> = config.metrics.iter().map(|it| (&*it.name, &*it.target)).collect();
    assert_eq!(names, [("slo", "7"), ("InFlightRequests", "9")]);
    let policy = config.slo.unwrap().policy;
    assert!((policy.late - 0.05).abs() < 1e-9 && (policy.headroom - 0.2).abs() < 1e-9);
    assert!(policy.stabilized.is_infinite(), "the window is the user's");
}

#[test]
fn an_engine_without_the_series_has_no_measures() {
    let sglang = parse(|spec| spec["engine"] = json!("SGLang"), Profile::Default).unwrap();
    assert_eq!(sglang.slo.unwrap().measures, None);
    assert_eq!(sglang.metrics[0].series, "sglang:num_running_reqs+sglang:num_queue_reqs");
}

#[test]
fn the_queue_of_the_first_gateway_that_has_one_counts() {
    let gateway = |name: &str| {
        let selector = json!({"matchLabels": {"app": "gateway"}});
        json!({"scrape": {"podSelector": selector, "gateway": name}})
    };
    let queue = |sources: &[Value]| {
        let config = parse(|spec| spec["sources"] = json!(sources), Profile::Default).unwrap();
        let queue = config.slo.as_ref().unwrap().queue.as_ref()?;
        assert!(config.is_first_source(queue.source), "it is always scraped");
        Some((queue.source, queue.measure.recipe.series_name().to_owned()))
    };
    let own = json!({"scrape": {}});
    assert_eq!(queue(std::slice::from_ref(&own)), None);
    // A router without a queue of its own, and one with.
    assert_eq!(queue(&[own.clone(), gateway("VLLMRouter")]), None);
    let smg = queue(&[own, gateway("VLLMRouter"), gateway("SMG")]);
    assert_eq!(smg, Some((2, "smg_admission_queue_depth".to_owned())));
    let of_roles = in_roles(|spec| {
        spec["sources"] = json!([{"scrape": {}}, gateway("SMG")]);
    });
    let queues = of_roles.unwrap().roles.into_iter();
    let queues = queues.map(|role| role.config.slo.is_some_and(|slo| slo.queue.is_some()));
    assert_eq!(queues.collect::<Vec<_>>(), [true, false, false], "decode has no prompts to wait");
}

#[test]
fn what_cannot_be_promised_is_refused_with_words() {
    let refused = |change: fn(&mut Value), profile| parse(change, profile).unwrap_err();
    let hpa = refused(|_| {}, Profile::HpaExact);
    assert!(hpa.field == "slo" && hpa.problem.contains("--profile=hpa-exact"), "{hpa}");
    let of_prometheus = refused(
        |spec| spec["sources"] = json!([{"prometheus": {"url": "http://p.example"}}]),
        Profile::Default,
    );
    assert_eq!(of_prometheus.field, "sources");
    let custom = refused(|spec| spec["engine"] = json!("Custom"), Profile::Default);
    assert_eq!(custom.field, "slo.signal");
}

/// A promise of a service with roles for the phases of each request.
fn in_roles(change: impl FnOnce(&mut Value)) -> Result<ParsedSpec, SpecError> {
    let role = |name: &str, more: Value| {
        let mut role = json!({
            "name": name,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        });
        role.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        role
    };
    let metrics = json!([{
        "signal": "InFlightRequests", "target": {"type": "AverageValue", "averageValue": "9"},
    }]);
    let mut spec = json!({
        "engine": "VLLM", "maxReplicas": 20,
        "slo": {
            "timeToFirstTokenMilliseconds": 2000, "interTokenLatencyMilliseconds": 100,
            "requestsPerReplica": 40,
        },
        "roles": [
            role("prefill", json!({
                "maxReplicas": 8, "slo": {"phase": "Prefill", "requestsPerReplica": 8},
            })),
            role("decode", json!({"slo": {"phase": "Decode"}, "metrics": metrics})),
            role("encode", json!({"metrics": metrics})),
        ],
    });
    change(&mut spec);
    parse_spec(&serde_json::from_value(spec).unwrap(), Profile::Default)
}

#[test]
fn roles_keep_their_phase_of_the_promise() {
    let roles = in_roles(|_| {}).unwrap().roles;
    let parts: Vec<_> = roles
        .iter()
        .map(|role| {
            let policy = role.config.slo.as_ref().map(|slo| slo.policy);
            let metrics: Vec<_> = role.config.metrics.iter().map(|it| &*it.target).collect();
            (policy.map(|policy| (policy.role, policy.max)), metrics)
        })
        .collect();
    assert_eq!(
        parts,
        [
            (Some((SloRole::Prefill, 8)), vec!["8"]),
            (Some((SloRole::Decode, 20)), vec!["40", "9"]),
            (None, vec!["9"]),
        ]
    );
}

#[test]
fn a_promise_and_its_phases_need_each_other() {
    let field = |change: fn(&mut Value)| in_roles(change).unwrap_err().field;
    let without_phase = |spec: &mut Value| {
        for role in spec["roles"].as_array_mut().unwrap().drain(..2).collect::<Vec<_>>() {
            assert!(role["slo"].is_object(), "{role}");
        }
    };
    assert_eq!(field(without_phase), "slo");
    assert_eq!(field(|spec| _ = spec.as_object_mut().unwrap().remove("slo")), "slo");
    let without_both = |spec: &mut Value| {
        spec["roles"][2].as_object_mut().unwrap().remove("metrics");
    };
    assert_eq!(field(without_both), "roles[2].metrics");
    let of_prefill_only = |spec: &mut Value| {
        spec["sources"] = json!([
            {"scrape": {}, "roles": ["prefill", "encode"]},
            {"prometheus": {"url": "http://p.example"}, "roles": ["decode"]},
        ]);
    };
    assert_eq!(field(of_prefill_only), "sources");
}
