use llm_autoscaler_core::Milli;
use serde_json::{Value, json};

use super::*;
use crate::SourceConfig;

fn role(name: &str, more: &Value) -> Value {
    let mut role = json!({
        "name": name,
        "metrics": [{"signal": "InFlightRequests", "target": {"type": "AverageValue", "averageValue": "8"}}],
    });
    for (key, value) in more.as_object().unwrap() {
        role[key] = value.clone();
    }
    role
}

fn spec(more: &Value, roles: &[Value]) -> LLMAutoscalerSpec {
    let mut spec = json!({
        "scaleTargetRef": {"apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": "RoleBasedGroup", "name": "pd"},
        "engine": "VLLM", "maxReplicas": 10, "roles": roles,
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

fn pair() -> [Value; 2] {
    [role("prefill", &json!({})), role("decode", &json!({}))]
}

#[test]
fn unset_fields_of_a_role_are_inherited() {
    let own = json!({
        "maxReplicas": 4, "minReplicas": 2, "engine": "SGLang", "drain": {"deadlineSeconds": 9}, "gpusPerReplica": 8,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
    });
    let top = json!({
        "drain": {}, "maxGPUs": 40, "ratio": {"between": ["decode", "prefill"], "min": "0.5", "max": 2},
    });
    let spec = spec(&top, &[role("prefill", &json!({"gpusPerReplica": 1})), role("decode", &own)]);
    let ParsedSpec { roles, shared } = parse_spec(&spec, Profile::Default).unwrap();
    let [prefill, decode] = &roles[..] else { panic!("{roles:?}") };
    assert_eq!(prefill.config.target.to_string(), "RoleBasedGroup/pd/prefill");
    assert_eq!(decode.config.target.to_string(), "Deployment/d");
    let bounds =
        |role: &ParsedRole| (role.config.policy.min_replicas, role.config.policy.max_replicas);
    assert_eq!((bounds(prefill), bounds(decode)), ((1, 10), (2, 4)));
    let deadline = |role: &ParsedRole| role.config.drain.as_ref().unwrap().deadline.num_seconds();
    assert_eq!((deadline(prefill), deadline(decode)), (120, 9));
    assert_eq!((prefill.gpus, decode.gpus), (1, 8));
    let ratio = Ratio { between: [1, 0], min: Some(Milli(500)), max: Some(Milli(2000)) };
    assert_eq!(
        shared.unwrap(),
        SharedLimits { ratio: Some(ratio), max_replicas: 10, max_gpus: Some(40) }
    );
    assert_eq!(spec.reference(), "RoleBasedGroup/pd/prefill, Deployment/d");
}

#[test]
fn a_role_has_the_sources_that_name_it_and_those_that_name_none() {
    let server = |host: &str, roles: &Value| {
        let mut source = json!({"prometheus": {"url": format!("http://{host}")}});
        if !roles.is_null() {
            source["roles"] = roles.clone();
        }
        source
    };
    let (own, all) = (json!(["decode"]), json!(["prefill", "decode"]));
    let sources = |list: Value| spec(&json!({"sources": list}), &pair());
    let parse = |list| parse_spec(&sources(list), Profile::Default);
    let list = [server("a", &own), server("b", &Value::Null), server("c", &all)];
    let parsed = parse(json!(list)).unwrap();
    let urls = |role: &ParsedRole| {
        let sources = role.config.sources.iter();
        let urls = sources.map(|source| match source {
            SourceConfig::Prometheus(server) => server.url.clone(),
            SourceConfig::Scrape(_) => panic!("a scrape"),
        });
        urls.collect::<Vec<_>>().join(" ")
    };
    let found: Vec<String> = parsed.roles.iter().map(urls).collect();
    assert_eq!(found, ["http://b http://c", "http://a http://b http://c"]);

    let bad = json!({"prometheus": {"url": "http://p/../x"}, "roles": ["decode"]});
    let table = [
        (json!([server("a", &json!(["none"]))]), "spec.sources[0].roles[0]: \"none\" is not"),
        (json!([server("a", &own)]), "spec.sources: role \"prefill\" has no source"),
        (json!(vec![server("a", &Value::Null); 5]), "spec.sources: role \"prefill\" has 5"),
        (json!([server("a", &json!(["prefill"])), bad]), "spec.sources[1].prometheus.url: "),
    ];
    for (list, expected) in table {
        let error = parse(list).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let mut alone = sources(json!([server("a", &own)]));
    alone.roles = None;
    alone.metrics = alone.of_role(&sources(json!([])).roles.unwrap()[0]).metrics;
    let error = parse_spec(&alone, Profile::Default).unwrap_err().to_string();
    assert!(error.starts_with("spec.sources[0].roles[0]: \"decode\" is not"), "{error}");
}

#[test]
fn an_error_names_the_field_in_the_whole_spec() {
    let twice = [role("a", &json!({})), role("a", &json!({}))];
    let deployment =
        json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}});
    let same = [role("a", &deployment), role("b", &deployment)];
    let bad = json!({"metrics": [{"signal": "PrefillHandoverRequests", "target": {"type": "AverageValue", "averageValue": "8"}}]});
    let wrong = [role("a", &json!({})), role("b", &bad)];
    let tolerance = json!({"behavior": {"scaleUp": {"tolerance": "-1"}}});
    let many = [role("a", &json!({"minReplicas": 6})), role("b", &json!({"minReplicas": 6}))];
    // top level, roles, error
    let table = [
        (json!({}), twice.to_vec(), "spec.roles[1].name: \"a\" is already the name of roles[0]"),
        (
            json!({}),
            same.to_vec(),
            "spec.roles[1].scaleTargetRef: Deployment/d is already the target of role \"a\"",
        ),
        (json!({}), wrong.to_vec(), "spec.roles[1].metrics[0].signal: "),
        (tolerance.clone(), pair().to_vec(), "spec.behavior.scaleUp.tolerance: "),
        (
            json!({}),
            vec![role("a", &tolerance), role("b", &json!({}))],
            "spec.roles[0].behavior.scaleUp.tolerance: ",
        ),
        (
            json!({"maxReplicas": 100_001}),
            pair().to_vec(),
            "spec.maxReplicas: 100001 is more than 100000, the most for roles",
        ),
        (json!({}), many.to_vec(), "spec.maxReplicas: 10 for all roles together is less than"),
        (json!({"maxGPUs": 9}), pair().to_vec(), "spec.roles[0].gpusPerReplica: "),
        (
            json!({"ratio": {"between": ["prefill", "x"], "min": "1"}}),
            pair().to_vec(),
            "spec.ratio.between[1]: ",
        ),
        (
            json!({"ratio": {"between": ["decode", "decode"], "min": "1"}}),
            pair().to_vec(),
            "spec.ratio.between: ",
        ),
        (
            json!({"ratio": {"between": ["prefill", "decode"], "min": "2", "max": "1"}}),
            pair().to_vec(),
            "spec.ratio.min: ",
        ),
        (
            json!({"ratio": {"between": ["prefill", "decode"], "max": "0"}}),
            pair().to_vec(),
            "spec.ratio.max: ",
        ),
    ];
    for (top, roles, expected) in table {
        let error = parse_spec(&spec(&top, &roles), Profile::Default).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}\n{expected}");
    }
}
