//! Tables of pages, and of what the reader finds on them.

#![allow(clippy::panic)]

use llm_autoscaler_core::Milli;
use llm_autoscaler_engines::{
    Buckets, Engine, Kind, Recipe, Signal,
    exposition::{Extract, Extractor, PageError, PageSummary, Scratch, Value},
};

type Outcome = (Result<PageSummary, PageError>, Vec<Option<Milli>>);

fn read(recipes: &[Recipe], page: impl AsRef<[u8]>) -> Outcome {
    let (result, out) = extract(recipes, page);
    (result, out.iter().map(milli).collect())
}

fn extract(
    recipes: &[Recipe],
    page: impl AsRef<[u8]>,
) -> (Result<PageSummary, PageError>, Vec<Extract>) {
    let mut out = Vec::new();
    (Extractor::new(recipes).read(page.as_ref(), &mut Scratch::default(), &mut out), out)
}

fn milli(extract: &Extract) -> Option<Milli> {
    match extract.value {
        Value::Number(number) => Milli::from_f64(number),
        Value::Absent => None,
        Value::Buckets(_) => panic!("buckets"),
    }
}

fn gauge(name: impl Into<String>, labels: impl IntoIterator<Item = (String, String)>) -> Recipe {
    Recipe::series(Kind::Gauge, name, labels)
}

fn labels(labels: &[(&str, &str)]) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Returns the thousandths of `recipe` on a page without errors.
fn value(recipe: Recipe, page: &str) -> Option<i64> {
    let (result, out) = read(&[recipe], page);
    result.expect(page);
    out[0].map(|milli| milli.0)
}

fn signal(signal: Signal) -> Recipe {
    Engine::Vllm.profile().recipe(signal).expect("vLLM reports it")
}

#[test]
fn every_spelling_of_a_sample_is_read() {
    let spellings = [
        "q:x 7\n",
        "q:x 7.0\n",
        "q:x\t7e0\n",
        "  q:x   +7  \r\n",
        "q:x{} 7\n",
        "q:x{ } 7\n",
        "q:x {a=\"b\"} 7\n",
        "q:x{a=\"b\"}7\n",
        "q:x{a=\"b\",} 7\n",
        "q:x{ a = \"b\" , c = \"d\" , } 7\n",
        "q:x{a=\"}\",b=\"{ 1\",c=\",=\\\"#\"} 7\n",
        "q:x{\"a.b\"=\"c\"} 7\n",
        "q:x 7 1395066363000\n",
        "q:x{a=\"b\"} 7 1520879607.789\n",
        "q:x{a=\"b\"} 7 # {trace_id=\"x\"} 0.67\n",
        "q:x{a=\"b\"} 7 1520879607.789 # {trace_id=\"x\"} 0.67 1520879607\n",
        "{\"q:x\"} 7\n",
        "{ \"q:x\" , a=\"b\" } 7\n",
        "{a=\"b\", \"q:x\", \"c.d\"=\"e\"} 7\n",
        "# TYPE q:x gauge\nq:x 7\n# EOF\n",
        "# TYPE q:x gauge\nq:x 7\n# EOF",
        "\n\nq:x_created 3\nq:x_bucket{le=\"1\"} 3\nq: 3\nq:x 7\nq:xy 3\n\n",
    ];
    for page in spellings {
        assert_eq!(value(gauge("q:x", []), page), Some(7000), "{page:?}");
    }
}

#[test]
fn numbers_are_read_and_only_finite_ones_count() {
    let table = [
        ("0", Some(0)),
        ("0.3", Some(300)),
        ("0.67716", Some(678)),
        ("1e-9", Some(1)),
        ("-1.5", Some(-1500)),
        ("8.440832e+08", Some(844_083_200_000)),
        ("1e300", Some(i64::MAX)),
        ("NaN", None),
        ("+Inf", None),
        ("-Inf", None),
    ];
    for (text, milli) in table {
        let (result, out) = read(&[gauge("x", [])], format!("x {text}\n"));
        assert_eq!(out[0].map(|found| found.0), milli, "{text}");
        assert_eq!(result.unwrap().not_finite, usize::from(milli.is_none()), "{text}");
    }
}

