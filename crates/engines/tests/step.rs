//! The series by which the time of an engine's step is learned, on pages of engines.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use llm_autoscaler_engines::{
    Engine,
    exposition::{Extractor, Scratch, Value},
};

fn page(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/engines");
    std::fs::read_to_string(folder.join(name)).expect(name)
}

/// Returns steps, prompt, cached and generated tokens, first tokens, finished requests, the tokens
/// of a KV cache and the engines of a page, and 1 for that of a single API server.
fn read(page: &str) -> Vec<Option<f64>> {
    let it = Engine::Vllm.profile().step.unwrap().recipes();
    let recipes = [
        it.steps,
        it.prompt_tokens,
        it.cached_tokens,
        it.generated_tokens,
        it.first_tokens,
        it.finished,
        it.kv_capacity,
        it.engines,
        it.single_server,
    ];
    let mut found = Vec::new();
    let read = Extractor::new(&recipes).read(page.as_bytes(), &mut Scratch::default(), &mut found);
    read.unwrap();
    let number = |value: &Value| match value {
        Value::Number(number) => Some(*number),
        _ => None,
    };
    assert!(found.iter().all(|extract| extract.contradiction.is_none()), "{found:?}");
    let mut numbers: Vec<_> = found.iter().map(|extract| number(&extract.value)).collect();
    let server = numbers.pop().unwrap();
    numbers.push(server.map(|_| 1.0));
    numbers
}

#[test]
fn the_series_of_a_step_are_on_a_page_of_vllm() {
    let [steps, prompt, cached] = [3_614.0, 420_256.0, 19_840.0].map(Some);
    let [generated, first, finished] = [27_414.0, 282.0, 275.0].map(Some);
    assert_eq!(
        read(&page("vllm-0.15.1-busy.txt")),
        [
            steps,
            prompt,
            cached,
            generated,
            first,
            finished,
            Some(128.0 * 128.0),
            Some(1.0),
            Some(1.0)
        ]
    );
}

#[test]
fn a_cache_without_a_size_has_none_and_engines_are_counted() {
    let found = read(&page("vllm-0.15.1-dp2-two-servers-busy.txt"));
    assert_eq!(found[6..], [None, Some(2.0), None], "num_gpu_blocks is None");
    // The size in tokens counts before that in blocks, and both engines before one.
    let found = read(&page("vllm-0.32.0-dp2-idle.txt"));
    assert_eq!(found[6..], [Some(2.0 * 16_384.0), Some(2.0), None]);
    // One API server before two engines: each step is counted once.
    let found = read(&page("vllm-0.15.1-dp2-busy.txt"));
    assert_eq!(found[0], Some(1_614.0 + 1_612.0));
    assert_eq!(found[6..], [Some(2.0 * 256.0 * 128.0), Some(2.0), Some(1.0)]);
    let of_ray = read("ray_vllm_num_requests_running{engine=\"0\"} 0\n");
    assert_eq!(of_ray[8], Some(1.0));
    let line = "vllm:cache_config_info{block_size=\"x\",num_gpu_blocks=\"8\"} 1.0\n";
    assert_eq!(read(line)[6..], [None, Some(1.0), None], "a size that is no number");
}
