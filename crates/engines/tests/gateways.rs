//! Pages of gateways. `tests/fixtures/gateways/README.md` lists which ones are real.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use Signal::{
    ArrivalRate, InFlightRequests, InterTokenLatency, KVCacheUsage, RequestLatency, RequestRate,
    RunningRequests, TimeToFirstToken, WaitingRequests,
};
use llm_autoscaler_engines::{
    Buckets, Engine, Gateway, Kind, LabelRule, Program, Recipe, Scale, Selector, Signal,
    exposition::{Extractor, LabelMismatch, Scratch, Value},
    recognize_program,
};

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    std::fs::read_to_string(folder.join(name)).expect(name)
}

fn value(recipe: Recipe, page: &str) -> Value {
    let mut out = Vec::new();
    Extractor::new(&[recipe]).read(page.as_bytes(), &mut Scratch::default(), &mut out).unwrap();
    out.pop().unwrap().value
}

/// Returns the number, or the events of a histogram.
fn number(recipe: Recipe, page: &str) -> Option<f64> {
    match value(recipe, page) {
        Value::Number(number) => Some(number),
        Value::Buckets(buckets) => Some(buckets.events()),
        Value::Absent => None,
    }
}

/// Asserts all signals of a program on a page; those that are not listed must be absent.
fn signals(program: impl Into<Program>, name: &str, expected: &[(Signal, f64)]) {
    let (program, page) = (program.into(), fixture(name));
    for def in program.profile().signals {
        let found = number(program.profile().recipe_of(def), &page);
        let wanted = expected.iter().find(|(signal, _)| *signal == def.signal);
        assert_eq!(found, wanted.map(|(_, number)| *number), "{name}: {:?}", def.signal);
    }
    for (signal, _) in expected {
        assert!(program.signal(*signal).is_some(), "{name}: {signal:?} is in no table");
    }
}

#[test]
fn signals_of_smg() {
    let idle =
        [(WaitingRequests, 0.0), (InFlightRequests, 0.0), (RequestRate, 0.0), (ArrivalRate, 0.0)];
    signals(Gateway::Smg, "gateways/smg-1.13.0-idle.txt", &idle);
    let busy = [
        (WaitingRequests, 12.0),
        (InFlightRequests, 20.0),
        (RequestRate, 17.0),
        (ArrivalRate, 97.0),
        (RequestLatency, 17.0),
    ];
    signals(Gateway::Smg, "gateways/smg-1.13.0-busy.txt", &busy);
    // Workers that have died leave nothing behind, unlike in smg_engine_waiting_requests.
    let gone = [
        (WaitingRequests, 0.0),
        (InFlightRequests, 0.0),
        (RequestRate, 25.0),
        (ArrivalRate, 465.0),
        (RequestLatency, 25.0),
    ];
    signals(Gateway::Smg, "gateways/smg-1.13.0-workers-gone.txt", &gone);
    // A request that was refused is an arrival, and a GET of an unknown path is none.
    let refused =
        [(WaitingRequests, 0.0), (InFlightRequests, 0.0), (RequestRate, 0.0), (ArrivalRate, 1.0)];
    signals(Gateway::Smg, "gateways/smg-1.13.0-no-workers-refused.txt", &refused);
}

#[test]
fn signals_of_the_sglang_router() {
    let idle =
        [(WaitingRequests, 0.0), (InFlightRequests, 0.0), (RequestRate, 0.0), (ArrivalRate, 0.0)];
    signals(Gateway::Smg, "gateways/sglang-router-0.3.2-idle.txt", &idle);
    let busy = [
        (InFlightRequests, 20.0),
        (RequestRate, 16.0),
        (ArrivalRate, 36.0),
        (RequestLatency, 16.0),
    ];
    signals(Gateway::Smg, "gateways/sglang-router-0.3.2-cache-aware-busy.txt", &busy);
    // Twenty requests are in flight, and no series says so: absent is not zero.
    let name = "gateways/sglang-router-0.3.2-round-robin-busy.txt";
    signals(
        Gateway::Smg,
        name,
        &[(RequestRate, 16.0), (ArrivalRate, 36.0), (RequestLatency, 16.0)],
    );
}

