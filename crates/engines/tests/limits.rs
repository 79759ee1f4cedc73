//! Pages and responses that are made to take long, or much memory: the work grows with their
//! length, and not with its square.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use llm_autoscaler_engines::{
    Kind, Measure, Recipe,
    exposition::{Extract, Extractor, NonNumber, PageError, Scratch, Value},
    likely_gauges,
    prometheus::{PodLabels, PodReading, QueryData, QueryResponse, ResponseError, group_by_pod},
};

/// Each of these took minutes or hours, and takes less than a second.
const AT_MOST: Duration = Duration::from_secs(10);

/// Fails if the work takes long.
#[expect(clippy::disallowed_methods, reason = "the test is about time")]
fn soon<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = work();
    let took = began.elapsed();
    assert!(took < AT_MOST, "{what} takes {took:?}");
    result
}

fn read(recipes: &[Recipe], page: &str) -> (Vec<Extract>, Result<(), PageError>) {
    let mut out = Vec::new();
    let result = Extractor::new(recipes).read(page.as_bytes(), &mut Scratch::default(), &mut out);
    (out, result.map(|_| ()))
}

#[test]
fn a_series_has_at_most_64_labels() {
    let line = |labels: usize| {
        let labels: Vec<String> = (0..labels).map(|label| format!("l{label}=\"\"")).collect();
        format!("a{{{}}} 1\nb 2\n", labels.join(","))
    };
    let recipes = [Recipe::series(Kind::Gauge, "a", []), Recipe::series(Kind::Gauge, "b", [])];
    for (labels, expected) in [(64, Value::Number(1.0)), (65, Value::Absent)] {
        let (found, result) = read(&recipes, &line(labels));
        assert_eq!(found[0].value, expected, "{labels} labels");
        assert_eq!(found[1].value, Value::Number(2.0));
        assert_eq!(result.is_err(), labels > 64);
    }
    let (found, result) = soon("a line of 400,000 labels", || read(&recipes, &line(400_000)));
    assert_eq!(found[0].value, Value::Absent);
    assert!(result.unwrap_err().to_string().contains("it has more than 64 labels"));
    // An unwanted line is read as well if it begins with a brace.
    let line = line(400_000).replacen("a{", "{\"other\",", 1);
    assert!(soon("another line", || read(&recipes, &line)).1.is_ok());
}

#[test]
fn entries_that_are_kept_apart_have_a_limit() {
    let mut page = String::new();
    for le in 0..200_000 {
        let _ = writeln!(page, "t_bucket{{le=\"{le}\"}} 1");
    }
    // Each selects all series, and is another one.
    let selector =
        |label: usize| Recipe::series(Kind::Histogram, "t", [(format!("l{label}"), String::new())]);
    let recipes: Vec<Recipe> = (0..16).map(selector).collect();
    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    Extractor::new(&recipes).read(page.as_bytes(), &mut scratch, &mut out).unwrap();
    for found in &out {
        assert_eq!(found.value, Value::Absent);
        assert_eq!(found.not_finite.map(|found| found.value), Some(NonNumber::ManySeries));
    }
    assert!(scratch.memory() > 1 << 20, "it is not kept");
    let small = "t_bucket{le=\"1\"} 1\nt_bucket{le=\"+Inf\"} 1\n";
    Extractor::new(&recipes).read(small.as_bytes(), &mut scratch, &mut out).unwrap();
    assert!(out.iter().all(|found| matches!(found.value, Value::Buckets(_))));
}

#[test]
fn gauges_that_may_tell_the_load_are_found_in_one_pass() {
    let lines: Vec<String> = (0..60_000).map(|number| format!("active{number} 1\n")).collect();
    let page = lines.concat();
    let found = soon("a page of 60,000 gauges", || likely_gauges(page.as_bytes()));
    assert_eq!((found.len(), found[7].name.as_str()), (60_000, "active7"));
    let long = format!("active{} 1\n", "x".repeat(1000));
    assert_eq!(likely_gauges(long.as_bytes()), []);
}

fn response(result: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{result}]}}}}"#)
}

