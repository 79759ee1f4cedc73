//! Series that are absent before an engine's first request, and what they count as.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use Signal::{
    GenerationTokenRate, InFlightRequests, InterTokenLatency, KVCacheUsage, QueueTime,
    RequestLatency, RequestRate, RunningRequests, TimeToFirstToken, WaitingRequests,
};
use llm_autoscaler_engines::{
    Absence, Buckets, Engine, Kind, Recipe, Signal, Track,
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
fn a_percentile_of_an_engine_without_requests_has_no_events() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/engines");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let frontend = read("dynamo-1.6.1-frontend-idle.txt");
    let no_events = Value::Buckets(Buckets::default());
    for latency in [TimeToFirstToken, InterTokenLatency, RequestLatency] {
        assert_eq!(signal(Engine::Dynamo, latency, &frontend), no_events, "{latency:?}");
        let served = format!("{frontend}dynamo_frontend_inflight_requests 0\n");
        assert_eq!(signal(Engine::Dynamo, latency, &served), Value::Absent, "{latency:?}");
    }
    let endpoint = "{dynamo_endpoint=\"generate\"}";
    let worker = |requests| {
        format!(
            "dynamo_component_requests_total{endpoint} {requests}\n\
             dynamo_component_inflight_requests{endpoint} 0\n"
        )
    };
    for latency in [TimeToFirstToken, InterTokenLatency] {
        assert_eq!(signal(Engine::Dynamo, latency, &worker(0)), no_events, "{latency:?}");
        assert_eq!(signal(Engine::Dynamo, latency, &worker(1)), Value::Absent, "{latency:?}");
    }
    // A worker has this one from the start.
    assert_eq!(signal(Engine::Dynamo, RequestLatency, &worker(0)), Value::Absent);
    let described = "# TYPE tgi_request_duration histogram\n";
    for latency in [QueueTime, RequestLatency] {
        assert_eq!(signal(Engine::Tgi, latency, described), no_events, "{latency:?}");
        for page in ["", "up 1\n", "tgi_request_count 1\n"] {
            assert_eq!(signal(Engine::Tgi, latency, page), Value::Absent, "{latency:?}: {page}");
        }
    }
    // Half a histogram is no histogram, and not empty.
    let half = format!("{described}tgi_request_duration_bucket{{le=\"1\"}} 0\n");
    assert_eq!(signal(Engine::Tgi, RequestLatency, &half), Value::Absent);
    // A vLLM has its histograms from the start.
    let fresh = read("vllm-0.32.0-dp2-idle.txt");
    let Value::Buckets(buckets) = signal(Engine::Vllm, TimeToFirstToken, &fresh) else { panic!() };
    assert!(buckets.events() == 0.0 && !buckets.bounds().is_empty());
}

#[test]
fn the_events_of_the_first_requests_count_in_a_window_that_began_without_any() {
    let seconds = std::time::Duration::from_secs;
    let mut track = Track::new(Kind::Histogram, seconds(60), seconds(15));
    let none = Value::Buckets(Buckets::default());
    let some =
        |count| Value::Buckets(Buckets::new([(1.0, count), (f64::INFINITY, count)]).unwrap());
    track.push(seconds(0), &none);
    assert!(track.is_pending());
    track.push(seconds(40), &none);
    assert_eq!((track.value(), track.is_young()), (none.clone(), false));
    track.push(seconds(42), &some(12.0));
    assert_eq!((track.value(), track.is_young()), (some(12.0), false), "the window goes on");
    track.push(seconds(44), &some(15.0));
    assert_eq!(track.value(), some(15.0));
    // The process has started again, and has no events yet.
    track.push(seconds(46), &none);
    assert_eq!((track.value(), track.is_young()), (none, true));
    track.push(seconds(48), &some(3.0));
    assert_eq!(track.value(), some(3.0));
}

#[test]
fn engines_whose_pages_prove_nothing_have_no_rule() {
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
