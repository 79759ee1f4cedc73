//! Series that are absent before an engine's first request, and what they count as.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use Signal::{
    GenerationTokenRate, InFlightRequests, KVCacheUsage, RequestRate, RunningRequests,
    TimeToFirstToken, WaitingRequests,
};
use llm_autoscaler_engines::{
    Absence, Engine, Kind, Recipe, Signal,
    exposition::{Extractor, Scratch, Value},
};

fn value_of(recipe: Recipe, page: &str) -> Value {
    let mut out = Vec::new();
    // An error leaves everything absent.
    let _ = Extractor::new(&[recipe]).read(page.as_bytes(), &mut Scratch::default(), &mut out);
    out.pop().unwrap().value
}

fn signal(engine: Engine, signal: Signal, page: &str) -> Value {
    value_of(engine.profile().recipe(signal).unwrap(), page)
}

const ZERO: Value = Value::Number(0.0);

#[test]
fn a_vllm_with_several_api_servers_has_no_requests_before_its_first_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/engines");
    let fresh = std::fs::read_to_string(folder.join("vllm-0.32.0-dp2-idle.txt")).unwrap();
    for gauge in [WaitingRequests, RunningRequests, InFlightRequests, KVCacheUsage] {
        assert_eq!(signal(Engine::Vllm, gauge, &fresh), ZERO, "{gauge:?}");
    }
    let proof = "vllm:prompt_tokens_total{engine=\"0\"} 0\n";
    for (page, expected) in [
        (proof.to_owned(), ZERO),
        // One engine of two has had a prompt.
        (format!("{proof}vllm:prompt_tokens_total{{engine=\"1\"}} 7\n"), Value::Absent),
        // A version with other names still has one of the three.
        (format!("{proof}vllm:num_requests_running 0\n"), Value::Absent),
        (format!("{proof}vllm:kv_cache_usage_perc 0\n"), Value::Absent),
        (format!("{proof}vllm:num_requests_waiting 3\n"), Value::Number(3.0)),
        (format!("{proof}vllm:num_requests_waiting NaN\n"), Value::Absent),
        (format!("{proof}vllm:num_requests_waiting many\n"), Value::Absent),
        ("vllm:prompt_tokens_total NaN\n".to_owned(), Value::Absent),
        ("vllm:prompt_tokens_total none\n".to_owned(), Value::Absent),
        ("vllm:generation_tokens_total 0\n".to_owned(), Value::Absent),
        (proof.trim_end().to_owned(), Value::Absent),
        (String::new(), Value::Absent),
        ("<html>\n".to_owned(), Value::Absent),
    ] {
        assert_eq!(signal(Engine::Vllm, WaitingRequests, &page), expected, "{page}");
    }
}

#[test]
fn a_tgi_has_no_requests_before_it_counts_one() {
    let described = "# TYPE tgi_request_max_new_tokens histogram\n\
        # TYPE tgi_batch_current_max_tokens gauge\n";
    let every =
        [WaitingRequests, RunningRequests, InFlightRequests, RequestRate, GenerationTokenRate];
    for one in every {
        assert_eq!(signal(Engine::Tgi, one, described), ZERO, "{one:?}");
        let warm = format!("{described}tgi_batch_current_max_tokens 16000\n");
        assert_eq!(signal(Engine::Tgi, one, &warm), ZERO, "{one:?}");
        for page in ["", "# nothing\n", "up 1\n", "tgi_request_count 1\n"] {
            assert_eq!(signal(Engine::Tgi, one, page), Value::Absent, "{one:?} on {page:?}");
        }
    }
    // The queue is there before the batch, which is not empty then.
    let first = "tgi_request_count 1\ntgi_queue_size 0\n";
    assert_eq!(signal(Engine::Tgi, WaitingRequests, first), ZERO);
    assert_eq!(signal(Engine::Tgi, InFlightRequests, first), Value::Absent);
}

