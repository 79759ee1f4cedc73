//! The limits that the project sets itself, and the exceptions from them.
//!
//! Each test prints its figures; `make house` shows them.

use std::{cmp::Reverse, collections::BTreeMap, fmt::Write as _};

use llm_autoscaler_house::{
    checkout::Checkout,
    english::{self, Comments},
    graph::{FACE, Graph},
    modules::Modules,
    packages, sizes,
};

/// The modules of the operator from the top to the bottom: each imports only those below it.
const OPERATOR_LAYERS: &[&str] = &[
    "reconcile",
    "status",
    "drain",
    "ownership",
    "pod_monitor",
    "metrics_api",
    "http",
    "sampling",
    "scale",
    "cluster",
    "lease",
    "schema",
    "supervise",
    "kube_api",
    "telemetry",
    "spans",
    "user_agent",
    "backoff",
    "lanes",
    "pace",
    "clock",
    "latest",
    "lock",
];

/// The crates with checked modules, and their layers if these have a fixed order.
const LAYERED: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("engines", &[]),
    ("api", &[]),
    ("operator", OPERATOR_LAYERS),
    ("observe", &[]),
    ("convert", &[]),
    ("cli", &[]),
    ("sim", &[]),
    ("simulate", &[]),
];

/// Folders of the operator with a face that uses the files below it and is used by them, and the
/// reason.
const FACES_IN_CIRCLES: &[(&str, &str)] = &[];

const CORE: &str = "llm-autoscaler-core";
const ENGINES: &str = "llm-autoscaler-engines";
const API: &str = "llm-autoscaler-api";
const OBSERVE: &str = "llm-autoscaler-observe";
const CONVERT: &str = "llm-autoscaler-convert";
const OPERATOR: &str = "llm-autoscaler-operator";
const CLI: &str = "llm-autoscaler";
const SIM: &str = "llm-autoscaler-sim";
const SIMULATE: &str = "llm-autoscaler-simulate";
const TESTBED: &str = "llm-autoscaler-testbed";

/// Every package, and those of the workspace that it may depend on, for tests too.
const CRATES: &[(&str, &[&str])] = &[
    (CORE, &[]),
    (ENGINES, &[CORE]),
    (API, &[CORE, ENGINES]),
    (OBSERVE, &[CORE, ENGINES, API]),
    (CONVERT, &[CORE, ENGINES, API]),
    (OPERATOR, &[CORE, ENGINES, API, OBSERVE]),
    (SIM, &[]),
    (SIMULATE, &[CORE, ENGINES, API, OBSERVE, SIM]),
    (CLI, &[CORE, ENGINES, API, OBSERVE, CONVERT, OPERATOR, SIMULATE]),
    (TESTBED, &[SIM]),
    ("llm-autoscaler-ca-bundle", &[]),
    ("llm-autoscaler-e2e", &[API, TESTBED]),
    ("llm-autoscaler-conformance", &[CLI, CORE]),
    ("llm-autoscaler-parser-conformance", &[ENGINES]),
    ("llm-autoscaler-house", &[]),
];

/// Crates that do no I/O, and packages that they would do it with.
const PURE: [&str; 7] = [CORE, ENGINES, API, OBSERVE, CONVERT, SIM, SIMULATE];
const IO: [&str; 5] = ["tokio", "hyper", "reqwest", "tower", "kube-client"];

/// Of 1,000 comment lines, so many may begin with What, Whether or The same.
const MAX_RIDDLES: usize = 20;
/// Of 1,000 comment lines, so many may have a word for people, as listed in `english`.
const MAX_PEOPLE: usize = 2;
/// The width of Rust lines, and of prose in Markdown.
const MAX_COLUMNS: usize = 100;

/// The length of a source file, in lines.
const MAX_FILE: usize = 420;
/// Longer files, and the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// The length of a function's body, in lines, its braces included.
const MAX_FUNCTION: usize = 75;
/// Longer functions by file and name, and the reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[
    ("crates/api/tests/parse.rs", "an_error_names_its_field", "a table of cases"),
    ("tests/e2e/tests/roles/bad_input.rs", "table", "a table of cases"),
    (
        "crates/operator/src/status/assemble/tests.rs",
        "only_a_fixed_sentence_of_all_roles_is_shown_once",
        "a table of cases",
    ),
];

/// Prints the figures of one check, and fails if it found faults in this checkout. Another checkout
/// is only measured.
fn conclude(checkout: &Checkout, figures: &str, faults: &[String]) {
    println!("\n{figures}");
    let faults = faults.join("\n  ");
    if checkout.is_judged() {
        assert!(faults.is_empty(), "\n  {faults}\n");
    } else if !faults.is_empty() {
        println!("  {faults}");
    }
}

