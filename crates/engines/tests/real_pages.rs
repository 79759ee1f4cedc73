//! Pages of real engines, as they came over the wire; where from: `tests/fixtures/engines/README.md`.

use llm_autoscaler_core::Milli;
use llm_autoscaler_engines::{
    Engine, Recipe, SignalDef,
    exposition::{Extractor, PageSummary},
};

const VLLM_BUSY: &str = include_str!("../../../tests/fixtures/engines/vllm-0.15.1-busy.txt");
const VLLM_IDLE: &str = include_str!("../../../tests/fixtures/engines/vllm-0.15.1-idle.txt");
const SGLANG: &str = include_str!("../../../tests/fixtures/engines/sglang-0.5.23-collector.txt");
const DYNAMO_FRONTEND: &str = include_str!("../../../tests/fixtures/engines/dynamo-1.6.1-frontend-busy.txt");
const DYNAMO_WORKER: &str = include_str!("../../../tests/fixtures/engines/dynamo-1.6.1-mocker-vllm-busy.txt");

fn read(recipes: &[Recipe], page: &str) -> (PageSummary, Vec<Option<i64>>) {
    let mut out = Vec::new();
    let summary = Extractor::new(recipes).read(page.as_bytes(), &mut out).expect("a real page");
    (summary, out.into_iter().map(|value| value.map(|Milli(milli)| milli)).collect())
}

#[test]
fn vllm_gives_all_its_signals() {
    let recipes: Vec<Recipe> = Engine::Vllm.profile().signals.iter().map(SignalDef::recipe).collect();
    // waiting 11, running 7, both, 0.6771653543307087 of the KV cache
    let table = [(VLLM_BUSY, [11_000, 7000, 18_000, 678]), (VLLM_IDLE, [0, 0, 0, 0])];
    for (page, expected) in table {
        let (_, values) = read(&recipes, page);
        assert_eq!(values, expected.map(Some));
    }
}

#[test]
fn every_line_is_understood() {
    for page in [VLLM_BUSY, VLLM_IDLE, SGLANG, DYNAMO_FRONTEND, DYNAMO_WORKER] {
        // Once with no family wanted, once with all.
        let lines: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        let mut names: Vec<&str> = lines.iter().map(|line| line.split(['{', ' ']).next().unwrap()).collect();
        names.dedup();
        let all: Vec<Recipe> = names.into_iter().map(|name| Recipe::series(name, [])).collect();
        for recipes in [&[][..], &all] {
            let (summary, _) = read(recipes, page);
            assert_eq!(summary.samples, lines.len());
            assert_eq!((summary.skipped_malformed, summary.duplicates), (0, 0));
        }
    }
}

#[test]
fn series_of_other_engines_are_found_by_name() {
    let one = |page, name: &str, labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        read(&[Recipe::series(name, labels)], page).1[0]
    };
    assert_eq!(one(SGLANG, "sglang:num_queue_reqs", &[]), Some(12_000));
    assert_eq!(
        one(SGLANG, "sglang:token_usage", &[("model_name", "qwen3-32b"), ("tp_rank", "0")]),
        Some(780)
    );
    assert_eq!(one(SGLANG, "sglang:token_usage", &[("model_name", "other")]), None);
}