#[test]
fn a_worker_and_a_frontend_of_dynamo_have_no_requests_before_their_first_one() {
    let worker = |requests: u32, in_flight: u32| {
        format!(
            "dynamo_component_requests_total{{dynamo_endpoint=\"generate\"}} {requests}\n\
             dynamo_component_requests_total{{dynamo_endpoint=\"other\"}} 9\n\
             dynamo_component_inflight_requests{{dynamo_endpoint=\"generate\"}} {in_flight}\n"
        )
    };
    for gauge in [WaitingRequests, RunningRequests, KVCacheUsage] {
        assert_eq!(signal(Engine::Dynamo, gauge, &worker(0, 0)), ZERO, "{gauge:?}");
        assert_eq!(signal(Engine::Dynamo, gauge, &worker(3, 0)), Value::Absent, "{gauge:?}");
        assert_eq!(signal(Engine::Dynamo, gauge, &worker(0, 1)), Value::Absent, "{gauge:?}");
    }
    let frontend = "dynamo_frontend_event_loop_stall_total 0\n\
        dynamo_request_plane_inflight_requests 0\n";
    assert_eq!(signal(Engine::Dynamo, WaitingRequests, frontend), ZERO);
    assert_eq!(signal(Engine::Dynamo, InFlightRequests, frontend), ZERO);
    // A frontend never has the gauges of a worker.
    assert_eq!(signal(Engine::Dynamo, KVCacheUsage, frontend), Value::Absent);
    let served = format!("{frontend}dynamo_frontend_inflight_requests 0\n");
    assert_eq!(signal(Engine::Dynamo, WaitingRequests, &served), Value::Absent);
    assert_eq!(
        signal(Engine::Dynamo, WaitingRequests, "dynamo_request_plane_inflight_requests 0\n"),
        Value::Absent
    );
}

#[test]
fn other_engines_and_percentiles_have_no_rule() {
    let recipe = |engine: Engine, signal| engine.profile().recipe(signal).unwrap();
    for engine in [Engine::Sglang, Engine::TensorRtLlm, Engine::LmDeploy] {
        assert_eq!(recipe(engine, WaitingRequests).absence(), &Absence::Unknown, "{engine:?}");
    }
    assert_eq!(recipe(Engine::Vllm, TimeToFirstToken).absence(), &Absence::Unknown);
}

#[test]
fn an_absent_series_is_zero_on_a_page_that_has_anything() {
    let label = [("path".to_owned(), "/v1/completions".to_owned())];
    let series = |kind| Recipe::series(kind, "requests", label.clone());
    for kind in [Kind::Gauge, Kind::Counter] {
        let zero = series(kind).with_absence(Absence::Zero);
        for (page, expected) in [
            ("up 1\n", ZERO),
            ("# TYPE other gauge\n", ZERO),
            ("requests{path=\"/liveness\"} 3\n", ZERO),
            ("requests{path=\"/v1/completions\"} 3\n", Value::Number(3.0)),
            ("requests{path=\"/v1/completions\"} NaN\n", Value::Absent),
            ("requests{path=\"/v1/completions\"} x\n", Value::Absent),
            ("", Value::Absent),
            ("\n\n", Value::Absent),
            ("<html>\n", Value::Absent),
            ("{\"status\": 404}\n", Value::Absent),
            ("up 1\nother 1", Value::Absent),
        ] {
            assert_eq!(value_of(zero.clone(), page), expected, "{page:?}");
        }
        assert_eq!(value_of(series(kind), "up 1\n"), Value::Absent);
    }
}

#[test]
fn a_prometheus_server_proves_it_by_a_counter_at_zero_only() {
    let recipe = |engine: Engine| engine.profile().recipe(WaitingRequests).unwrap();
    let families: Vec<String> = recipe(Engine::Vllm).families().collect();
    let proofs = ["vllm:prompt_tokens_total", "vllm:num_requests_running"];
    assert!(proofs.iter().all(|proof| families.iter().any(|family| family == proof)));
    let collect = |recipe: Recipe, series: &[(&'static str, f64)]| {
        let mut out = Vec::new();
        let series = series.iter().map(|(name, value)| (*name, NoLabels, *value));
        let extractor = Extractor::new(&[recipe]);
        extractor.collect(series, &mut Scratch::default(), &mut out);
        out.pop().unwrap().value
    };
    let tokens = |tokens| [("vllm:prompt_tokens_total", tokens)];
    assert_eq!(collect(recipe(Engine::Vllm), &tokens(0.0)), ZERO);
    assert_eq!(collect(recipe(Engine::Vllm), &tokens(5.0)), Value::Absent);
    assert_eq!(
        collect(recipe(Engine::Tgi), &[("tgi_batch_current_max_tokens", 1.0)]),
        Value::Absent
    );
    let zero = Recipe::series(Kind::Gauge, "queue", []).with_absence(Absence::Zero);
    assert_eq!(collect(zero, &[("other", 1.0)]), Value::Absent);
}

#[derive(Clone, Copy)]
struct NoLabels;

impl llm_autoscaler_engines::exposition::LabelSet for NoLabels {
    fn has(&self, _: &str, value: &str) -> bool {
        value.is_empty()
    }

    fn number(&self, _: &str) -> Option<f64> {
        None
    }

    fn for_each(&self, _: &mut dyn FnMut(&[u8], u64)) {}
}
