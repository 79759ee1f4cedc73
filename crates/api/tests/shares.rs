//! Targets of shares, which are 0 to 1.

#![allow(clippy::unwrap_used)]

use llm_autoscaler_api::{LLMAutoscalerSpec, conditions::Reason, parse_target};
use llm_autoscaler_core::Profile;
use llm_autoscaler_engines::{Engine, Signal};

fn spec(metrics: &str, rest: &str) -> LLMAutoscalerSpec {
    let text = format!(
        "{{scaleTargetRef: {{apiVersion: apps/v1, kind: StatefulSet, name: a}}, engine: VLLM, maxReplicas: 3, metrics: {metrics}{rest}}}"
    );
    serde_saphyr::from_str(&text).unwrap()
}

#[test]
fn a_target_that_a_share_cannot_have_is_refused_with_the_likely_one() {
    let wanted = |engine: Engine, metric: &str, value: &str| {
        let target = format!("target: {{type: AverageValue, averageValue: \"{value}\"}}");
        let spec = spec(&format!("[{{{metric}, {target}}}]"), "");
        parse_target(&LLMAutoscalerSpec { engine: engine.into(), ..spec }, Profile::Default)
    };
    let field =
        "spec.metrics[0].target.averageValue: KVCacheUsage is a share, 0 to 1, so it never reaches";
    let with_shares = Engine::ALL
        .iter()
        .copied()
        .filter(|engine| engine.profile().signal(Signal::KVCacheUsage).is_some());
    for engine in with_shares {
        for (value, hint) in [
            ("80", "80: 0.8 is 80 %"),
            ("85500m", "85500m: 0.855 is 85.5 %"),
            ("1001m", "1001m: 0.01001 is 1.001 %"),
            ("800", "800; give a share of 0 to 1, such as 0.8 for 80 %"),
        ] {
            let error = wanted(engine, "signal: KVCacheUsage", value).unwrap_err().to_string();
            assert_eq!(error, format!("{field} {hint}"), "{engine:?}");
        }
    }
    // metric, target, and a part of the advice
    let table = [
        ("signal: KVCacheUsage", "0.8", ""),
        ("signal: KVCacheUsage", "0.9", ""),
        ("signal: KVCacheUsage", "0.95", "tolerance of 10 %, so it never grows the target"),
        ("signal: KVCacheUsage", "1", "choose one below 0.9"),
        ("signal: WaitingRequests", "80", ""),
        ("series: {name: some_usage}", "80", ""),
        ("series: {name: maxserve_cache_num_used_blocks}", "80", ""),
        ("series: {name: 'vllm:kv_cache_usage_perc'}", "0.8", ""),
        ("series: {name: 'vllm:gpu_cache_usage_perc'}", "80", "its target is 80: 0.8 is 80 %"),
        ("series: {name: 'sglang:token_usage'}", "80", "its target is 80: 0.8 is 80 %"),
    ];
    for (metric, value, part) in table {
        let advice = wanted(Engine::Vllm, metric, value).unwrap().advice;
        let mut found = advice.iter().filter(|hint| hint.reason == Reason::TargetOutOfReach);
        match (part, found.next()) {
            ("", found) => assert_eq!(found, None, "{metric} {value}"),
            (part, found) => assert!(found.unwrap().text.contains(part), "{found:?}"),
        }
    }
}
