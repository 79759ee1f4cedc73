//! Names that older versions, and programs between an engine and its reader, give to its series.

#![allow(clippy::unwrap_used)]

use Signal::{
    InFlightRequests, InterTokenLatency, KVCacheUsage, QueueTime, RequestLatency, RequestRate,
    TimeToFirstToken, WaitingRequests,
};
use llm_autoscaler_engines::{
    Engine, Signal,
    exposition::{Extract, Extractor, Scratch, Value},
    inspect, recognize,
};

/// A histogram with this many events.
fn events(name: &str, events: u32) -> String {
    format!("{name}_bucket{{le=\"0.5\"}} {events}\n{name}_bucket{{le=\"+Inf\"}} {events}\n")
}

fn read(engine: Engine, signal: Signal, page: &str) -> Extract {
    let recipe = engine.profile().recipe(signal).unwrap();
    let mut out = Vec::new();
    Extractor::new(&[recipe]).read(page.as_bytes(), &mut Scratch::default(), &mut out).unwrap();
    out.pop().unwrap()
}

fn number(engine: Engine, signal: Signal, page: &str) -> Option<f64> {
    match read(engine, signal, page).value {
        Value::Number(number) => Some(number),
        Value::Buckets(buckets) => Some(buckets.events()),
        Value::Absent => None,
    }
}

#[test]
fn colons_are_underscores_behind_routers_and_collectors() {
    let vllm = |prefix: &str| {
        format!(
            "{prefix}num_requests_running{{model_name=\"m\"}} 3\n\
             {prefix}num_requests_waiting{{model_name=\"m\"}} 9\n\
             {prefix}gpu_cache_usage_perc{{model_name=\"m\"}} 0.5\n{}",
            events(&format!("{prefix}time_to_first_token_seconds"), 30)
        )
    };
    for prefix in ["vllm:", "vllm_", "ray_vllm:", "ray_vllm_"] {
        let page = vllm(prefix);
        let found = |signal| number(Engine::Vllm, signal, &page);
        assert_eq!(recognize(page.as_bytes()), Some(Engine::Vllm), "{prefix}");
        assert_eq!(found(InFlightRequests), Some(12.0), "{prefix}");
        assert_eq!(found(TimeToFirstToken), Some(30.0), "{prefix}");
        let name = Engine::Vllm.profile().recipe(InFlightRequests).unwrap();
        let name = name.name_as_found(read(Engine::Vllm, InFlightRequests, &page).alternative);
        assert_eq!(name, format!("{prefix}num_requests_running+{prefix}num_requests_waiting"));
        // A former name is one in every spelling.
        let inspection = inspect(page.as_bytes(), Engine::Vllm).unwrap();
        let mut findings = inspection.findings.iter();
        let kv = findings.find(|finding| finding.def.signal == KVCacheUsage).unwrap();
        assert_eq!(kv.series, [format!("{prefix}gpu_cache_usage_perc")]);
        assert_eq!(kv.former, Some(("vllm:gpu_cache_usage_perc", "vllm:kv_cache_usage_perc")));
    }
    // Both spellings on one page are one number.
    let both = vllm("vllm:") + &vllm("vllm_").replace("} 9", "} 7");
    assert_eq!(number(Engine::Vllm, WaitingRequests, &both), Some(9.0));
    assert!(!read(Engine::Vllm, WaitingRequests, &both).ambiguous);
}

#[test]
fn a_router_that_passes_on_the_pages_of_sglang_has_their_sum() {
    let of = |worker: u8, tp: u8, running: u8, queued: u8| {
        let labels = format!("priority=\"\",tp_rank=\"{tp}\",worker_addr=\"http://w{worker}\"");
        format!(
            "sglang_num_running_reqs{{{labels}}} {running}\n\
             sglang_num_queue_reqs{{{labels}}} {queued}\n"
        )
    };
    let page = of(1, 0, 4, 7) + &of(1, 1, 4, 7) + &of(2, 0, 5, 0);
    assert_eq!(number(Engine::Sglang, InFlightRequests, &page), Some(16.0));
    assert_eq!(recognize(page.as_bytes()), Some(Engine::Sglang));
}

#[test]
fn tensorrt_llm_has_had_names_without_and_with_another_prefix() {
    for prefix in ["trtllm_", "trtllm:", ""] {
        let latencies = [
            (TimeToFirstToken, "time_to_first_token_seconds", 40_u32),
            (InterTokenLatency, "time_per_output_token_seconds", 50),
            (QueueTime, "request_queue_time_seconds", 60),
            (RequestLatency, "e2e_request_latency_seconds", 70),
        ];
        let names = latencies.iter().map(|(_, name, count)| (format!("{prefix}{name}"), *count));
        let page: String = names.map(|(name, count)| events(&name, count)).collect();
        let page = page + &format!("{prefix}request_success_total 80\n");
        let expected = latencies.iter().map(|(signal, _, count)| (*signal, f64::from(*count)));
        for (signal, count) in expected.chain([(RequestRate, 80.0)]) {
            let found = number(Engine::TensorRtLlm, signal, &page);
            assert_eq!(found, Some(count), "{prefix}{signal:?}");
        }
        assert_eq!(recognize(page.as_bytes()), Some(Engine::TensorRtLlm), "{prefix}");
        let of_dynamo = number(Engine::Dynamo, TimeToFirstToken, &page);
        assert_eq!(of_dynamo, (!prefix.is_empty()).then_some(40.0), "{prefix}");
    }
}

#[test]
fn the_whole_pipeline_of_vllm_omni_counts_before_its_stages() {
    let stages = "vllm:num_requests_running{stage=\"0\"} 6\n\
                  vllm:num_requests_running{stage=\"1\"} 6\n\
                  vllm:num_requests_waiting{stage=\"0\"} 0\n";
    for prefix in ["vllm_omni:", "vllm:omni_", "vllm_omni_"] {
        let pipeline = format!("{prefix}num_requests_running 7\n{prefix}num_requests_waiting 2\n");
        for page in [pipeline.clone(), format!("{stages}{pipeline}"), pipeline + stages] {
            assert_eq!(number(Engine::Vllm, InFlightRequests, &page), Some(9.0), "{page}");
            let found = read(Engine::Vllm, InFlightRequests, &page).alternative;
            let name =
                Engine::Vllm.profile().recipe(InFlightRequests).unwrap().name_as_found(found);
            assert_eq!(name, format!("{prefix}num_requests_running+{prefix}num_requests_waiting"));
        }
    }
    assert_eq!(number(Engine::Vllm, InFlightRequests, stages), Some(12.0));
}
