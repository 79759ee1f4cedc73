//! The shortcuts of the reader: pages on which it takes them, beside the same pages with blanks
//! that make it read each line in full.

use llm_autoscaler_engines::{
    Kind, Recipe,
    exposition::{Extract, Extractor, PageError, PageSummary, Scratch},
};
use proptest::{collection::vec, prelude::*, sample::select};

const LONG: &str = "engine:time_to_first_token_seconds";

/// Reads a page for a few series, with some of short or odd names as well.
fn read(page: &str, with_short: bool) -> (Result<PageSummary, PageError>, Vec<Extract>) {
    let series = |kind, name: &str| Recipe::series(kind, name, []);
    let mut recipes = vec![
        series(Kind::Gauge, "engine:requests_running"),
        series(Kind::Counter, "engine:tokens_total"),
        series(Kind::Histogram, LONG),
        series(Kind::Gauge, "engine:time_to_first_token_seconds_count"),
    ];
    if with_short {
        recipes.extend(["a_total", "a b", "{"].map(|name| series(Kind::Gauge, name)));
    }
    let mut out = Vec::new();
    let result = Extractor::new(&recipes).read(page.as_bytes(), &mut Scratch::default(), &mut out);
    (result, out)
}

/// Names that are wanted, that begin like a wanted one or go on behind it, and others.
fn name() -> impl Strategy<Value = &'static str> {
    select(vec![
        "engine:requests_running",
        "engine:requests_waiting",
        "engine:requests_running_ago",
        "engine:tokens_total",
        "engine:tokens",
        "engine:time_to_first_token_seconds_bucket",
        "engine:time_to_first_token_seconds_count",
        LONG,
        "engine:",
        "a",
        "a_total",
        "a b",
        "z",
        "z{",
        "z-",
        "",
    ])
}

/// Labels and what is in their place on a malformed line.
const LABELS: [&str; 10] =
    ["{l=\"x\"}", "{le=\"1\"}", "{le=\"+Inf\"}", "{}", "{", "{{", "{l=\"}", " {}", "", "\"} {"];

const VALUES: [&str; 13] =
    [" 1", " 2.5", " 1.", " +Inf", "1", " x", "", " é", " 1 ", " 1\r", "\r", " 1 2 3", " -"];

prop_compose! {
    /// Makes a run of samples of one name, sound or not.
    fn run()(
        name in name(),
        lines in vec((select(&LABELS[..]), select(&VALUES[..])), 1..6),
    ) -> Vec<String> {
        lines.into_iter().map(|(labels, value)| format!("{name}{labels}{value}")).collect()
    }
}

const COMMENTS: [&str; 7] = ["# TYPE ", "# HELP ", "#TYPE ", "# TYPE", "# TYPE\t", "# ", "#"];

const TYPES: [&str; 8] =
    [" gauge", " counter", " histogram", " summary", "\tgauge \r", "", " b gauge", "gauge"];

prop_compose! {
    fn comment()(
        begin in prop_oneof![Just("# TYPE "), select(&COMMENTS[..])],
        name in name(),
        end in select(&TYPES[..]),
    ) -> Vec<String> {
        vec![format!("{begin}{name}{end}")]
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn blanks_before_the_lines_change_nothing(
        lines in vec(prop_oneof![4 => run(), 1 => comment()], 1..8),
        blank in select(vec![" ", "\t"]),
        with_short in any::<bool>(),
    ) {
        let lines: Vec<String> = lines.concat();
        let plain = lines.join("\n") + "\n";
        let in_full = read(&in_full(&lines, blank), with_short);
        prop_assert_eq!(read(&plain, with_short), in_full, "{}", plain);
    }
}

/// Returns the page of these lines with blanks before each, and behind the word of a `# TYPE`.
fn in_full(lines: &[String], blank: &str) -> String {
    let line = |line: &String| match line.strip_prefix("# TYPE ") {
        Some(rest) => format!("{blank}# TYPE {blank}{rest}\n"),
        None => format!("{blank}{line}\n"),
    };
    lines.iter().map(line).collect()
}
