//! Series on a page that are no value: of another type, or not finite.

use llm_autoscaler_engines::{
    Kind, Recipe,
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
