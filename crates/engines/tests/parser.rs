//! What the reader makes of damaged pages, beside what Prometheus's own parsers made of them: cases that
//! `tests/parser/run.sh cases` has recorded, so that nothing of theirs is needed here.

// Recording is the example's part.
#[allow(dead_code)]
#[path = "../examples/parser/cases.rs"]
mod cases;
#[allow(dead_code)]
#[path = "../examples/parser/compare.rs"]
mod compare;
#[allow(dead_code)]
#[path = "../examples/parser/lines.rs"]
mod lines;
#[path = "../examples/parser/model.rs"]
mod model;

#[test]
fn recorded_pages_are_read_as_prometheus_reads_them() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parser/cases/damaged.jsonl");
    let text = std::fs::read_to_string(path).expect(path);
    let problems = cases::check(&text).expect(path);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(text.lines().count() > 200, "{path} is short");
}
