//! Gateways as sources: the series of each source, and what wakes a target from zero.

#![allow(clippy::unwrap_used)]

use llm_autoscaler_api::{
    LLMAutoscalerSpec, Port, SourceConfig, TargetConfig, conditions::Reason, parse_target,
};
use llm_autoscaler_core::Profile;

const OTHERS: &str = "podSelector: {matchLabels: {app: gateway}}";

fn spec(engine: &str, metrics: &str, sources: &str) -> LLMAutoscalerSpec {
    let text = format!(
        "{{scaleTargetRef: {{apiVersion: apps/v1, kind: StatefulSet, name: a}}, engine: {engine}, \
         minReplicas: 0, scaleToZero: {{}}, maxReplicas: 3, metrics: [{metrics}], \
         sources: [{sources}]}}"
    );
    serde_saphyr::from_str(&text).unwrap()
}

fn signal(name: &str) -> String {
    format!("{{signal: {name}, target: {{type: AverageValue, averageValue: 5}}}}")
}

fn planned(engine: &str, metrics: &str, sources: &str) -> TargetConfig {
    parse_target(&spec(engine, metrics, sources), Profile::Default).unwrap()
}

fn error(engine: &str, metrics: &str, sources: &str) -> String {
    parse_target(&spec(engine, metrics, sources), Profile::Default).unwrap_err().to_string()
}

#[test]
fn each_source_has_the_series_of_its_program() {
    let sources = format!("{{scrape: {{}}}}, {{scrape: {{{OTHERS}, gateway: SMG}}}}");
    let metrics = [signal("InFlightRequests"), signal("ArrivalRate"), signal("KVCacheUsage")];
    let metrics = metrics.join(", ").replace(
        "KVCacheUsage, target: {type: AverageValue, averageValue: 5}",
        "KVCacheUsage, target: {type: AverageValue, averageValue: '0.5'}",
    );
    let plan = planned("VLLM", &metrics, &sources);
    let series = |metric: usize, source: usize| {
        let metric = &plan.metrics[metric];
        let read = metric.measure_at(source)?;
        Some((read.recipe.series_name().to_owned(), metric.series_as_found(source, None)))
    };
    let same = |name: &str| Some((name.to_owned(), name.to_owned()));
    assert_eq!(series(0, 0), same("vllm:num_requests_running+vllm:num_requests_waiting"));
    assert_eq!(series(0, 1), same("smg_admission_inflight+smg_admission_queue_depth"));
    assert_eq!((series(1, 0), series(1, 1)), (None, same("smg_http_requests_total")));
    assert_eq!((series(2, 0), series(2, 1)), (same("vllm:kv_cache_usage_perc"), None));
    // A metric is called by the series of the first source that has it.
    assert_eq!(plan.metrics[1].series, "smg_http_requests_total");
    let found = plan.metrics[0].series_as_found(1, Some((0, 1)));
    assert_eq!(found, "smg_worker_requests_active+smg_admission_queue_depth");
    let [_, SourceConfig::Scrape(scrape)] = &plan.sources[..] else { panic!("{plan:?}") };
    let ports = ["prometheus", "metrics"].map(|name| Port::Name(name.to_owned()));
    assert_eq!((&scrape.ports[..], scrape.usual_port), (&ports[..], Some(29_000)));
    let lite = planned("VLLM", &signal("ArrivalRate"), &sources.replace("SMG", "LiteLLM"));
    let [_, SourceConfig::Scrape(scrape)] = &lite.sources[..] else { panic!("{lite:?}") };
    assert_eq!(scrape.path, "/metrics/");
}

#[test]
fn a_signal_that_no_source_has_is_refused() {
    let gateway = format!("{{scrape: {{{OTHERS}, gateway: VLLMRouter}}}}");
    let of_engine = "spec.metrics[0].signal: engine VLLM has no signal ArrivalRate (gateway SMG, \
                     gateway VLLMRouter, gateway LiteLLM, gateway EndpointPicker has)";
    assert_eq!(error("VLLM", &signal("ArrivalRate"), "{scrape: {}}"), of_engine);
    let found = error("VLLM", &signal("WaitingRequests"), &gateway);
    let expected =
        "spec.metrics[0].signal: gateway VLLMRouter has no signal WaitingRequests (VLLM, ";
    assert!(found.starts_with(expected), "{found}");
    let found = error("Custom", &signal("WaitingRequests"), &gateway);
    assert!(found.starts_with("spec.metrics[0].signal: gateway VLLMRouter has no"), "{found}");
    // A gateway gives signals to a program of unknown series.
    planned("Custom", &signal("InFlightRequests"), &gateway);
    let without = "{scrape: {gateway: SMG}}";
    let expected = "spec.sources[0].scrape.gateway: it needs podSelector";
    let found = error("VLLM", &signal("InFlightRequests"), without);
    assert!(found.starts_with(expected), "{found}");
}

