//! The shape shift on a service of prefill and decode.

use llm_autoscaler_api::LLMAutoscalerSpec;
use llm_autoscaler_core::Profile;
use llm_autoscaler_simulate::{
    Disaggregated, Scenario, Transfer,
    policy::{Autoscaler, Fixed, Independent, RoleAutoscaler, Spec},
};
use serde_json::{Value, json};

use crate::{
    Row, by_seed, page,
    scenarios::{Case, shape_shift},
};

/// The name of the scenario.
pub(crate) const NAME: &str = "shape shift, prefill and decode";

/// The autoscalers: sizes of prefill and decode, or what scales them.
const POLICIES: [&str; 6] =
    ["roles", "two in-flight", "two hpa", "static=2+6", "static=4+12", "static=4+8"];

/// Returns the section of the scenario.
pub(crate) fn section(seeds: u64) -> String {
    let shift = shape_shift();
    let case = Case {
        name: NAME,
        doc: "the same load on replicas of prefill and of decode, with the same engine and KV \
              caches that are transferred at 400 Gbit/s; begins with two of each. `roles` is an \
              LLMAutoscaler with two roles: prefill by two requests in flight, decode by 50 and by \
              75 % of the KV cache, between one prefill for ten decodes and one for one, at most \
              16 together. The others scale each for itself, by the same targets in flight: \
              LLMAutoscalers with defaults, and HPAs. The rows of the shape shift above are those \
              of replicas that do both",
        scenario: Scenario { replicas: 2, ..shift.scenario },
        limits: shift.limits,
    };
    let row = |name: &&str| Row {
        policy: (*name).to_owned(),
        outcomes: by_seed(&case, seeds, |scenario| {
            let service = Disaggregated {
                scenario: scenario.clone(),
                decode_replicas: 2,
                transfer: Transfer::default(),
            };
            Some(service.run(&mut *policy(name), &mut |_| ()))
        }),
    };
    // There is no bound for two kinds of replicas.
    let none = Row { policy: String::new(), outcomes: Vec::new() };
    let rows: Vec<Row> = std::iter::once(none).chain(POLICIES.iter().map(row)).collect();
    page::section(&case, &rows)
}

fn policy(name: &str) -> Box<dyn RoleAutoscaler> {
    if let Some((prefill, decode)) = name.strip_prefix("static=").and_then(|it| it.split_once('+'))
    {
        let sizes = [prefill, decode].map(|size| Fixed(size.parse().unwrap()));
        return Box::new(Independent(sizes.map(|it| Box::new(it) as Box<dyn Autoscaler>).into()));
    }
    let target =
        |kind: &str, name: &str| json!({"apiVersion": "apps/v1", "kind": kind, "name": name});
    let in_flight = |number: &str| {
        json!({
            "signal": "InFlightRequests",
            "target": {"type": "AverageValue", "averageValue": number},
        })
    };
    let alone = |number: &str, profile: Profile| -> Box<dyn Autoscaler> {
        let sources = match profile {
            Profile::HpaExact => json!([{"scrape": {"intervalSeconds": 15, "timeoutSeconds": 5}}]),
            _ => json!(null),
        };
        Box::new(spec(
            json!({
                "scaleTargetRef": target("Deployment", "llm"), "engine": "VLLM",
                "maxReplicas": 16, "metrics": [in_flight(number)], "sources": sources,
            }),
            profile,
        ))
    };
    match name {
        "two in-flight" => {
            Box::new(Independent(["2", "50"].map(|it| alone(it, Profile::Default)).into()))
        }
        "two hpa" => {
            Box::new(Independent(["2", "50"].map(|it| alone(it, Profile::HpaExact)).into()))
        }
        _ => Box::new(spec(
            json!({
                "engine": "VLLM", "maxReplicas": 16,
                "roles": [
                    {
                        "name": "prefill", "scaleTargetRef": target("Deployment", "prefill"),
                        "metrics": [in_flight("2")],
                    },
                    {
                        "name": "decode", "scaleTargetRef": target("Deployment", "decode"),
                        "metrics": [in_flight("50"), {
                            "signal": "KVCacheUsage",
                            "target": {"type": "AverageValue", "averageValue": "750m"},
                        }],
                    },
                ],
                "ratio": {"between": ["prefill", "decode"], "min": "100m", "max": "1"},
            }),
            Profile::Default,
        )),
    }
}

fn spec(json: Value, profile: Profile) -> Spec {
    let spec: LLMAutoscalerSpec = serde_json::from_value(json).unwrap();
    Spec::new(&spec, profile, 0.0).unwrap()
}