#[test]
fn a_sum_that_overflows_is_absent() {
    assert_eq!(value(gauge("x", []), "x{a=\"1\"} 1e308\nx{a=\"2\"} 1e308\n"), None);
    assert_eq!(value(gauge("x", []), "x{a=\"1\"} 1e308\nx{a=\"2\"} -1e308\n"), Some(0));
}

#[test]
fn a_recipe_selects_series_by_labels() {
    let page = concat!(
        "x{model=\"a\",rank=\"0\"} 1\n",
        "x{rank=\"1\",model=\"a\"} 2\n",
        "x{model=\"b \\\"q\\\" \\\\ \\n \\z\"} 4\n",
        "x{model=\"\"} 8\n",
        "{\"x\",\"model\"=\"a\"} 16\n",
        "xx{model=\"a\"} 32\n",
    );
    let table = [
        (labels(&[]), Some(31)),
        (labels(&[("model", "a")]), Some(19)),
        (labels(&[("model", "a"), ("rank", "1")]), Some(2)),
        (labels(&[("rank", "0"), ("model", "a")]), Some(1)),
        (labels(&[("model", "b \"q\" \\ \n \\z")]), Some(4)),
        (labels(&[("model", "")]), Some(8)),
        (labels(&[("rank", "")]), Some(28)),
        (labels(&[("model", "c")]), None),
    ];
    for (labels, whole) in table {
        let recipe = gauge("x", labels.clone());
        assert_eq!(value(recipe, page), whole.map(|n| n * 1000), "{labels:?}");
    }
    assert_eq!(value(gauge("my.name", []), "{\"my.name\",a=\"b\"} 5\n"), Some(5000));
}

#[test]
fn a_signal_is_whole_or_absent() {
    let (running, waiting) = ("vllm:num_requests_running 2\n", "vllm:num_requests_waiting 3\n");
    assert_eq!(value(signal(Signal::InFlightRequests), &format!("{running}{waiting}")), Some(5000));
    assert_eq!(value(signal(Signal::InFlightRequests), running), None);
    assert_eq!(
        value(
            signal(Signal::InFlightRequests),
            &format!("{running}vllm:num_requests_waiting NaN\n")
        ),
        None
    );
    assert_eq!(value(signal(Signal::InFlightRequests), ""), None);
}

#[test]
fn the_newest_name_counts_and_names_are_never_mixed() {
    let (new, old) = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc");
    let kv = || signal(Signal::KVCacheUsage);
    assert_eq!(value(kv(), &format!("{old} 0.5\n{new} 0.25\n")), Some(250));
    assert_eq!(value(kv(), &format!("{old} 0.5\n")), Some(500));
    assert_eq!(value(kv(), &format!("{old} 0.5\n{new} NaN\n")), None);
}

#[test]
fn data_parallel_engines_are_one_replica() {
    let engines = |name: &str, values: [&str; 3]| {
        let [a, b, c] = values;
        format!(
            "{name}{{engine=\"0\"}} {a}\n{name}{{engine=\"1\"}} {b}\n{name}{{engine=\"2\"}} {c}\n"
        )
    };
    let waiting = engines("vllm:num_requests_waiting", ["1.0", "2.0", "4.0"]);
    assert_eq!(value(signal(Signal::WaitingRequests), &waiting), Some(7000));
    let kv = engines("vllm:kv_cache_usage_perc", ["0.1", "0.2", "0.9"]);
    assert_eq!(value(signal(Signal::KVCacheUsage), &kv), Some(400));
    let unknown = engines("vllm:num_requests_waiting", ["1.0", "NaN", "4.0"]);
    assert_eq!(value(signal(Signal::WaitingRequests), &unknown), None);
}

