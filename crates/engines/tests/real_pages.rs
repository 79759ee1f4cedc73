//! Pages of engines. `tests/fixtures/engines/README.md` lists which ones are real, and how the
//! others were made.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use llm_autoscaler_core::Milli;
use llm_autoscaler_engines::{
    Engine, Kind, Recipe, Signal,
    exposition::{Extract, Extractor, PageSummary, Scratch, Value},
    inspect, recognize,
};

use Signal::{
    DecodeHandoverRequests, GenerationTokenRate, InFlightRequests, InterTokenLatency, KVCacheUsage,
    PreemptionRate, PrefillHandoverRequests, PromptTokenRate, QueueTime, RequestLatency,
    RequestRate, RunningRequests, TimeToFirstToken, WaitingRequests,
};

fn page(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/engines");
    std::fs::read_to_string(folder.join(name)).expect(name)
}

fn pages() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/engines");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap()).filter(|name| name != "README.md");
    names.map(|name| (name.clone(), page(&name))).collect()
}

fn read(recipes: &[Recipe], page: &str) -> (PageSummary, Vec<Extract>) {
    let mut out = Vec::new();
    let summary = Extractor::new(recipes).read(page.as_bytes(), &mut Scratch::default(), &mut out);
    (summary.expect("a real page"), out)
}

/// Returns the thousandths of a number, or the events of a histogram.
fn shown(extract: &Extract) -> Option<i64> {
    match &extract.value {
        Value::Number(number) => Milli::from_f64(*number).map(|milli| milli.0),
        Value::Buckets(buckets) => Some(buckets.events() as i64),
        Value::Absent => None,
    }
}

/// Asserts the signals of an engine on a page: thousandths, or numbers of events.
fn signals(engine: Engine, name: &str, expected: &[(Signal, i64)]) {
    let page = page(name);
    for (signal, expected) in expected {
        let recipe = engine.profile().recipe(*signal).expect("the engine gives it");
        let (_, found) = read(&[recipe], &page);
        assert_eq!(shown(&found[0]), Some(*expected), "{name}: {signal:?}");
    }
    // A signal that is not listed must be absent, so that a test covers the whole page.
    for def in engine.profile().signals {
        if expected.iter().all(|(signal, _)| *signal != def.signal) {
            let recipe = engine.profile().recipe(def.signal).expect("the table has it");
            let (_, found) = read(&[recipe], &page);
            assert_eq!(shown(&found[0]), None, "{name}: {:?} is there too", def.signal);
        }
    }
}

/// A vLLM with two engine processes in these states of sleep.
fn asleep(states: [[u8; 3]; 2]) -> String {
    let names = ["awake", "weights_offloaded", "discard_all"];
    let of_engine = |(engine, values): (usize, [u8; 3])| {
        let line = |(name, value): (&str, u8)| {
            format!(
                "vllm:engine_sleep_state{{engine=\"{engine}\",sleep_state=\"{name}\"}} {value}\n"
            )
        };
        names.into_iter().zip(values).map(line).collect::<String>()
    };
    states.into_iter().enumerate().map(of_engine).collect()
}

#[test]
fn processes_that_are_awake_and_processes_that_sleep_are_counted() {
    let file = |name| page(name);
    // page; awake, asleep
    let table = [
        (file("vllm-0.15.1-idle.txt"), [Some(1000), Some(0)]),
        (file("vllm-0.15.1-dp2-busy.txt"), [Some(2000), Some(0)]),
        (asleep([[0, 1, 0], [0, 0, 1]]), [Some(0), Some(2000)]),
        (asleep([[1, 0, 0], [0, 1, 0]]), [Some(1000), Some(1000)]),
        (asleep([[0, 0, 0], [0, 0, 0]]), [Some(0), Some(0)]),
        (file("sglang-0.5.23-collector.txt"), [None, None]),
    ];
    for engine in [Engine::Vllm, Engine::Dynamo] {
        let recipes = engine.profile().sleep.unwrap().recipes();
        for (page, expected) in &table {
            let (_, found) = read(&recipes, page);
            assert_eq!([shown(&found[0]), shown(&found[1])], *expected, "{page}");
        }
    }
}

