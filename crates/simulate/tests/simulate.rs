//! Runs of small scenarios: what they count, what goes wrong in them, and that they repeat.

#![allow(clippy::unwrap_used, reason = "clippy does not see that helper functions belong to tests")]

use llm_autoscaler_api::LLMAutoscalerSpec;
use llm_autoscaler_core::Profile;
use llm_autoscaler_simulate::{
    EngineProfile, Faults, Outcome, Promise, Routing, Scenario, Starts,
    arrivals::{Lengths, Load, SyntheticLoad},
    bearable_load, need,
    policy::{Limits, POLICIES, Schedule, Spec, policy},
};
use serde_json::{Value, json};

const LIMITS: Limits = Limits { min: 1, max: 16 };

fn scenario(shape: &str) -> Scenario {
    let lengths = Lengths::Lognormal { prompt: 1155.0, output: 211.0, sigma: 0.8 };
    let shape = shape.parse().unwrap();
    let load = Load::Synthetic(SyntheticLoad { shape, lengths, warm_up: 60.0 });
    let profile = EngineProfile::named("q32-h100x2").unwrap();
    Scenario {
        starts: Starts { median: 40.0, ..Starts::default() },
        replicas: 3,
        grace: 30.0,
        ..Scenario::new(load, 60.0, profile)
    }
}

fn step() -> Scenario {
    scenario("step:base=6,peak=20,at=60,for=200,length=600")
}

fn run(scenario: &Scenario, name: &str) -> Outcome {
    scenario.run(&mut *policy(name, &scenario.policy_context(LIMITS)).unwrap(), &mut |_| ())
}

fn spec(changes: &Value) -> Result<Spec, String> {
    let mut spec = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llm"},
        "engine": "VLLM", "minReplicas": 1, "maxReplicas": 16,
        "metrics": [{
            "signal": "InFlightRequests",
            "target": {"type": "AverageValue", "averageValue": "32"},
        }],
    });
    spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let spec: LLMAutoscalerSpec = serde_json::from_value(spec).unwrap();
    Spec::new(&spec, Profile::Default, 0.0).map_err(|error| error.to_string())
}

#[test]
fn a_seed_repeats_a_run_under_every_policy() {
    for info in POLICIES {
        let first = run(&step(), info.name);
        assert_eq!(first, run(&step(), info.name), "{}", info.name);
        assert_ne!(first, run(&Scenario { seed: 2, ..step() }, info.name), "{}", info.name);
        assert!(first.requests > 5_000 && first.mean_replicas >= 1.0, "{}", info.name);
    }
}

#[test]
fn a_knob_has_its_default_and_a_lower_number_has_more_replicas() {
    // Three replicas are busy, and keep the promise.
    let busy = scenario("constant:rate=19,length=600");
    for info in POLICIES {
        let Some((_, default)) = info.knob.filter(|_| info.name != "static") else { continue };
        let of = |knob: f64| run(&busy, &format!("{}={knob}", info.name));
        let usual = run(&busy, info.name);
        assert_eq!(usual, of(default), "{}", info.name);
        let low = of(default / 3.0);
        assert_ne!(low.gpu_hours.to_bits(), usual.gpu_hours.to_bits(), "{}", info.name);
        // These three are late, and then above what any of their numbers asks for.
        let is_steady = !["hpa-queue", "apa", "kthena"].contains(&info.name);
        assert!(low.gpu_hours > usual.gpu_hours || !is_steady, "{}", info.name);
    }
}

#[test]
fn the_queue_of_a_gateway_is_on_its_page() {
    // Four replicas take some 25 requests/s; the rest waits at the gateway, where no pod shows it.
    let shared = Scenario {
        routing: Routing::SharedQueue,
        ..scenario("step:base=10,peak=60,at=60,for=400,length=600")
    };
    let gateway = |first: &str| {
        let selector = json!({"matchLabels": {"app": "gateway"}});
        let gateway = json!({"scrape": {"podSelector": selector, "gateway": "EndpointPicker"}});
        let pods = json!({"scrape": {}});
        if first == "gateway" { json!([gateway, pods]) } else { json!([pods, gateway]) }
    };
    let waiting = json!([{
        "signal": "WaitingRequests", "target": {"type": "AverageValue", "averageValue": "5"},
    }]);
    let peak = |sources: &Value, scenario: &Scenario| {
        let mut spec = spec(&json!({"sources": sources, "metrics": waiting})).unwrap();
        scenario.run(&mut spec, &mut |_| ()).peak_replicas
    };
    assert_eq!(peak(&json!([{"scrape": {}}]), &shared), 3, "the pods have no queue");
    assert_eq!(peak(&gateway("pods"), &shared), 3, "the pods have samples, so they count");
    assert!(peak(&gateway("gateway"), &shared) > 8);
    let lost = Scenario { faults: Faults { loss: 1.0, ..Faults::default() }, ..shared.clone() };
    assert_eq!(peak(&gateway("gateway"), &lost), 3, "a page that is lost shows nothing");
    // The policies by requests read it.
    assert!(run(&shared, "hpa-queue").peak_replicas > 8);
    let blind = spec(&json!({})).unwrap();
    let blind = shared.run(&mut { blind }, &mut |_| ());
    assert!(run(&shared, "in-flight=32").attainment > blind.attainment);
}