#[test]
fn a_series_counts_once() {
    let page = "x{a=\"b\"} 1\nx{a=\"c\"} 2\nx{a=\"b\"} 4\n";
    let (result, out) = read(&[gauge("x", [])], page);
    assert_eq!(out, [Some(Milli(3000))]);
    assert_eq!(result.unwrap().duplicates, 1);

    let spellings = [
        "x{a=\"b\",c=\"\\\\d\"} 1",
        "x{c=\"\\d\",a=\"b\"} 2",
        "x { a = \"b\" , \"c\"=\"\\\\d\", e=\"\",} 3",
        "{\"a\"=\"b\",\"x\",c=\"\\d\"} 4",
        "x{a=\"b\",c=\"\\\\\\d\"} 16",
        "y{a=\"b\",c=\"\\\\d\"} 5",
        "y{a=\"b=\\\"c\"} 10",
        "y{\"a=\\\"b\"=\"c\"} 20",
    ];
    let (result, out) = read(&[gauge("x", []), gauge("y", [])], spellings.join("\n") + "\n");
    assert_eq!(out, [Some(Milli(17_000)), Some(Milli(35_000))]);
    assert_eq!(result.unwrap().duplicates, 3);
}

#[test]
fn a_malformed_line_fails_only_recipes_of_its_family() {
    let table = [
        ("x", "it has no value"),
        ("x{a=\"b\"}", "it has no value"),
        ("x seven", "its value is not a number"),
        ("x 7 soon", "its value is followed by something that is not a timestamp"),
        ("x 7 8 9", "its value is followed by something that is not a timestamp"),
        ("x{a=\"b\" 7", "a label is not followed by a comma or a closing brace"),
        ("x{a=\"b\"c=\"d\"} 7", "a label is not followed by a comma or a closing brace"),
        ("x{a=b} 7", "a label's value is not in quotes"),
        ("x{a} 7", "a label has no value"),
        ("x{a=\"b} 7", "a closing quote is missing"),
        ("x{a=\"b\\\"} 7", "a closing quote is missing"),
        ("x{,} 7", "a label has no name"),
        ("x{1=\"b\"} 7", "a label has no name"),
        ("x{\"y\"} 7", "it has two names"),
        ("{\"x\"} ", "it has no value"),
        ("{\"x\" 7", "a label is not followed by a comma or a closing brace"),
        ("{c=\"d\" \"x\"} 7", "a label is not followed by a comma or a closing brace"),
        ("x 1e400", "its value is not a number"),
        ("x +NaN", "its value is not a number"),
        ("x 7 NaN", "its value is followed by something that is not a timestamp"),
        ("x-7", "its name has a character that is only allowed in quotes"),
        ("x-7 1395066363000", "its name has a character that is only allowed in quotes"),
        ("x{a=\"b\",a=\"b\"} 7", "a label is repeated"),
        ("x{\"\\\\a\"=\"b\",\"\\a\"=\"b\"} 7", "a label is repeated"),
        ("x{__name__=\"b\"} 7", "it has two names"),
        ("x{\"\"=\"b\"} 7", "a label has no name"),
    ];
    let recipes = [gauge("y", []), gauge("x", []), gauge("x", labels(&[("a", "b")]))];
    for (line, reason) in table {
        let (result, out) =
            read(&recipes, format!("# TYPE y gauge\nx{{a=\"b\",c=\"1\"}} 3\n{line}\ny 5\n"));
        let excerpt = line.trim().to_owned();
        assert_eq!(result, Err(PageError::BadLine { line: 3, reason, excerpt }), "{line:?}");
        assert_eq!(out, [Some(Milli(5000)), None, None], "{line:?}");

        let (result, out) = read(&recipes[..1], format!("{line}\ny 5\n"));
        assert_eq!(out, [Some(Milli(5000))], "{line:?}");
        assert!(result.is_ok(), "{line:?}");
    }
    // There are many labels, and the last one repeats an earlier one.
    let many: Vec<String> = (0..20).chain([15]).map(|n| format!("l{n}=\"\"")).collect();
    let page = |labels: &[String]| format!("x{{{}}} 1\n", labels.join(","));
    assert_eq!(read(&[gauge("x", [])], page(&many[..20])).1, [Some(Milli(1000))]);
    assert_eq!(read(&[gauge("x", [])], page(&many)).1, [None]);
    for line in [&b"x{a=\"\xff\"} 7\n"[..], b"x\x0c7\n", b"x{}\x0c7\n", b"x{\"a\x00\"=\"b\"} 7\n"] {
        assert_eq!(read(&[gauge("x", [])], line).1, [None]);
    }
    assert_eq!(read(&[gauge("x", [])], b"x{a=\"\x00\"} 7\n").1, [Some(Milli(7000))]);
    // The malformed line is the only one that makes this a metrics page.
    let (result, _) = read(&[gauge("x", [])], "x{\n<b>\n");
    assert!(matches!(result, Err(PageError::BadLine { line: 1, .. })), "{result:?}");
    let (result, _) = read(&[gauge("my.name", [])], "my.name 5\n");
    assert_eq!(
        result.unwrap_err().to_string(),
        "line 1 of the metrics page cannot be parsed: its name has a character that is only allowed in quotes"
    );
}