#[test]
fn signals_of_vllm() {
    // The server has completed six requests before.
    let idle = [
        (WaitingRequests, 0),
        (RunningRequests, 0),
        (InFlightRequests, 0),
        (KVCacheUsage, 0),
        (RequestRate, 6000),
        (PromptTokenRate, 6_025_000),
        (GenerationTokenRate, 210_000),
        (PreemptionRate, 0),
        (TimeToFirstToken, 6),
        (InterTokenLatency, 204),
        (QueueTime, 6),
        (RequestLatency, 6),
    ];
    signals(Engine::Vllm, "vllm-0.15.1-idle.txt", &idle);
    let busy = [
        (WaitingRequests, 11_000),
        (RunningRequests, 7000),
        (InFlightRequests, 18_000),
        (KVCacheUsage, 678),
        (RequestRate, 275_000),
        (PromptTokenRate, 420_256_000),
        (GenerationTokenRate, 27_414_000),
        (PreemptionRate, 0),
        (TimeToFirstToken, 282),
        (InterTokenLatency, 27_132),
        (QueueTime, 275),
        (RequestLatency, 275),
    ];
    signals(Engine::Vllm, "vllm-0.15.1-busy.txt", &busy);
}

#[test]
fn two_data_parallel_engines_of_vllm_are_one_replica() {
    let table = [
        (WaitingRequests, 16_000),
        (RunningRequests, 15_000),
        (InFlightRequests, 31_000),
        (KVCacheUsage, 461),
        (RequestRate, 254_000),
        (PromptTokenRate, 312_600_000),
        (GenerationTokenRate, 25_472_000),
        (PreemptionRate, 0),
        (TimeToFirstToken, 269),
        (InterTokenLatency, 25_203),
        (QueueTime, 254),
        (RequestLatency, 254),
    ];
    signals(Engine::Vllm, "vllm-0.15.1-dp2-busy.txt", &table);
    let some = |name, expected: [(Signal, i64); 4]| {
        for (signal, expected) in expected {
            let recipe = Engine::Vllm.profile().recipe(signal).unwrap();
            assert_eq!(
                shown(&read(&[recipe], &page(name)).1[0]),
                Some(expected),
                "{name} {signal:?}"
            );
        }
    };
    let two_servers = [
        (WaitingRequests, 17_000),
        (RunningRequests, 16_000),
        (GenerationTokenRate, 14_531_000),
        (TimeToFirstToken, 160),
    ];
    some("vllm-0.15.1-dp2-two-servers-busy.txt", two_servers);
    // The page has the queue by reason as well.
    let newest = [
        (WaitingRequests, 17_000),
        (RunningRequests, 16_000),
        (KVCacheUsage, 563),
        (PreemptionRate, 1000),
    ];
    some("vllm-0.32.0-dp2-logger.txt", newest);
}

#[test]
fn ranks_and_priorities_of_sglang_count_once() {
    let two_engines = [
        (WaitingRequests, 15_000),
        (RunningRequests, 13_000),
        (InFlightRequests, 28_000),
        (KVCacheUsage, 600),
        (RequestRate, 25_000),
        (PromptTokenRate, 33_500_000),
        (GenerationTokenRate, 2_250_000),
        (PreemptionRate, 1000),
        (TimeToFirstToken, 25),
        (InterTokenLatency, 2225),
        (QueueTime, 25),
        (RequestLatency, 25),
        (PrefillHandoverRequests, 0),
        (DecodeHandoverRequests, 0),
    ];
    signals(Engine::Sglang, "sglang-0.5.23-dp2-collector.txt", &two_engines);
    signals(Engine::Sglang, "sglang-0.5.23-dp2-all-schedulers-collector.txt", &two_engines);

    let some = |name, expected: &[(Signal, i64)]| {
        for (signal, expected) in expected {
            let recipe = Engine::Sglang.profile().recipe(*signal).unwrap();
            assert_eq!(
                shown(&read(&[recipe], &page(name)).1[0]),
                Some(*expected),
                "{name} {signal:?}"
            );
        }
    };
    let priorities = [
        (WaitingRequests, 12_000),
        (RunningRequests, 8000),
        (TimeToFirstToken, 13),
        (PromptTokenRate, 19_500_000),
    ];
    some("sglang-0.5.23-priority-collector.txt", &priorities);
    some(
        "sglang-0.5.23-prefill-collector.txt",
        &[(PrefillHandoverRequests, 7000), (RunningRequests, 2000)],
    );
    some(
        "sglang-0.5.23-decode-collector.txt",
        &[(DecodeHandoverRequests, 7000), (KVCacheUsage, 910)],
    );
}

