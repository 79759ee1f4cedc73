//! Series that a page has in another form than a recipe reads, such as a summary in place of a
//! histogram.

use std::collections::BTreeSet;

use crate::{
    exposition::{DeclaredTypes, list_series},
    kind::Kind,
    recipe::Recipe,
};

/// A name of a recipe that a page has in another form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OtherForm {
    /// The name, as the recipe has it.
    pub(super) name: String,
    /// The rest of a sentence about the name, such as `is a summary and not a histogram`.
    pub(super) form: String,
}

impl OtherForm {
    /// Finds the first name of a recipe that the page has in another form only. `names` are those
    /// of the page's series.
    pub(super) fn find(page: &[u8], names: &BTreeSet<String>, recipe: &Recipe) -> Option<Self> {
        let kind = recipe.kind();
        let selectors = recipe.terms().iter().flatten();
        selectors.map(|selector| selector.name.as_str()).find_map(|name| {
            if names.contains(&kind.family(name)) {
                return None;
            }
            let form = match kind {
                Kind::Histogram => without_buckets(page, names, name)?.to_owned(),
                Kind::Gauge | Kind::Counter => {
                    let has_buckets = names.contains(&Kind::Histogram.family(name));
                    has_buckets.then(|| format!("is a histogram and not a {}", kind.name()))?
                }
            };
            Some(Self { name: name.to_owned(), form })
        })
    }
}

/// Returns the form of a series that is wanted as a histogram and has no buckets.
fn without_buckets(page: &[u8], names: &BTreeSet<String>, name: &str) -> Option<&'static str> {
    let has = |end: &str| names.contains(&format!("{name}{end}"));
    let (is_number, is_counted) = (has(""), has("_count") || has("_sum"));
    if !is_number && !is_counted {
        return None;
    }
    let has_quantiles = || {
        let series = list_series(page);
        let mut own = series.iter().filter(|series| series.name == name);
        own.any(|series| series.labels.iter().any(|(label, _)| label == "quantile"))
    };
    let declared = DeclaredTypes::of(page).get(name);
    let is_summary = declared.as_deref() == Some("summary") || (is_number && has_quantiles());
    Some(match (is_summary, is_number) {
        (true, _) => "is a summary and not a histogram",
        (false, true) => "is a single number and not a histogram",
        (false, false) => "has a count or a sum and no buckets",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_of_another_form_is_named_with_its_form() {
        let find = |page: &str, kind, name: &str| {
            let names = super::super::names(page.as_bytes());
            let recipe = Recipe::series(kind, name, []);
            let found = OtherForm::find(page.as_bytes(), &names, &recipe);
            found.map(|found| format!("{} {}", found.name, found.form))
        };
        let (summary, number) =
            ("t is a summary and not a histogram", "t is a single number and not a histogram");
        // page, kind, the sentence about `t`
        for (page, kind, expected) in [
            ("# TYPE t summary\nt_sum 5\nt_count 4\n", Kind::Histogram, Some(summary)),
            ("t{quantile=\"0.5\"} 1\nt_sum 5\nt_count 4\n", Kind::Histogram, Some(summary)),
            ("t{m=\"a\"} 1\n", Kind::Histogram, Some(number)),
            ("t_sum 5\n", Kind::Histogram, Some("t has a count or a sum and no buckets")),
            ("t_bucket{le=\"1\"} 5\n", Kind::Gauge, Some("t is a histogram and not a gauge")),
            ("t_bucket{le=\"1\"} 5\n", Kind::Counter, Some("t is a histogram and not a counter")),
            ("t_bucket{le=\"1\"} 5\nt_sum 5\n", Kind::Histogram, None),
            ("t 5\nt_bucket{le=\"1\"} 5\n", Kind::Gauge, None),
            ("t_count 5\n", Kind::Gauge, None),
            ("t_seconds_sum 5\n", Kind::Histogram, None),
        ] {
            assert_eq!(find(page, kind, "t").as_deref(), expected, "{page} as {kind:?}");
        }
    }
}