#[test]
fn unwanted_lines_are_counted() {
    let page =
        "# HELP x X\nx 1\ny{a=\"b\"} 2\n{\"z\"} NaN\nz inf\n\n<b>\ny{\ny\ny seven\n{\"a\": 1}\n7\n";
    let (result, out) = read(&[gauge("x", [])], page);
    assert_eq!(out, [Some(Milli(1000))]);
    let expected =
        PageSummary { samples: 4, comments: 1, skipped_malformed: 6, ..PageSummary::default() };
    assert_eq!(result, Ok(expected));
}

#[test]
fn other_pages_are_not_metrics_pages() {
    let table: [(&[u8], &str); 7] = [
        (b"<!DOCTYPE html>\n<html><body>Not Found</body></html>\n", "<!DOCTYPE html>"),
        (b"\r\n{\"detail\":\"Not Found\"}", "{\"detail\":\"Not Found\"}"),
        (b"{\n  \"object\": \"list\",\n  \"data\": []\n}\n", "{"),
        (b"404 page not found\n", "404 page not found"),
        (b"Service unavailable 503", "Service unavailable 503"),
        (b"Internal Server Error", "Internal Server Error"),
        (b"\x1f\x8b\x08\x00\x00\x0a\xff\xfe", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
    ];
    for (page, first_line) in table {
        let (result, out) = read(&[gauge("x", [])], page);
        assert_eq!(result, Err(PageError::NotMetrics { first_line: first_line.to_owned() }));
        assert_eq!(out, [None]);
    }
    for page in ["", "\n\n", "# EOF\n"] {
        assert_eq!(value(gauge("x", []), page), None, "{page:?}");
    }
}

#[test]
fn a_page_that_is_cut_off_is_rejected() {
    let page = "# TYPE x gauge\nx{a=\"b\"} 11\ny 5\n";
    let recipe = [gauge("x", [])];
    assert_eq!(read(&recipe, page).1, [Some(Milli(11_000))]);
    for length in 0..page.len() {
        let (result, out) = read(&recipe, &page[..length]);
        if page[..length].ends_with('\n') || length == 0 {
            assert!(result.is_ok(), "{length}");
        } else {
            assert!(matches!(result, Err(PageError::CutOff { .. })), "{length}: {result:?}");
            assert_eq!(out, [None], "{length}");
        }
    }
}

#[test]
fn one_pass_serves_many_recipes() {
    // There are many recipes, two of them equal, and the results come in their order.
    let mut recipes: Vec<Recipe> = (0..50).map(|n| gauge(format!("family_{n}"), [])).collect();
    recipes.push(recipes[3].clone());
    let lines: Vec<String> =
        (0..50).rev().map(|n| format!("family_{n}{{a=\"b\"}} {n}\n")).collect();
    let (result, out) = read(&recipes, lines.concat());
    assert_eq!(result.unwrap().samples, 50);
    let expected: Vec<_> = (0..50).chain([3]).map(|n| Some(Milli::whole(n))).collect();
    assert_eq!(out, expected);
}

#[test]
fn histograms_are_read_from_their_buckets() {
    let page = concat!(
        "# TYPE t histogram\n",
        "t_bucket{engine=\"0\",le=\"0.5\"} 1\n",
        "t_bucket{engine=\"0\",le=\"+Inf\"} 3\n",
        "t_bucket{le=\"0.5\",engine=\"1\"} 2\n",
        "t_bucket{le=\"+Inf\",engine=\"1\"} 2\n",
        "t_sum 9\nt_count 5\n",
    );
    let recipes =
        |labels: &[(&str, &str)]| [Recipe::series(Kind::Histogram, "t", self::labels(labels))];
    let buckets = |counts: [f64; 2]| {
        Buckets::new([0.5, f64::INFINITY].into_iter().zip(counts))
            .map_or(Value::Absent, Value::Buckets)
    };
    assert_eq!(extract(&recipes(&[]), page).1[0].value, buckets([3.0, 5.0]));
    assert_eq!(extract(&recipes(&[("engine", "1")]), page).1[0].value, buckets([2.0, 2.0]));
    assert_eq!(extract(&recipes(&[("engine", "2")]), page).1[0].value, Value::Absent);
    // An incomplete histogram is absent.
    let damaged = [
        page.replace("+Inf", "2"),
        page.replace("le=\"0.5\"} 1", "le=\"low\"} 1"),
        page.replace("le=\"0.5\"} 1", "le=\"0.5\"} NaN"),
        page.replace("le=\"0.5\"} 1", "le=\"0.5\"} one"),
        page.replace("+Inf", "1e400"),
    ];
    for page in damaged {
        assert_eq!(extract(&recipes(&[]), &page).1[0].value, Value::Absent, "{page}");
    }
}

#[test]
fn ranks_that_repeat_a_value_count_once() {
    let line = |dp: u32, tp: u32, value: f64| format!("q{{dp=\"{dp}\",tp=\"{tp}\"}} {value}\n");
    let page = [line(0, 0, 3.0), line(0, 1, 4.0), line(1, 0, 10.0), line(1, 1, 10.0)].concat();
    assert_eq!(value(gauge("q", []), &page), Some(27_000));
    let recipe = || gauge("q", []).with_repeat_labels(["tp".to_owned()]);
    assert_eq!(value(recipe(), &page), Some(14_000), "the highest of values that should be equal");
    assert_eq!(value(recipe(), &(page.clone() + &line(2, 0, f64::NAN))), None);
    assert_eq!(value(recipe(), "q 5\n"), Some(5000));
    assert_eq!(
        value(recipe(), &(page.clone() + "q{tp=\"2\",dp=\"1\"} 11\n")),
        Some(15_000),
        "in any order"
    );
    assert_eq!(
        value(recipe(), "q 5\nq five\n".replace("five", "6").as_str()),
        Some(5000),
        "a duplicate"
    );
    let both = [recipe(), gauge("q", [])];
    assert_eq!(read(&both, &page).1, [Some(Milli(14_000)), Some(Milli(27_000))]);
}

#[test]
fn the_name_that_was_found_is_reported() {
    let (new, old) = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc");
    let recipes = [signal(Signal::KVCacheUsage)];
    let table = [
        (format!("{new} 0.5\n"), None, false),
        (format!("{old} 0.5\n"), Some((0, 1)), false),
        (format!("{old} 0.5\n{new} 0.5\n"), None, false),
        (format!("{old} 0.25\n{new} 0.5\n"), None, true),
    ];
    for (page, alternative, ambiguous) in table {
        let found = extract(&recipes, &page).1.remove(0);
        assert_eq!((found.alternative, found.ambiguous), (alternative, ambiguous), "{page}");
    }
    let def = Engine::Vllm.profile().signal(Signal::KVCacheUsage).unwrap();
    assert_eq!(def.former_name(0, 1), Some((old, new)));
    assert_eq!(def.former_name(0, 0), None);
}

#[test]
fn reused_memory_changes_nothing() {
    let recipes = [
        Recipe::series(Kind::Histogram, "t", []),
        gauge("x", []).with_repeat_labels(["tp".to_owned()]),
    ];
    let extractor = Extractor::new(&recipes);
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    let pages = [
        "t_bucket{le=\"1\"} 1\nt_bucket{le=\"+Inf\"} 2\nx{tp=\"0\"} 5\n",
        "x{tp=\"0\"} 7\n",
        "<html>\n",
        "t_bucket{le=\"2\"} 1\nt_bucket{le=\"4\"} 1\nt_bucket{le=\"+Inf\"} 2\nx 1",
        "t_bucket{le=\"2\"} 1\nt_bucket{le=\"+Inf\"} 2\n",
    ];
    for page in pages {
        let again = extractor.read(page.as_bytes(), &mut scratch, &mut out);
        let (result, fresh) = extract(&recipes, page);
        assert_eq!((again, &out), (result, &fresh), "{page}");
    }
}