#[test]
fn modules_import_only_what_is_below_them() {
    let checkout = Checkout::open().unwrap();
    let (mut figures, mut faults) = (String::from("Modules\n"), Vec::new());
    for (name, layers) in LAYERED {
        let files = checkout.files(&format!("crates/{name}/src"), "rs").unwrap();
        let modules = Modules::read(&files).unwrap();
        let graph = Graph::of_crate(&modules);
        let (upward, circles) = (graph.upward(layers), graph.circles());
        writeln!(
            figures,
            "  {name:10} {:3} modules {:4} arrows {:3} upward {:3} circles",
            graph.modules().count(),
            graph.arrows().len(),
            upward.len(),
            circles.len(),
        )
        .unwrap();
        faults.extend(upward.iter().map(|arrow| format!("{name}, upward: {arrow}")));
        faults.extend(circles.iter().map(|circle| format!("{name}, a circle: {circle}")));
        let is_unknown = |it: &&str| !layers.is_empty() && !layers.contains(it);
        let unknown: Vec<_> = graph.modules().filter(is_unknown).collect();
        if !unknown.is_empty() {
            faults.push(format!(
                "{name}, on no layer: {}. Move the code into one of the modules {}; or give the \
                 new module its place in OPERATOR_LAYERS (tests/house/tests/house.rs) and in \
                 docs/architecture.md",
                unknown.join(", "),
                layers.join(", ")
            ));
        }
    }
    conclude(&checkout, &figures, &faults);
}

#[test]
fn files_in_the_operators_folders_import_each_other_in_one_direction() {
    let checkout = Checkout::open().unwrap();
    let files = checkout.files("crates/operator/src", "rs").unwrap();
    let modules = Modules::read(&files).unwrap();
    let (mut figures, mut faults) = (String::from("Folders of the operator\n"), Vec::new());
    let folders = modules.paths().filter(|path| !path.is_empty());
    for folder in folders.filter(|path| !modules.children(path).is_empty()) {
        let graph = Graph::of_folder(&modules, folder);
        let (name, circles) = (folder.join("::"), graph.without_face().circles());
        let mut with_face = graph.circles();
        with_face.retain(|circle| circle.names.iter().any(|it| it == FACE));
        writeln!(
            figures,
            "  {name:24} {:3} modules {:4} arrows {:3} circles, with the face {}",
            graph.modules().count(),
            graph.arrows().len(),
            circles.len(),
            with_face.len(),
        )
        .unwrap();
        faults.extend(circles.iter().map(|circle| format!("{name}, a circle: {circle}")));
        match (with_face.first(), FACES_IN_CIRCLES.iter().any(|(listed, _)| *listed == name)) {
            (Some(circle), false) => faults.push(format!(
                "{name}, a circle with its face: {circle}\n      Move the items that its files \
                 share into a file of their own, or list it in FACES_IN_CIRCLES"
            )),
            (None, true) => faults.push(format!("remove {name} from FACES_IN_CIRCLES")),
            _ => {}
        }
    }
    conclude(&checkout, &figures, &faults);
}

#[test]
fn crates_depend_only_on_those_below_them() {
    let checkout = Checkout::open().unwrap();
    let packages = packages::workspace(&checkout).unwrap();
    let mut figures = String::from("Crates\n");
    let mut faults = packages::forbidden(&packages, CRATES);
    for package in PURE {
        let built_in = packages::closure(&checkout, package).unwrap();
        let io: Vec<_> = IO.into_iter().filter(|name| built_in.contains(*name)).collect();
        writeln!(figures, "  {package:24} {:4} packages, for I/O: {io:?}", built_in.len()).unwrap();
        faults.extend(io.iter().map(|name| {
            let why = format!("cargo tree -e normal -p {package} -i {name}");
            format!("{package} must not contain {name}; see `{why}`")
        }));
    }
    conclude(&checkout, &figures, &faults);
}

#[test]
fn comments_name_the_thing_first() {
    let checkout = Checkout::open().unwrap();
    let mut by_crate: BTreeMap<String, Comments> = BTreeMap::new();
    let mut all = Comments::default();
    for file in checkout.rust().unwrap() {
        let package: Vec<_> = file.name.split('/').take(2).collect();
        let found = english::comments(&file);
        for sum in [by_crate.entry(package.join("/")).or_default(), &mut all] {
            sum.lines += found.lines;
            sum.riddles.extend(found.riddles.clone());
            sum.people.extend(found.people.clone());
        }
    }
    let mut figures = String::from("Comments\n");
    for (name, it) in by_crate.iter().map(|(name, it)| (name.as_str(), it)).chain([("all", &all)]) {
        writeln!(
            figures,
            "  {name:18} {:5} lines, What/Whether/The same {:4}, who/whose/nobody {:4}",
            it.lines,
            it.riddles.len(),
            it.people.len()
        )
        .unwrap();
    }
    let mut faults = Vec::new();
    for (hits, limit, problem) in [
        (&all.riddles, MAX_RIDDLES, "begin with What, Whether or The same"),
        (&all.people, MAX_PEOPLE, "have a word for people"),
    ] {
        if hits.len() * 1000 > limit * all.lines {
            let (count, lines) = (hits.len(), all.lines);
            faults.push(format!("{count} of {lines} {problem}; {limit} of 1,000 may:"));
            faults.extend(worst_first(hits));
        }
    }
    conclude(&checkout, &figures, &faults);
}