#[test]
fn series_are_selected_by_expressions() {
    let selector = "matchLabels: {m: a}, matchExpressions: [\
        {key: w, operator: In, values: [x, y]}, {key: v, operator: NotIn, values: [z]}, \
        {key: e, operator: Exists}, {key: d, operator: DoesNotExist}]";
    let metric = format!(
        "{{series: {{name: q, selector: {{{selector}}}}}, \
         target: {{type: AverageValue, averageValue: 5}}}}"
    );
    let plan = planned("Custom", &metric, "{scrape: {}}");
    let recipe = &plan.metrics[0].measure_at(0).unwrap().recipe;
    let expected = "q{m=\"a\",w in (\"x\", \"y\"),v notin (\"z\"),e notin (\"\"),d in (\"\")}";
    assert_eq!(recipe.accepted_names(), expected);
}

#[test]
fn a_target_at_zero_is_told_what_wakes_it() {
    let own = "{scrape: {}}".to_owned();
    let with = |gateway: &str| format!("{own}, {{scrape: {{{OTHERS}, gateway: {gateway}}}}}");
    let others = format!("{{scrape: {{{OTHERS}}}}}");
    let prometheus = "{prometheus: {url: 'http://p'}}".to_owned();
    let target = "target: {type: AverageValue, averageValue: 5}";
    let series = |name: &str| format!("{{series: {{name: {name}}}, {target}}}");
    let query = |query: &str| format!("{{name: q, query: '{query}', {target}}}");
    let (in_flight, arrivals) = (signal("InFlightRequests"), signal("ArrivalRate"));
    let calls = Some(Reason::OnlyCallsWake);
    let held = Some(Reason::OnlyHeldRequestsWake);
    for (engine, metrics, sources, expected) in [
        ("VLLM", &in_flight, &own, calls),
        ("VLLM", &in_flight, &prometheus, calls),
        // A Dynamo frontend refuses requests, and counts none of them.
        ("Dynamo", &in_flight, &others, calls),
        ("Dynamo", &signal("RequestRate"), &others, calls),
        ("VLLM", &in_flight, &with("SMG"), calls),
        ("VLLM", &signal("RequestRate"), &with("SMG"), calls),
        ("VLLM", &format!("{in_flight}, {arrivals}"), &with("SMG"), None),
        ("VLLM", &arrivals, &with("VLLMRouter"), None),
        ("VLLM", &arrivals, &with("LiteLLM"), None),
        ("VLLM", &in_flight, &with("EndpointPicker"), None),
        ("VLLM", &series("requests_total"), &others, None),
        ("VLLM", &series("requests_total"), &own, calls),
        ("VLLM", &series("requests_in_flight"), &others, held),
        ("VLLM", &series("requests_in_flight"), &with("SMG"), calls),
        ("VLLM", &query("sum(gateway_requests_in_flight)"), &prometheus, held),
        ("VLLM", &query("sum(rate(gateway_requests_total[1m]))"), &prometheus, None),
        ("VLLM", &query("sum(increase(gateway_requests_total[1m]))"), &prometheus, None),
        ("VLLM", &query("sum(increase_pure(gateway_requests_total[1m]))"), &prometheus, None),
        ("VLLM", &query("sum(changes(gateway_requests_total[1m]))"), &prometheus, None),
        // One metric that a request changes is enough.
        ("VLLM", &format!("{in_flight}, {}", series("requests_total")), &others, None),
    ] {
        let advice = planned(engine, metrics, sources).advice;
        let wakes = [Reason::OnlyCallsWake, Reason::OnlyHeldRequestsWake];
        let found = advice.iter().map(|advice| advice.reason).find(|reason| wakes.contains(reason));
        assert_eq!(found, expected, "{engine} {metrics} {sources}");
    }
}

#[test]
fn a_series_that_is_no_measure_of_load_is_named() {
    let others = format!("{{scrape: {{{OTHERS}}}}}");
    let target = "target: {type: AverageValue, averageValue: 5}";
    for (series, part) in [
        (
            "smg_engine_waiting_requests",
            Some("read the signal WaitingRequests from a source with gateway: SMG"),
        ),
        ("litellm_in_flight_requests", Some("counts the scrape itself")),
        ("vllm_router_active_workers", Some("workers that have died")),
        ("smg_admission_inflight", None),
    ] {
        let metric = format!("{{series: {{name: {series}}}, {target}}}");
        let advice = planned("Custom", &metric, &others).advice;
        let found = advice.iter().find(|advice| advice.reason == Reason::UnfitSeries);
        let has_part = |part: &str| found.is_some_and(|advice| advice.text.contains(part));
        assert_eq!(found.is_some(), part.is_some_and(has_part), "{series}: {found:?}");
    }
}