/// Returns the reading of a gauge `q` of the only pod of a response.
fn reading(result: &str, recipe: Recipe) -> Option<PodReading> {
    let response = QueryResponse::parse(response(result).as_bytes()).unwrap();
    let QueryData::Series(series) = response.data else { panic!("no series") };
    let labels =
        PodLabels { namespace: "namespace".to_owned(), pod: "pod".to_owned(), replicas: [].into() };
    let mut pods = group_by_pod(series, &labels);
    assert_eq!(pods.len(), 1);
    let pod = pods.remove(&("n".into(), "p".into())).unwrap();
    let measure = Measure { recipe, window: Duration::from_secs(30) };
    soon("a reading", || pod.reading(&measure, Duration::from_mins(1), &mut Scratch::default()))
}

fn series(name: &str, labels: &str, samples: &str) -> String {
    format!(r#"{{"metric":{{"__name__":"{name}","namespace":"n","pod":"p"{labels}}},{samples}}}"#)
}

#[test]
fn series_without_a_common_time_take_no_longer() {
    let one = |at: usize| {
        let label = format!(r#","l":"{at}""#);
        series("q", &label, &format!(r#""values":[[{at},"1"]]"#))
    };
    let all: Vec<String> = (0..50_000).map(one).collect();
    assert!(reading(&all.join(","), Recipe::series(Kind::Gauge, "q", [])).is_some());
    // One has many samples, the latest of which are far apart.
    let mut long: Vec<String> = (0..200_000).map(|at| format!(r#"[{at},"1"]"#)).collect();
    long.extend((1..6).map(|at| format!(r#"[{},"1"]"#, 200_000 * (at + 1))));
    let long = series("q", "", &format!(r#""values":[{}]"#, long.join(",")));
    let early = |at: usize| {
        let label = format!(r#","l":"{at}""#);
        series("q", &label, &format!(r#""values":[[{at}.5,"1"]]"#))
    };
    let all: Vec<String> = (0..20_000).map(early).chain([long]).collect();
    assert!(reading(&all.join(","), Recipe::series(Kind::Gauge, "q", [])).is_some());
}

#[test]
fn buckets_of_native_histograms_take_no_longer_and_are_merged() {
    let narrow = (1..20_000).map(|le| format!(r#"[0,"{le}","{}","1"]"#, le + 1));
    let wide = (0..20_000).map(|_| r#"[0,"0.5","1e9","1"]"#.to_owned());
    for (buckets, bounds) in
        [(narrow.clone().collect::<Vec<_>>(), 400..=500), (narrow.chain(wide).collect(), 2..=3)]
    {
        let histogram = |at: u32, count: u32| {
            let buckets = buckets.join(",");
            format!(r#"[{at},{{"count":"{count}","sum":"1","buckets":[{buckets}]}}]"#)
        };
        let samples = format!(r#""histograms":[{},{}]"#, histogram(10, 0), histogram(15, 40_000));
        let found = reading(&series("t", "", &samples), Recipe::series(Kind::Histogram, "t", []));
        let Value::Buckets(found) = found.unwrap().value else { panic!("no buckets") };
        assert!(bounds.contains(&found.bounds().len()), "{}", found.bounds().len());
    }
}

#[test]
fn a_response_takes_no_more_memory_than_it_may() {
    let labels = |count: usize| {
        let labels: Vec<String> = (0..count).map(|label| format!(r#","l{label}":"""#)).collect();
        response(&series("q", &labels.concat(), r#""value":[1,"1"]"#))
    };
    // The namespace and the pod are labels too.
    assert!(QueryResponse::parse(labels(62).as_bytes()).is_ok());
    let error = QueryResponse::parse(labels(63).as_bytes()).unwrap_err();
    assert_eq!(error, ResponseError::ManyLabels);

    // A list of numbers would take eight times as much as its text.
    let numbers = response("0,".repeat(1000).trim_end_matches(','));
    let error = QueryResponse::parse(numbers.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("integer `0`, expected"), "{error}");

    let warnings = vec!["\"w\""; 1000].join(",");
    let body = response("").replacen('{', &format!("{{\"warnings\":[{warnings}],"), 1);
    assert_eq!(QueryResponse::parse(body.as_bytes()).unwrap().warnings.len(), 10);
}
