//! Series on a page that are no value: of another type, or not finite.

#![allow(clippy::panic, clippy::unwrap_used)]

use llm_autoscaler_engines::{
    Engine, Kind, Recipe, Signal,
    exposition::{Extract, Extractor, Scratch, Value},
};

fn extract(recipe: &Recipe, page: &str) -> Extract {
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    Extractor::new(std::slice::from_ref(recipe))
        .read(page.as_bytes(), &mut scratch, &mut out)
        .expect(page);
    out.remove(0)
}

#[test]
fn a_type_that_contradicts_the_kind_is_reported() {
    const PAGE: &str = "# TYPE a_seconds histogram\na_seconds_bucket{le=\"1\"} 2\n\
        a_seconds_bucket{le=\"+Inf\"} 3\na_seconds_count 3\na_seconds_sum 4\n\
        # TYPE b_count gauge\nb_count 7\n# TYPE c counter\nc_total 5\nd_total 1\n\
        # TYPE e_total untyped\ne_total 1\n# TYPE f counter\nf 8\n# TYPE g gauge\n";
    let table = [
        (Kind::Gauge, "a_seconds_count", Some("a_seconds_count is the count of a histogram")),
        (Kind::Gauge, "a_seconds_sum", Some("a_seconds_sum is the sum of a histogram")),
        (Kind::Gauge, "a_seconds_bucket", Some("a_seconds_bucket is the bucket of a histogram")),
        (Kind::Counter, "a_seconds_count", None),
        (Kind::Histogram, "a_seconds", None),
        (Kind::Counter, "b_count", Some("b_count is a gauge, and it is read as a counter")),
        (Kind::Gauge, "b_count", None),
        (Kind::Gauge, "c_total", Some("c_total is a counter, and it is read as a gauge")),
        (Kind::Counter, "c_total", None),
        (Kind::Gauge, "d_total", None),
        (Kind::Gauge, "e_total", None),
        (Kind::Gauge, "f", Some("f is a counter")),
        (Kind::Counter, "g", None),
    ];
    for (kind, name, expected) in table {
        let recipe = Recipe::series(kind, name, []);
        let found = extract(&recipe, PAGE).contradiction;
        let text = found.map(|contradiction| contradiction.describe(&recipe));
        match expected {
            None => assert_eq!(text, None, "{name} as {kind:?}"),
            Some(part) => {
                assert!(text.as_ref().is_some_and(|text| text.contains(part)), "{text:?}");
            }
        }
    }
    // The line may come behind the series, and one about the series itself counts first.
    let recipe = Recipe::series(Kind::Gauge, "x_count", []);
    for (page, contradicted) in [
        ("x_count 1\n# TYPE x histogram\n", true),
        ("# TYPE x histogram\n# TYPE x_count gauge\nx_count 1\n", false),
        ("# TYPE x_count gauge\nx_count 1\n# TYPE x summary\n", false),
    ] {
        let found = extract(&recipe, page);
        assert_eq!(found.contradiction.is_some(), contradicted, "{page}");
        assert_eq!(found.value, Value::Number(1.0), "the page's number stays");
    }
}

#[test]
fn a_series_that_is_no_number_is_called_by_its_name() {
    let sglang = |signal| Engine::Sglang.profile().recipe(signal).unwrap();
    let in_flight = |running: &str, waiting: &str| {
        let ranks = "engine_type=\"unified\",tp_rank=\"0\"";
        format!(
            "sglang:fwd_occupancy{{{ranks}}} NaN\nsglang:num_running_reqs{{{ranks}}} {running}\n\
             sglang:num_queue_reqs{{{ranks}}} {waiting}\n"
        )
    };
    let gauge = || Recipe::series(Kind::Gauge, "a", [("x".to_owned(), "1".to_owned())]);
    let ttft = Recipe::series(Kind::Histogram, "t", []);
    // recipe, page, the value, and the text about it
    let table = [
        (sglang(Signal::InFlightRequests), in_flight("3.0", "1.0"), Some(4.0), None),
        (
            sglang(Signal::InFlightRequests),
            in_flight("3.0", "NaN"),
            None,
            Some("sglang:num_queue_reqs is NaN, which is no number"),
        ),
        (
            sglang(Signal::RunningRequests),
            in_flight("+Inf", "1.0"),
            None,
            Some("sglang:num_running_reqs is +Inf, which is no number"),
        ),
        (gauge(), "a{x=\"1\"} 2\na{x=\"2\"} NaN\n".to_owned(), Some(2.0), None),
        (
            gauge(),
            "a{x=\"1\",y=\"1\"} 2\na{x=\"1\",y=\"2\"} -Inf\n".to_owned(),
            None,
            Some("a{x=\"1\"} is -Inf, which is no number"),
        ),
        (
            ttft,
            "t_bucket{le=\"1\"} NaN\nt_bucket{le=\"+Inf\"} 2\n".to_owned(),
            None,
            Some("t_bucket is NaN, which is no number"),
        ),
        (
            Recipe::series(Kind::Histogram, "t", []),
            many_buckets(),
            None,
            Some("t_bucket has more than the 500 buckets that are read"),
        ),
        (
            Recipe::series(Kind::Gauge, "a", []),
            "a 1e308\na{x=\"1\"} 1.7e308\n".to_owned(),
            None,
            None,
        ),
    ];
    for (recipe, page, value, expected) in table {
        let found = extract(&recipe, &page);
        let number = value.map_or(Value::Absent, Value::Number);
        assert_eq!(found.value, number, "{page}");
        let text = found.not_finite.map(|flaw| flaw.describe(&recipe));
        assert_eq!(text.as_deref(), expected, "{page}");
    }
}

/// Returns a page with a histogram of 501 buckets.
fn many_buckets() -> String {
    let line = |le: u32| format!("t_bucket{{le=\"{le}\"}} 1\n");
    (0..500).map(line).chain(["t_bucket{le=\"+Inf\"} 1\n".to_owned()]).collect()
}

#[test]
fn a_rank_that_is_no_number_does_not_spoil_those_that_repeat_it() {
    let repeats = ["tp".to_owned()];
    let gauge = Recipe::series(Kind::Gauge, "a", []).with_repeat_labels(repeats.clone());
    let histogram = Recipe::series(Kind::Histogram, "t", []).with_repeat_labels(repeats);
    let bucket = |le: &str, rank: u8, count: &str| {
        format!("t_bucket{{le=\"{le}\",tp=\"{rank}\"}} {count}\n")
    };
    for other in ["NaN", "+Inf", "-Inf"] {
        for page in [
            format!("a{{tp=\"0\"}} 3\na{{tp=\"1\"}} {other}\n"),
            format!("a{{tp=\"0\"}} {other}\na{{tp=\"1\"}} 3\n"),
        ] {
            let found = extract(&gauge, &page);
            assert_eq!((found.value, found.not_finite), (Value::Number(3.0), None), "{page}");
        }
        // Another data-parallel engine is a part of the sum.
        let part = format!("a{{tp=\"0\"}} 3\na{{dp=\"1\",tp=\"0\"}} {other}\n");
        let found = extract(&gauge, &part);
        assert_eq!((found.value, found.not_finite.is_some()), (Value::Absent, true), "{part}");
        let page = [
            bucket("1", 0, "2"),
            bucket("1", 1, other),
            bucket("+Inf", 0, "3"),
            bucket("+Inf", 1, "3"),
        ];
        let Value::Buckets(found) = extract(&histogram, &page.concat()).value else {
            panic!("{other}")
        };
        assert_eq!(found.counts(), [2.0, 3.0], "{other}");
    }
}
