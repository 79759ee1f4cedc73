use llm_autoscaler_engines::{
    Kind, Recipe,
    exposition::{Extract, NonNumber, NotFinite},
};

use super::*;
use crate::sampling::error::FetchProblem;

const URL: &str = "http://prometheus:9090";

fn lookup(doubt: Option<SampleDoubt>, age: u64, reading: PodReading) -> Lookup {
    let sample = PodSample { reading, age: Duration::from_secs(age), doubt };
    let recipe = Recipe::series(Kind::Gauge, "q", []);
    let measure = Measure { recipe, window: Duration::ZERO };
    lookup_of(sample, &measure, URL, Duration::from_mins(1), || "absent".to_owned())
}

fn reading(value: f64) -> PodReading {
    PodReading { value: Value::Number(value), scrapes: 1, addresses: 1, ..Default::default() }
}

#[test]
fn several_pods_of_one_name_are_no_number() {
    let values = ["eu-1".to_owned(), "us-1".to_owned()];
    let conflict = Some(Conflict { label: "cluster".to_owned(), values });
    let reading = PodReading { conflict, ..reading(40.0) };
    let Lookup::Ambiguous(text) = lookup(None, 1, reading.clone()) else { panic!("a number") };
    let expected = "differ in the label cluster (\"eu-1\", \"us-1\"), and are no number: select";
    assert!(text.starts_with(URL) && text.contains(expected), "{text}");
    assert!(matches!(lookup(None, 61, reading), Lookup::Missing(_)), "too old");
}

#[test]
fn a_marker_of_the_server_is_told_from_a_page_with_nan() {
    let not_finite = NotFinite { term: 0, alternative: 0, value: NonNumber::Nan };
    let extract = Extract { not_finite: Some(not_finite), ..Extract::default() };
    for (is_marked, expected) in [
        (false, "http://prometheus:9090: q is NaN, which is no number".to_owned()),
        (true, format!("http://prometheus:9090: q is NaN, which is no number{MARKER}")),
    ] {
        let reading = PodReading { extract: extract.clone(), is_marked, ..Default::default() };
        let Lookup::Missing(text) = lookup(None, 1, reading) else { panic!("a number") };
        assert_eq!(text, expected);
    }
}

#[test]
fn a_doubt_is_explained() {
    let second = Duration::from_secs(1);
    let timeout = FetchProblem::Timeout(5 * second);
    let failed = FetchError::Request { url: URL.to_owned(), problem: timeout };
    let table = [
        (SampleDoubt::Failed(failed.clone()), &*failed.to_string()),
        (SampleDoubt::Warned("isPartial".to_owned()), "http://prometheus:9090 warns: isPartial"),
        (
            SampleDoubt::Late { age: 25 * second, spacing: Some(5 * second) },
            "its latest sample is 25 s old, and one every 5 s is usual",
        ),
        (SampleDoubt::Late { age: 35 * second, spacing: None }, "is 35 s old: the server"),
        (SampleDoubt::Addresses(2), "at 2 addresses of the pod"),
        (SampleDoubt::Young, "less than half of the metric's window"),
    ];
    for (doubt, expected) in table {
        let Lookup::Sample(sample) = lookup(Some(doubt), 25, reading(0.0)) else {
            panic!("{expected}: it may grow the target still");
        };
        let text = sample.doubt.unwrap();
        assert!(text.contains(expected), "{text}");
    }
}