#[test]
fn other_sources_are_simulated_and_said() {
    let prometheus = json!({"prometheus": {"url": "http://prometheus:9090"}});
    let selector = json!({"matchLabels": {"app": "gateway"}});
    let gateway = json!({"scrape": {"podSelector": selector, "gateway": "SMG"}});
    for (sources, notes, kinds) in [
        (json!([{"scrape": {}}]), 0, "scrape"),
        (json!([prometheus]), 1, "scrape"),
        (json!([gateway, {"scrape": {}}]), 1, "EndpointPicker, scrape"),
        (json!([prometheus, gateway, {"scrape": {}}]), 2, "scrape, EndpointPicker"),
    ] {
        let spec = spec(&json!({"sources": sources})).unwrap();
        let simulated = serde_json::to_value(spec.simulated()).unwrap();
        let kind =
            |source: &Value| source["scrape"]["gateway"].as_str().unwrap_or("scrape").to_owned();
        let found: Vec<String> =
            simulated["sources"].as_array().into_iter().flatten().map(kind).collect();
        assert_eq!((spec.notes().len(), &*found.join(", ")), (notes, kinds), "{sources}");
    }
}

#[test]
fn more_replicas_keep_the_promise_for_more_requests() {
    let constant = scenario("constant:rate=20,length=600");
    let attained = [1, 2, 3, 4, 6].map(|size| {
        let scenario = Scenario { replicas: size, ..constant.clone() };
        let outcome = run(&scenario, &format!("static={size}"));
        assert!((outcome.mean_replicas - f64::from(size)).abs() < 1e-6);
        assert_eq!((outcome.cut_off, outcome.refused, outcome.changes), (0, 0, 0));
        outcome.attainment
    });
    assert!(attained.is_sorted(), "{attained:?}");
    assert!(attained[0] < 0.1 && attained[4] > 0.999, "{attained:?}");
}

#[test]
fn a_spec_follows_a_step_and_comes_back() {
    let outcome = step().run(&mut spec(&json!({})).unwrap(), &mut |_| ());
    assert!(outcome.peak_replicas >= 5, "{}", outcome.peak_replicas);
    assert!(outcome.attainment > 0.9, "{}", outcome.attainment);
    let last = outcome.timeline.last().unwrap();
    assert!(last.requested < outcome.peak_replicas, "{last:?}");
    assert_eq!(outcome.cut_off, 0);
    let first = &outcome.size_changes[0];
    assert!(first.why.as_ref().is_some_and(|why| why.contains("InFlightRequests is at")));
    assert_eq!(outcome.size_changes.len() as u32, outcome.changes);
}

#[test]
fn the_need_of_a_load_keeps_the_promise_and_one_replica_less_does_not() {
    let constant = scenario("constant:rate=20,length=600");
    let bearable = bearable_load(&constant).unwrap();
    let outcome = run(&Scenario { replicas: 8, ..constant.clone() }, "static=8");
    let need = need(&outcome.timeline, bearable);
    assert_eq!(need.len(), outcome.timeline.len());
    let most = f64::from(*need.iter().max().unwrap());
    let kept = |size: f64| run(&constant, &format!("static={size}")).promise_kept;
    assert!(kept(most) && !kept(most - 2.0), "{need:?}");
    let empty = scenario("constant:rate=1e-9,length=600");
    assert_eq!(bearable_load(&empty), None);
    let impossible =
        Promise { time_to_first_token: 1e-6, inter_token_latency: 1e-6, ..Promise::default() };
    assert_eq!(bearable_load(&Scenario { promise: impossible, ..constant }), None);
}

#[test]
fn a_size_is_paid_from_creation_to_deletion() {
    let starts = Starts { median: 40.0, sigma: 0.0, ..Starts::default() };
    let idle = Scenario { starts, ..scenario("constant:rate=0.001,length=600") };
    let outcome = idle.run(&mut Schedule(vec![(0.0, 3), (160.0, 5), (360.0, 1)]), &mut |_| ());
    // 100 s of three, 200 s of five, and the rest of one replica.
    let seconds = 100.0 * 3.0 + 200.0 * 5.0 + 300.0;
    assert!((outcome.gpu_hours * 1_800.0 / seconds - 1.0).abs() < 0.01, "{}", outcome.gpu_hours);
    assert_eq!((outcome.changes, outcome.reversals, outcome.peak_replicas), (2, 1, 5));
    let hours = outcome.gpu_hours_by_state;
    let sum = hours.serving + hours.starting + hours.draining;
    assert!((sum / outcome.gpu_hours - 1.0).abs() < 1e-9, "{hours:?}");
    assert!((hours.starting * 1_800.0 / 80.0 - 1.0).abs() < 0.01, "two starts of 40 s: {hours:?}");
}