#[test]
fn signals_of_vllm_router() {
    let idle = [(InFlightRequests, 0.0), (RequestRate, 0.0), (ArrivalRate, 0.0)];
    signals(Gateway::VllmRouter, "gateways/vllm-router-0.1.17-idle.txt", &idle);
    let busy = [
        (InFlightRequests, 20.0),
        (RequestRate, 16.0),
        (ArrivalRate, 36.0),
        (RequestLatency, 16.0),
    ];
    signals(Gateway::VllmRouter, "gateways/vllm-router-0.1.17-busy.txt", &busy);
    let arrivals =
        |page: &str| number(Gateway::VllmRouter.profile().table.recipe(ArrivalRate).unwrap(), page);
    // Two requests without a worker are ten errors, and a wrong path is no request.
    let refused = "vllm_router_active_workers 0\n\
        vllm_router_request_errors_total{route=\"/v1/completions\",error_type=\"no_available_workers\"} 10\n\
        vllm_router_request_errors_total{route=\"/metrics\",error_type=\"not_found\"} 7\n";
    assert_eq!(arrivals(refused), Some(2.0));
    assert_eq!(arrivals("up 1\n"), None, "a page of another program is no idle router");
}

#[test]
fn signals_of_litellm_and_ray_serve() {
    let busy = [(InFlightRequests, 20.0), (ArrivalRate, 53.0), (RequestLatency, 50.0)];
    signals(Gateway::LiteLlm, "gateways/litellm-1.110.2-by-hand.txt", &busy);
    let in_flight = Gateway::LiteLlm.profile().table.recipe(InFlightRequests).unwrap();
    for (page, expected) in [
        ("litellm_in_flight_requests 1\n", Some(0.0)),
        ("litellm_in_flight_requests 0\n", Some(0.0)),
        ("litellm_in_flight_requests NaN\n", None),
        ("litellm_requests 1\n", None),
    ] {
        assert_eq!(number(in_flight.clone(), page), expected, "{page}");
    }
    let name = "gateways/ray-serve-2.60.0-by-hand.txt";
    let busy = [
        (WaitingRequests, 16.0),
        (RunningRequests, 4.0),
        (InFlightRequests, 20.0),
        (RequestLatency, 60.0),
    ];
    signals(Gateway::RayServe, name, &busy);
    let of_vllm = Engine::Vllm.profile().recipe(InFlightRequests).unwrap();
    assert_eq!(number(of_vllm, &fixture(name)), Some(5.0), "the engine's own, by Ray's names");
    let in_flight = Gateway::RayServe.profile().table.recipe(InFlightRequests).unwrap();
    for (page, expected) in [
        // The gauge disappears when it has been 0 for a while.
        ("ray_serve_deployment_queued_queries 0\n", Some(0.0)),
        ("ray_serve_deployment_queued_queries 2\n", None),
        ("ray_node_cpu_utilization 2\n", None),
    ] {
        assert_eq!(number(in_flight.clone(), page), expected, "{page}");
    }
}

#[test]
fn signals_of_endpoint_pickers() {
    signals(Gateway::EndpointPicker, "gateways/gaie-epp-1.5.0-idle.txt", &[]);
    let busy = [
        (WaitingRequests, 5.0),
        (RunningRequests, 8.0),
        (InFlightRequests, 13.0),
        (ArrivalRate, 0.0),
    ];
    signals(Gateway::EndpointPicker, "gateways/gaie-epp-1.5.0-busy.txt", &busy);
    let busy = [
        (WaitingRequests, 7.0),
        (RunningRequests, 6.0),
        (InFlightRequests, 13.0),
        (ArrivalRate, 42.0),
    ];
    signals(Gateway::EndpointPicker, "gateways/llm-d-by-hand.txt", &busy);
    let in_flight = Gateway::EndpointPicker.profile().table.recipe(InFlightRequests).unwrap();
    for (page, expected) in [
        ("inference_pool_ready_pods 0\n", Some(0.0)),
        // The first request is held.
        ("inference_extension_flow_control_queue_size 1\n", Some(1.0)),
        ("llm_d_epp_flow_control_queue_size 1\n", Some(1.0)),
        // Without flow control there is no queue.
        ("inference_objective_running_requests 3\n", Some(3.0)),
        (
            "inference_objective_running_requests 3\ninference_objective_request_total 9\n",
            Some(3.0),
        ),
        // Earlier and later names may hide requests.
        ("inference_model_request_total 3\ninference_pool_ready_pods 1\n", None),
        ("inference_objective_request_total 3\n", None),
    ] {
        assert_eq!(number(in_flight.clone(), page), expected, "{page}");
    }
}

