//! The histograms of lengths on real pages.

use std::{fs, path::Path};

use llm_autoscaler_engines::{
    Engine,
    exposition::{Extractor, Scratch, Value},
};

#[test]
fn real_pages_have_the_lengths_of_prompts_and_answers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/engines");
    for (engine, page) in [
        (Engine::Vllm, "vllm-0.15.1-busy.txt"),
        (Engine::Vllm, "vllm-0.32.0-dp2-logger.txt"),
        (Engine::Sglang, "sglang-0.5.23-collector.txt"),
        (Engine::LmDeploy, "lmdeploy-0.18.0-rank0-collector.txt"),
        (Engine::Tgi, "tgi-3.x-by-hand.txt"),
        (Engine::Dynamo, "dynamo-1.6.1-frontend-busy.txt"),
    ] {
        let recipes = engine.profile().length_recipes().unwrap();
        let text = fs::read(folder.join(page)).unwrap();
        let mut out = Vec::new();
        Extractor::new(&recipes).read(&text, &mut Scratch::default(), &mut out).unwrap();
        for (recipe, extract) in recipes.iter().zip(&out) {
            let Value::Buckets(buckets) = &extract.value else {
                panic!("{page}: no {}", recipe.series_name())
            };
            assert!(buckets.events() > 0.0, "{page}: {} is empty", recipe.series_name());
        }
    }
}