#[test]
fn requests_of_a_removed_replica_are_cut_off_after_its_grace() {
    let busy = Scenario { grace: 1.0, ..scenario("constant:rate=15,length=400") };
    let schedule = || Schedule(vec![(0.0, 3), (200.0, 2)]);
    let short = busy.run(&mut schedule(), &mut |_| ());
    assert!(short.cut_off > 5, "{}", short.cut_off);
    let long = Scenario { grace: 300.0, ..busy }.run(&mut schedule(), &mut |_| ());
    assert_eq!(long.cut_off, 0);
    assert!(short.attainment < long.attainment);
}

#[test]
fn a_drain_waits_for_requests_before_the_pod_is_removed() {
    let outcome = |changes: Value| {
        let scenario = Scenario { grace: 1.0, ..step() };
        scenario.run(&mut spec(&changes).unwrap(), &mut |_| ())
    };
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 30}});
    let without = outcome(json!({"behavior": behavior}));
    let with = outcome(json!({"behavior": behavior, "drain": {"deadlineSeconds": 120}}));
    assert!(without.cut_off > 0 && without.changes > 2);
    assert_eq!(with.cut_off, 0);
    assert!(with.timeline.last().unwrap().requested < with.peak_replicas);
}

#[test]
fn a_shared_queue_serves_old_requests_by_new_replicas() {
    let crowded = scenario("step:base=6,peak=40,at=60,for=60,length=400");
    let schedule = || Schedule(vec![(0.0, 3), (130.0, 9)]);
    let bound = crowded.run(&mut schedule(), &mut |_| ());
    let shared = Scenario { routing: Routing::SharedQueue, ..crowded };
    let shared = shared.run(&mut schedule(), &mut |_| ());
    assert!(shared.ttft_p99.unwrap() < bound.ttft_p99.unwrap());
}

#[test]
fn pods_beyond_the_gpus_have_no_node_and_cost_nothing() {
    let limited = Scenario { gpu_limit: Some(9), ..scenario("constant:rate=30,length=400") };
    let outcome = limited.run(&mut Schedule(vec![(0.0, 8)]), &mut |_| ());
    assert_eq!(outcome.peak_replicas, 8);
    assert!((outcome.mean_replicas - 4.0).abs() < 0.01, "{}", outcome.mean_replicas);
    assert!(outcome.timeline.iter().all(|moment| moment.serving <= 4));
}

#[test]
fn a_crash_cuts_off_requests_and_the_engine_comes_back() {
    let faults = Faults { crashes: 20.0, ..Faults::default() };
    let crashing = Scenario { faults, ..scenario("constant:rate=9,length=900") };
    let outcome = run(&crashing, "static=3");
    assert!(outcome.cut_off > 10, "{}", outcome.cut_off);
    assert!(outcome.attainment > 0.5, "{}", outcome.attainment);
}

#[test]
fn nothing_shrinks_without_pages() {
    let faults = Faults { loss: 1.0, ..Faults::default() };
    let blind = Scenario { faults, replicas: 6, ..scenario("constant:rate=1,length=900") };
    let outcome = blind.run(&mut spec(&json!({})).unwrap(), &mut |_| ());
    assert_eq!(outcome.changes, 0);
    let seen = Scenario { faults: Faults::default(), ..blind };
    assert!(seen.run(&mut spec(&json!({})).unwrap(), &mut |_| ()).changes > 0);
}

#[test]
fn a_clock_that_is_set_changes_no_decision() {
    let outcome = |clock| {
        let faults = Faults { clock, ..Faults::default() };
        Scenario { faults, ..step() }.run(&mut spec(&json!({})).unwrap(), &mut |_| ())
    };
    let (usual, set) = (outcome(None), outcome(Some((300.0, -7_200.0))));
    assert_eq!(usual.changes, set.changes);
    assert!((usual.attainment - set.attainment).abs() < 0.01);
}

#[test]
fn what_is_not_simulated_is_refused_by_its_field() {
    let metric = |metric: Value| json!({"metrics": [metric]});
    let target = json!({"type": "Value", "value": "5"});
    for (changes, expected) in [
        (json!({"minReplicas": 0, "scaleToZero": {"afterSeconds": 300}}), "spec.minReplicas"),
        (metric(json!({"series": {"name": "x:y", "type": "Gauge"}, "target": target})), "x:y"),
        (json!({"maxReplicas": 0}), "lower it, or raise maxReplicas"),
    ] {
        let error = spec(&changes).unwrap_err();
        assert!(error.contains(expected), "{changes}: {error}");
    }
    for (text, expected) in [
        ("hpa", "there is no policy hpa"),
        ("slo=3", "has no knob"),
        ("kpa=x", "kpa=28"),
        ("dynamo=0", "a number above 0, its KV usage, at most 1: write dynamo=0.9"),
        ("wva=80", "write wva=0.8"),
        ("slo-aware=inf", "write slo-aware=0.55"),
    ] {
        let error = policy(text, &step().policy_context(LIMITS)).err().unwrap().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
