//! Compares the reader of metrics pages with the slow and plain one of its tests.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use llm_autoscaler_engines::{
    Kind, Recipe,
    exposition::{Extract, Extractor, PageError, Scratch},
};

#[path = "../../../crates/engines/tests/reference/mod.rs"]
mod reference;

static RECIPES: LazyLock<(Vec<Recipe>, Extractor)> = LazyLock::new(|| {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut recipes = Vec::new();
    for kind in [Kind::Gauge, Kind::Histogram] {
        for name in ["a", "a:b", "a.b"] {
            recipes.push(Recipe::series(kind, name, []));
            recipes.push(Recipe::series(kind, name, [label("l", "x"), label("m", "")]));
            recipes.push(Recipe::series(kind, name, [label("n.o", "\"\\\n")]));
            recipes.push(Recipe::series(kind, name, []).with_repeat_labels(["l".to_owned()]));
        }
    }
    let extractor = Extractor::new(&recipes);
    (recipes, extractor)
});

fuzz_target!(|page: &str| {
    let (recipes, extractor) = &*RECIPES;
    let mut page = page.to_owned();
    page.push('\n');
    let mut out = Vec::new();
    let result = extractor.read(page.as_bytes(), &mut Scratch::default(), &mut out);
    let expected = reference::read(recipes, &page);
    assert!(
        reference::is_same(&out, &expected.values),
        "found {out:?}\nexpected {:?}",
        expected.values
    );
    match result {
        Ok(_) => assert_eq!(expected.bad_line, None),
        Err(PageError::BadLine { line, .. }) => assert_eq!(expected.bad_line, Some(line)),
        Err(PageError::NotMetrics { .. }) => {
            assert_eq!(expected.bad_line, None);
            assert!(out.iter().all(|extract| *extract == Extract::default()), "{out:?}");
        }
        Err(error @ PageError::CutOff { .. }) => panic!("{error}"),
    }
});
