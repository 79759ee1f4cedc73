//! Properties of the reader on random pages.

mod reference;

use llm_autoscaler_core::Milli;
use llm_autoscaler_engines::{
    Kind, Recipe,
    exposition::{Extractor, PageError, PageSummary, Scratch, Value},
};
use proptest::{collection::vec, prelude::*, sample::select};

fn read(recipes: &[Recipe], page: &[u8]) -> (Result<PageSummary, PageError>, Vec<Option<Milli>>) {
    let mut out = Vec::new();
    let result = Extractor::new(recipes).read(page, &mut Scratch::default(), &mut out);
    let milli =
        |value| if let Value::Number(number) = value { Milli::from_f64(number) } else { None };
    (result, out.into_iter().map(|extract| milli(extract.value)).collect())
}

fn series(name: &str, labels: &[(&str, &str)]) -> Recipe {
    Recipe::series(
        Kind::Gauge,
        name,
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

/// Returns recipes of few names and labels, so that random lines match them often.
fn recipes() -> Vec<Recipe> {
    vec![
        series("a:b", &[]),
        series("a:b", &[("l", "x")]),
        series("a", &[("l", "")]),
        series("q n", &[]),
        series("a:b_c", &[("l", "x"), ("m", "\"\\\n")]),
        series("a:b", &[]).with_repeat_labels(["l".to_owned()]),
        Recipe::series(Kind::Histogram, "h", []),
        Recipe::series(Kind::Histogram, "h", []).with_repeat_labels(["m".to_owned()]),
    ]
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

prop_compose! {
    /// Makes a sample of one of a few families, in one of many spellings. With `twice` a label may
    /// be repeated, which is malformed.
    fn sample_line(twice: bool)(
        name in select(vec!["a:b", "a", "a:b_c", "q n", "z", "h_bucket"]),
        labels in vec((select(vec!["l", "m", "n.o"]), select(vec!["x", "", "\"\\\n", "é, {=} #"])), 0..3),
        bound in select(vec!["+Inf", "+Inf", "1", "1.0", "-0", "0", "NaN", "1e999"]),
        value in prop_oneof![(-9_000_i32..9_000).prop_map(|n| (f64::from(n) / 1000.0).to_string()),
            select(vec!["NaN", "+Inf", "1e3", "3."]).prop_map(str::to_owned)],
        space in select(vec!["", " ", "\t "]),
        comma in select(vec!["", ","]),
        quoted in any::<bool>(),
        place in any::<prop::sample::Index>(),
        tail in select(vec!["", " 1395066363000", " # {id=\"x\"} 1", "\r", " "]),
    ) -> String {
        let bare = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte));
        let key = |name: &str| if bare(name) { name.to_owned() } else { quote(name) };
        let inside = quoted || !bare(name);
        let mut labels = labels;
        labels.extend(name.ends_with("_bucket").then_some(("le", bound)));
        labels.sort_unstable();
        labels.dedup_by(|a, b| a.0 == b.0 && !twice);
        let label = |(name, value): &(&str, &str)| format!("{}{space}={space}{}", key(name), quote(value));
        let mut items: Vec<String> = labels.iter().map(label).collect();
        if inside {
            items.insert(place.index(items.len() + 1), quote(name));
        }
        let braces = format!("{{{space}{}{}}}", items.join(&format!("{space},")), if items.is_empty() { "" } else { comma });
        format!("{}{braces} {space}{value}{tail}", if inside { "" } else { name })
    }
}

prop_compose! {
    /// Makes a sample line that is damaged in one place.
    fn damaged_line()(line in sample_line(true), at in any::<prop::sample::Index>(), put in "[ -~]?") -> String {
        let mut chars: Vec<char> = line.chars().collect();
        let at = at.index(chars.len());
        chars.splice(at..=at, put.chars());
        chars.into_iter().collect()
    }
}

fn page() -> impl Strategy<Value = Vec<String>> {
    let comment = Just("# TYPE a:b gauge".to_owned());
    vec(prop_oneof![8 => sample_line(true), 1 => comment, 1 => damaged_line()], 1..12)
}

/// Makes a line of a family that no recipe wants, malformed or not.
fn unrelated_line() -> impl Strategy<Value = String> {
    let sound = (select(vec!["a:b_", "a:", "zz", "a:b_c_total"]), -9.0..9.0)
        .prop_map(|(n, v)| format!("{n} {v}"));
    let broken =
        select(vec!["zz{", "<html>", "a:bb", "a:b_{l=\"} 3", "{\"a.b\" 1", "\u{0}\u{1}", "9"])
            .prop_map(str::to_owned);
    prop_oneof![sound, broken, "# [ -~]*", "[ \t]*"]
}

fn join(lines: &[String]) -> String {
    lines.join("\n") + "\n"
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(page in vec(any::<u8>(), 0..400)) {
        let (result, out) = read(&recipes(), &page);
        prop_assert_eq!(out.len(), recipes().len());
        if let Err(error) = result {
            prop_assert!(error.to_string().chars().count() < 800);
        }
    }

    #[test]
    fn bytes_of_the_format_never_panic(page in "[a:b{}\"\\\\=,#0-9.eN+ \t\r\n-]{0,200}") {
        prop_assert_eq!(read(&recipes(), page.as_bytes()).1.len(), recipes().len());
    }

    #[test]
    fn printed_samples_are_read_back(
        value in -1_000_000_000_i64..1_000_000_000,
        name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,40}",
        label in "[a-zA-Z_][a-zA-Z0-9_]{0,10}",
        text in "\\PC{1,20}[\"\\\\\n]?",
        float in any::<f64>().prop_filter("finite", |float| float.is_finite()),
    ) {
        let page = format!("{name}{{{label}={}}} {}\n", quote(&text), value as f64 / 1000.0);
        let recipes = [series(&name, &[(&label, &text)])];
        prop_assert_eq!(read(&recipes, page.as_bytes()).1, [Some(Milli(value))]);

        let page = format!("{{{},{label}={}}} {float}\n", quote(&name), quote(&text));
        prop_assert_eq!(read(&recipes, page.as_bytes()).1, [Milli::from_f64(float)]);
    }

    #[test]
    fn the_reference_agrees(lines in page()) {
        let page = join(&lines);
        let mut out = Vec::new();
        let result = Extractor::new(&recipes()).read(page.as_bytes(), &mut Scratch::default(), &mut out);
        let expected = reference::read(&recipes(), &page);
        prop_assert!(reference::is_same(&out, &expected.values), "{out:?} {expected:?} {page}");
        match result {
            Ok(_) => prop_assert_eq!(expected.bad_line, None, "{}", page),
            Err(PageError::BadLine { line, .. }) => prop_assert_eq!(expected.bad_line, Some(line), "{}", page),
            Err(PageError::NotMetrics { .. }) => {
                prop_assert!(expected.bad_line.is_none() && !page.contains("# TYPE"), "{}", page);
            }
            Err(error @ PageError::CutOff { .. }) => prop_assert!(false, "{error}: {page}"),
        }
    }

    #[test]
    fn unrelated_lines_change_nothing(
        lines in vec(sample_line(false), 1..8),
        unrelated in unrelated_line(),
        at in any::<prop::sample::Index>(),
    ) {
        let before = read(&recipes(), join(&lines).as_bytes());
        let mut more = lines.clone();
        more.insert(at.index(lines.len() + 1), unrelated);
        let after = read(&recipes(), join(&more).as_bytes());
        prop_assert_eq!(before.1, after.1);
        prop_assert!(before.0.is_ok() && after.0.is_ok(), "{:?} {:?}", before.0, after.0);
    }
}
