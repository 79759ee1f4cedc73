//! The tests that pages name beside their promises.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::checkout::Checkout;

/// The pages.
const PAGES: [&str; 2] = ["docs/security.md", "docs/versions.md"];
/// The crates that a name may begin with; any other name is of a module of the operator.
const CRATES: [&str; 5] = ["api", "cli", "core", "engines", "observe"];
/// The suites of scenarios that a name may begin with.
const SUITES: [&str; 10] =
    ["doubt", "e2e", "failover", "gitops", "install", "rbac", "slo", "targets", "tenants", "ui"];

/// Returns the number of tests that the pages name, and those that do not exist.
///
/// # Errors
/// If a file cannot be read.
pub fn missing(checkout: &Checkout) -> Result<(usize, Vec<String>)> {
    let (mut count, mut faults) = (0, Vec::new());
    for page in PAGES {
        let text = fs::read_to_string(checkout.root().join(page));
        let text = text.with_context(|| format!("reading {page}"))?;
        let names = names(&text);
        let missing = names.iter().filter(|name| !exists(checkout.root(), name));
        faults.extend(missing.map(|name| format!("{page}: there is no test {name}")));
        count += names.len();
    }
    Ok((count, faults))
}

/// Returns the names of tests in the tables of a page, such as `core::gaps::the_load_is_unknown`.
fn names(page: &str) -> Vec<&str> {
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let quoted = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let is_of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c);
    quoted.filter(|text| text.contains("::") && text.chars().all(is_of_a_name)).collect()
}

/// Returns whether the test of a name exists: a unit test of that module, or a scenario that its
/// suite lists.
fn exists(root: &Path, name: &str) -> bool {
    let parts: Vec<&str> = name.split("::").collect();
    let [first, modules @ .., function] = &parts[..] else { return false };
    let text = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    if SUITES.contains(first) {
        let (main, folder) = suite(first);
        let module = text(&format!("{folder}/{}.rs", modules.join("/")));
        let lists = text(&main);
        let mut items = lists.split([',', ' ', '\n']);
        return has_function(&module, function) && items.any(|it| is_call(it, modules, function));
    }
    let (krate, modules) = if CRATES.contains(first) {
        (*first, modules)
    } else {
        ("operator", &parts[..parts.len() - 1])
    };
    files(krate, modules).iter().any(|file| has_test(&text(file), function))
}

/// Returns the file that lists the scenarios of a suite, and the folder of its modules.
fn suite(name: &str) -> (String, String) {
    if name == "e2e" {
        let folder = "tests/e2e/src/scenarios";
        return (format!("{folder}.rs"), folder.to_owned());
    }
    let folder = format!("tests/e2e/tests/{name}");
    (format!("{folder}/main.rs"), folder)
}

/// Returns the files that may have the tests of a module: its own, those of `tests` in it or in a
/// module above it, and one beside the crate.
fn files(krate: &str, modules: &[&str]) -> Vec<String> {
    let crate_folder = format!("crates/{krate}");
    let in_tests = (0..=modules.len()).map(|place| {
        let (above, below) = modules.split_at(place);
        [above, &["tests"], below].concat()
    });
    let inner = in_tests.chain([modules.to_vec()]);
    let inner = inner.map(|path| format!("{crate_folder}/src/{}.rs", path.join("/")));
    inner.chain([format!("{crate_folder}/tests/{}.rs", modules.join("/"))]).collect()
}

/// Returns whether an item of a list of scenarios is this one: `module::function`.
fn is_call(item: &str, modules: &[&str], function: &str) -> bool {
    let Some((module, name)) = item.split_once("::") else { return false };
    name == function && modules.last() == Some(&module)
}

fn has_function(text: &str, name: &str) -> bool {
    text.lines().any(|line| line.contains(&format!("fn {name}(")))
}

/// Returns whether a file has a function of this name that is marked as a test.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_marked = |place: usize| {
        let marks = lines[..place].iter().rev().take_while(|line| line.starts_with("#["));
        marks.into_iter().any(|mark| mark.contains("test"))
    };
    let mut places = (0..lines.len()).filter(|place| has_function(lines[*place], name));
    places.any(is_marked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tests_are_those_in_tables() {
        let page = "A name such as `a::b::c` is\n| promise of `--flag` | `core::gaps::the_load`, \
                    `make fuzz-all`, `doubt::pods::hang` |\n| `Ready::True` | |";
        assert_eq!(names(page), ["core::gaps::the_load", "doubt::pods::hang"]);
    }

    #[test]
    fn a_test_is_a_function_that_is_marked() {
        let text = "#[test]\nfn one() {}\n\n    #[tokio::test]\n    async fn two() {}\n\
                    fn three() {}\n#[cfg(any())]\nfn four() {}\n";
        for (name, expected) in [("one", true), ("two", true), ("three", false), ("on", false)] {
            assert_eq!(has_test(text, name), expected, "{name}");
        }
    }

    #[test]
    fn a_test_is_in_its_module_or_the_tests_of_it() {
        let found = files("core", &["step", "pace"]);
        let expected = [
            "crates/core/src/tests/step/pace.rs",
            "crates/core/src/step/tests/pace.rs",
            "crates/core/src/step/pace/tests.rs",
            "crates/core/src/step/pace.rs",
            "crates/core/tests/step/pace.rs",
        ];
        assert_eq!(found, expected);
    }

    /// A name that is changed on one side only is found, whichever it is.
    #[test]
    fn a_name_without_a_test_is_missing() {
        let checkout = Checkout::open().unwrap();
        for (name, expected) in [
            ("lanes::a_full_lane_is_full_for_its_own_namespace_only", true),
            ("core::gaps::the_load_in_a_gap_is_unknown", true),
            ("doubt::pods::hang", true),
            ("e2e::zero::to_zero_and_back_by_a_call", true),
            ("lanes::a_full_lane", false),
            ("lines::a_full_lane_is_full_for_its_own_namespace_only", false),
            ("doubt::series::hang", false),
            ("tenants::pods::hang", false),
            ("nothing", false),
        ] {
            assert_eq!(exists(checkout.root(), name), expected, "{name}");
        }
    }
}