#[test]
fn signals_of_dynamos_workers_and_frontends() {
    let worker = [
        (WaitingRequests, 12_000),
        (RunningRequests, 8000),
        (InFlightRequests, 20_000),
        (KVCacheUsage, 188),
        (RequestRate, 52_000),
        (TimeToFirstToken, 40),
        (InterTokenLatency, 3380),
        (RequestLatency, 32),
    ];
    signals(Engine::Dynamo, "dynamo-1.6.1-mocker-vllm-busy.txt", &worker);
    let frontend = [
        (WaitingRequests, 12_000),
        (InFlightRequests, 20_000),
        (RequestRate, 15_000),
        (PromptTokenRate, 6_405_000),
        (GenerationTokenRate, 365_000),
        (TimeToFirstToken, 23),
        (InterTokenLatency, 285),
        (RequestLatency, 15),
    ];
    signals(Engine::Dynamo, "dynamo-1.6.1-frontend-busy.txt", &frontend);
    let idle = [
        (WaitingRequests, 0),
        (InFlightRequests, 0),
        (RequestRate, 0),
        (TimeToFirstToken, 0),
        (InterTokenLatency, 0),
        (RequestLatency, 0),
    ];
    signals(Engine::Dynamo, "dynamo-1.6.1-frontend-idle.txt", &idle);
}

#[test]
fn signals_of_tensorrt_llm() {
    let table = [
        (WaitingRequests, 12_000),
        (RunningRequests, 8000),
        (InFlightRequests, 20_000),
        (KVCacheUsage, 750),
        (RequestRate, 15_000),
        (PromptTokenRate, 22_500_000),
        (GenerationTokenRate, 1_500_000),
        (TimeToFirstToken, 15),
        (InterTokenLatency, 15),
        (QueueTime, 15),
        (RequestLatency, 15),
    ];
    signals(Engine::TensorRtLlm, "trtllm-050f80d-declared.txt", &table);
}

#[test]
fn signals_of_lmdeploy() {
    let table = [
        (WaitingRequests, 8000),
        (RunningRequests, 8000),
        (InFlightRequests, 16_000),
        (KVCacheUsage, 620),
        (RequestRate, 15_000),
        (PromptTokenRate, 34_500_000),
        (GenerationTokenRate, 1_828_000),
        (TimeToFirstToken, 23),
        (InterTokenLatency, 1805),
        (QueueTime, 15),
        (RequestLatency, 15),
    ];
    signals(Engine::LmDeploy, "lmdeploy-0.18.0-rank0-collector.txt", &table);
}

#[test]
fn signals_of_tgi() {
    let table = [
        (WaitingRequests, 12_000),
        (RunningRequests, 8000),
        (InFlightRequests, 20_000),
        (RequestRate, 20_000),
        (PromptTokenRate, 60_000_000),
        (GenerationTokenRate, 2_000_000),
        (QueueTime, 20),
        (RequestLatency, 20),
    ];
    signals(Engine::Tgi, "tgi-3.x-by-hand.txt", &table);
}