/// Sorts lines that begin with `file:` so that the file with the most of them comes first.
fn worst_first(hits: &[String]) -> Vec<String> {
    let file = |hit: &String| hit.split(':').next().unwrap_or_default().to_owned();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for hit in hits {
        *counts.entry(file(hit)).or_default() += 1;
    }
    let mut sorted = hits.to_vec();
    sorted.sort_by_cached_key(|hit| (Reverse(counts[&file(hit)]), file(hit)));
    sorted
}

#[test]
fn comments_end_at_column_100() {
    let checkout = Checkout::open().unwrap();
    let files = checkout.rust().unwrap();
    let wide = |file| english::wide_rust_comments(file, MAX_COLUMNS);
    let faults: Vec<_> = files.iter().flat_map(wide).collect();
    let figures = format!("Comment lines over {MAX_COLUMNS} columns: {}", faults.len());
    conclude(&checkout, &figures, &faults);
}

#[test]
fn prose_lines_end_at_column_100() {
    let checkout = Checkout::open().unwrap();
    let files = checkout.markdown().unwrap();
    let wide = |file| english::wide_prose_lines(file, MAX_COLUMNS);
    let faults: Vec<_> = files.iter().flat_map(wide).collect();
    let figures = format!("Prose lines over {MAX_COLUMNS} columns: {}", faults.len());
    conclude(&checkout, &figures, &faults);
}

#[test]
fn files_are_short() {
    let checkout = Checkout::open().unwrap();
    let files = checkout.rust().unwrap();
    let length = |name: &str| {
        files.iter().find(|file| file.name == name).map_or(0, |file| file.text.lines().count())
    };
    let longest = files.iter().map(|file| file.name.as_str()).max_by_key(|name| length(name));
    let longest = longest.unwrap_or_default();
    let figures = format!("Longest file: {} lines, {longest}", length(longest));
    let is_exception = |name: &str| LONG_FILES.iter().any(|(it, _)| *it == name);
    let mut faults = Vec::new();
    for name in files.iter().map(|file| file.name.as_str()).filter(|name| !is_exception(name)) {
        if length(name) > MAX_FILE {
            faults.push(format!("{name} has {} lines; {MAX_FILE} are allowed", length(name)));
        }
    }
    for (name, _) in LONG_FILES.iter().filter(|(name, _)| length(name) <= MAX_FILE) {
        faults.push(format!("{name} is short: remove it from LONG_FILES"));
    }
    conclude(&checkout, &figures, &faults);
}

#[test]
fn functions_fit_a_screen() {
    let checkout = Checkout::open().unwrap();
    let files = checkout.rust().unwrap();
    let functions: Vec<_> = files.iter().flat_map(|it| sizes::functions(it).unwrap()).collect();
    let is_listed = |function: &sizes::Function, (file, name, _): &(&str, &str, &str)| {
        function.name == *name && function.place.starts_with(&format!("{file}:"))
    };
    let mut figures = format!("Longest of {} functions:\n", functions.len());
    let mut longest: Vec<_> = functions.iter().collect();
    longest.sort_by_key(|function| Reverse(function.lines));
    for function in longest.iter().take(5) {
        writeln!(figures, "  {:3} lines, {} {}", function.lines, function.name, function.place)
            .unwrap();
    }
    let is_long = |function: &&&sizes::Function| function.lines > MAX_FUNCTION;
    let mut faults = Vec::new();
    for function in longest.iter().filter(is_long) {
        if !LONG_FUNCTIONS.iter().any(|listed| is_listed(function, listed)) {
            faults.push(format!(
                "{} at {} has {} lines; {MAX_FUNCTION} are allowed",
                function.name, function.place, function.lines
            ));
        }
    }
    for listed in LONG_FUNCTIONS {
        if !longest.iter().filter(is_long).any(|function| is_listed(function, listed)) {
            faults.push(format!("{} is short: remove it from LONG_FUNCTIONS", listed.1));
        }
    }
    conclude(&checkout, &figures, &faults);
}