#[test]
fn max_has_milliseconds_and_blocks() {
    let name = "engines/max-26.7.0-declared.txt";
    let page = fixture(name);
    let recipe = |signal| Engine::Max.profile().recipe(signal).unwrap();
    assert_eq!(number(recipe(WaitingRequests), &page), Some(6.0));
    assert_eq!(number(recipe(InFlightRequests), &page), Some(14.0), "the queue is part of it");
    assert_eq!(number(recipe(KVCacheUsage), &page), Some(0.25));
    let bounds = |signal| match value(recipe(signal), &page) {
        Value::Buckets(buckets) => buckets.bounds().to_vec(),
        other => panic!("{other:?}"),
    };
    assert_eq!(bounds(TimeToFirstToken), [0.5, 2.5, f64::INFINITY]);
    assert_eq!(bounds(InterTokenLatency), [0.02, 0.05, f64::INFINITY]);
    let median = match value(recipe(TimeToFirstToken), &page) {
        Value::Buckets(buckets) => Buckets::quantile(&buckets, 0.5),
        other => panic!("{other:?}"),
    };
    assert_eq!(median, Some(1.0));
    for (used, expected) in [("0\n", Some(0.0)), ("", None), ("0\nx 1\n", Some(0.0))] {
        let total = "maxserve_cache_num_total_blocks 10\n";
        let used = if used.is_empty() {
            String::new()
        } else {
            format!("maxserve_cache_num_used_blocks {used}")
        };
        assert_eq!(number(recipe(KVCacheUsage), &format!("{total}{used}")), expected);
    }
    for total in ["", "maxserve_cache_num_total_blocks 0\n"] {
        let page = format!("{total}maxserve_cache_num_used_blocks 0\n");
        assert_eq!(number(recipe(KVCacheUsage), &page), None, "a share of nothing");
    }
    assert_eq!(number(recipe(InFlightRequests), "maxserve_other 1\n"), Some(0.0));
    assert_eq!(number(recipe(InFlightRequests), "maxserve_request_count_total 1\n"), None);
}

#[test]
fn programs_are_recognized_by_their_pages() {
    for (name, program) in [
        ("gateways/smg-1.13.0-idle.txt", Gateway::Smg),
        ("gateways/sglang-router-0.3.2-idle.txt", Gateway::Smg),
        ("gateways/vllm-router-0.1.17-busy.txt", Gateway::VllmRouter),
        ("gateways/litellm-1.110.2-by-hand.txt", Gateway::LiteLlm),
        ("gateways/ray-serve-2.60.0-by-hand.txt", Gateway::RayServe),
        ("gateways/gaie-epp-1.5.0-busy.txt", Gateway::EndpointPicker),
        ("gateways/llm-d-by-hand.txt", Gateway::EndpointPicker),
    ] {
        let found = recognize_program(fixture(name).as_bytes());
        assert_eq!(found, Some(Program::Gateway(program)), "{name}");
    }
    let max = fixture("engines/max-26.7.0-declared.txt");
    assert_eq!(recognize_program(max.as_bytes()), Some(Program::Engine(Engine::Max)));
}

#[test]
fn labels_are_selected_by_lists_of_values() {
    let page = "q{m=\"a\",w=\"1\"} 1\nq{m=\"b\"} 2\nq{m=\"c\"} 4\nq 8\n";
    let rule = |values: &[&str], is_in| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        let rule = LabelRule { label: "m".to_owned(), values, is_in };
        Recipe::selected(Kind::Gauge, Selector::new("q", []).with_rules(vec![rule]))
    };
    for (values, is_in, expected) in [
        (&["a", "c"][..], true, Some(5.0)),
        (&["a", "c"], false, Some(10.0)),
        (&["", "b"], true, Some(10.0)),
        // Any value, and none.
        (&[""], false, Some(7.0)),
        (&[""], true, Some(8.0)),
        (&["d"], true, None),
    ] {
        assert_eq!(number(rule(values, is_in), page), expected, "{values:?} {is_in}");
    }
    let mismatch = LabelMismatch::find(page.as_bytes(), &rule(&["d", "e"], true)).unwrap();
    assert_eq!(mismatch.wanted, "m in (\"d\", \"e\")");
    assert_eq!(mismatch.found, ["m=\"a\"", "m=\"b\"", "m=\"c\""]);
    assert_eq!(LabelMismatch::find(page.as_bytes(), &rule(&["d"], false)), None);
    assert_eq!(Selector::new("q", []).scale, Scale::UNIT);
}
