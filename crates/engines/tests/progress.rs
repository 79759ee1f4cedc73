//! The counters by which a wedged engine is found, on pages of engines.
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

#[test]
fn counters_of_progress_are_added_up_as_far_as_they_are_there() {
    let one = "# TYPE vllm:generation_tokens_total counter\nvllm:generation_tokens_total 40211\n";
    let gauges = "vllm:num_requests_waiting 6\n";
    // engine; page; sum
    let table = [
        (Engine::Vllm, page("vllm-0.15.1-busy.txt"), Value::Number(447_670.0)),
        (Engine::Vllm, one.to_owned(), Value::Number(40_211.0)),
        (Engine::Vllm, gauges.to_owned(), Value::Absent),
        (Engine::Dynamo, one.to_owned(), Value::Number(40_211.0)),
        (
            Engine::Sglang,
            page("sglang-0.5.23-dp2-all-schedulers-collector.txt"),
            Value::Number(36_490.0),
        ),
        (Engine::Tgi, page("tgi-3.x-by-hand.txt"), Value::Number(668.0)),
        (Engine::LmDeploy, page("lmdeploy-0.18.0-rank0-collector.txt"), Value::Number(36_328.0)),
    ];
    for (engine, page, expected) in table {
        let recipe = engine.profile().progress_recipe().unwrap();
        let mut found = Vec::new();
        let read =
            Extractor::new(&[recipe]).read(page.as_bytes(), &mut Scratch::default(), &mut found);
        read.unwrap();
        assert_eq!(found[0].value, expected, "{engine:?}");
    }
    assert_eq!(Engine::Custom.profile().progress_recipe(), None);
}