#[test]
fn a_pages_engine_is_recognized() {
    let prefixes = [
        ("vllm-", Engine::Vllm),
        ("sglang-", Engine::Sglang),
        ("dynamo-", Engine::Dynamo),
        ("trtllm-", Engine::TensorRtLlm),
        ("lmdeploy-", Engine::LmDeploy),
        ("tgi-", Engine::Tgi),
        ("max-", Engine::Max),
    ];
    for (name, page) in pages() {
        let expected = prefixes.iter().find(|(prefix, _)| name.starts_with(prefix)).expect(&name).1;
        assert_eq!(recognize(page.as_bytes()), Some(expected), "{name}");
    }
    assert_eq!(recognize(b"process_open_fds 7\n"), None);
}

#[test]
fn every_line_of_every_page_is_parsed() {
    for (name, page) in pages() {
        // Once no family is wanted, once all are.
        let lines: Vec<&str> =
            page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        let mut names: Vec<&str> =
            lines.iter().map(|line| line.split(['{', ' ']).next().unwrap()).collect();
        names.dedup();
        let all: Vec<Recipe> =
            names.into_iter().map(|name| Recipe::series(Kind::Gauge, name, [])).collect();
        for recipes in [&[][..], &all] {
            let (summary, _) = read(recipes, &page);
            assert_eq!(summary.samples, lines.len(), "{name}");
            assert_eq!((summary.skipped_malformed, summary.duplicates), (0, 0), "{name}");
        }
    }
}

#[test]
fn no_page_uses_a_former_name() {
    for (name, page) in pages() {
        let engine = recognize(page.as_bytes()).unwrap();
        for def in engine.profile().signals {
            let (_, found) = read(&[engine.profile().recipe_of(def)], &page);
            let former = found[0]
                .alternative
                .and_then(|(term, alternative)| def.former_name(term, alternative));
            assert_eq!((former, found[0].ambiguous), (None, false), "{name}: {:?}", def.signal);
        }
    }
}

/// The sentences about wedged engines in docs/engines.md name the pages without the counters.
#[test]
fn a_page_has_the_counters_of_progress_or_the_docs_say_why_not() {
    let has_counters = |engine: Engine, page: &str| {
        let recipe = engine.profile().progress_recipe();
        recipe.is_some_and(|recipe| read(&[recipe], page).1[0].value != Value::Absent)
    };
    for (name, expected) in [
        ("vllm-0.15.1-busy.txt", true),
        ("vllm-0.32.0-dp2-idle.txt", true),
        ("sglang-0.5.23-dp2-collector.txt", true),
        // It has had no tokens yet.
        ("sglang-0.5.23-collector.txt", false),
        ("dynamo-1.6.1-frontend-busy.txt", false),
        ("trtllm-050f80d-declared.txt", true),
        ("lmdeploy-0.18.0-rank0-collector.txt", true),
        ("tgi-3.x-by-hand.txt", true),
        ("max-26.7.0-declared.txt", false),
    ] {
        let page = page(name);
        assert_eq!(has_counters(recognize(page.as_bytes()).unwrap(), &page), expected, "{name}");
    }
    let trtllm = "trtllm_generation_tokens_total 5\ntrtllm_request_success_total 1\n";
    assert!(has_counters(Engine::TensorRtLlm, trtllm) && !has_counters(Engine::Dynamo, trtllm));
    for (engine, page) in [
        (Engine::Tgi, "tgi_queue_size 3\ntgi_request_count 3\n"),
        (Engine::Sglang, "sglang:num_running_reqs 3\nsglang:prompt_tokens_total 9\n"),
        (Engine::Custom, "tokens_total 5\n"),
    ] {
        assert!(!has_counters(engine, page), "{engine:?}");
    }
}

#[test]
fn no_page_contradicts_the_kind_of_a_signal_or_has_it_in_another_form() {
    for (name, page) in pages() {
        let engine = recognize(page.as_bytes()).unwrap();
        for def in engine.profile().signals {
            let (_, found) = read(&[engine.profile().recipe_of(def)], &page);
            assert_eq!(found[0].contradiction, None, "{name}: {:?}", def.signal);
        }
        let inspection = inspect(page.as_bytes(), engine).unwrap();
        let flaws = inspection.findings.iter().filter_map(|finding| finding.flaw.as_ref());
        assert_eq!(flaws.collect::<Vec<_>>(), [""; 0], "{name}");
    }
}
