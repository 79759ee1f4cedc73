//! Compares the reader with Prometheus's own parsers on damaged pages. `tests/parser/run.sh cases`
//! has recorded the parsers' answers, so that this test needs no Go.

// The program in `tests/parser` uses the rest of these modules, to record cases.
#[allow(dead_code)]
#[path = "../../../tests/parser/src/cases.rs"]
mod cases;
#[allow(dead_code)]
#[path = "../../../tests/parser/src/compare.rs"]
mod compare;
#[allow(dead_code)]
#[path = "../../../tests/parser/src/lines.rs"]
mod lines;
#[path = "../../../tests/parser/src/model.rs"]
mod model;

#[test]
fn recorded_pages_are_read_as_prometheus_reads_them() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parser/cases/damaged.jsonl");
    let text = std::fs::read_to_string(path).expect(path);
    let problems = cases::check(&text).expect(path);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(text.lines().count() > 200, "{path} is short");
}
