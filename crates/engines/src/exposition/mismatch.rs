//! The labels of a series that a page has, but not with the labels that a recipe selects.

use memchr::memchr_iter;

use super::line::{Sample, name_of, trim};
use crate::{
    recipe::{Recipe, Selector},
    shortened::shortened,
};

/// The number of sets of labels that are shown.
const SHOWN: usize = 3;
/// The length of the longest set of labels that is shown, in characters.
const LONGEST: usize = 200;

/// A series that is on a page without the labels that are selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMismatch {
    /// The name of the series.
    pub series: String,
    /// The selected labels as text, such as `model_name="Qwen/Qwen3-32B"`.
    pub wanted: String,
    /// The values that the page has for the selected labels, at most three, in its order. A label
    /// that a series lacks is shown with an empty value, which is the same.
    pub found: Vec<String>,
}

impl LabelMismatch {
    /// Returns the first series of `recipe` that the page has, but only with other labels; `None`
    /// if there is none.
    pub fn find(page: &[u8], recipe: &Recipe) -> Option<Self> {
        let selectors = recipe.terms().iter().flatten();
        let mut selectors =
            selectors.filter(|selector| !selector.labels.is_empty() || !selector.rules.is_empty());
        selectors
            .find_map(|selector| Self::of(page, &recipe.kind().family(&selector.name), selector))
    }

    fn of(page: &[u8], family: &str, selector: &Selector) -> Option<Self> {
        let mut found: Vec<String> = Vec::new();
        let mut start = 0;
        for end in memchr_iter(b'\n', page) {
            let line = trim(&page[start..end]);
            start = end + 1;
            if !name_of(line).is_some_and(|name| name.is(family.as_bytes())) {
                continue;
            }
            let Ok(sample) = Sample::parse(line) else { continue };
            if selector.matches(&sample.labels) {
                return None;
            }
            if found.len() == SHOWN {
                continue;
            }
            let all = sample.labels.all();
            let value = |wanted: &str| all.iter().find(|(name, _)| name == wanted);
            let value = |wanted| value(wanted).map_or(String::new(), |(_, value)| value.clone());
            let equal = selector.labels.iter().map(|(name, _)| name);
            let wanted = equal.chain(selector.rules.iter().map(|rule| &rule.label));
            let labels: Vec<(String, String)> =
                wanted.map(|name| (name.clone(), value(name))).collect();
            let text = shortened(&crate::labels::label_text(&labels), LONGEST);
            if !found.contains(&text) {
                found.push(text);
            }
        }
        let wanted = shortened(&selector.labels_text(), LONGEST);
        (!found.is_empty()).then(|| Self { series: selector.name.clone(), wanted, found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;

    #[test]
    fn other_labels_are_found_and_the_selected_ones_are_no_mismatch() {
        let page = b"a{m=\"x\",le=\"1\"} 1\na{le=\"2\"} 2\na{m=\"x\"} 3\na_bucket{le=\"1\"} 3\n";
        let find = |kind, name: &str, value: &str| {
            let label = ("m".to_owned(), value.to_owned());
            LabelMismatch::find(page, &Recipe::series(kind, name, [label]))
        };
        let found = find(Kind::Gauge, "a", "X").unwrap();
        assert_eq!((&*found.series, &*found.wanted), ("a", "m=\"X\""));
        assert_eq!(found.found, ["m=\"x\"", "m=\"\""]);
        assert_eq!(find(Kind::Gauge, "a", "x"), None);
        assert_eq!(find(Kind::Gauge, "a", ""), None, "an empty value matches a missing label");
        assert_eq!(find(Kind::Gauge, "b", "x"), None);
        let large = format!("a{{m=\"{}\"}} 1\n", "x".repeat(100_000));
        let long = ("m".to_owned(), "y".repeat(1000));
        let found =
            LabelMismatch::find(large.as_bytes(), &Recipe::series(Kind::Gauge, "a", [long]));
        let LabelMismatch { wanted, found, .. } = found.unwrap();
        assert!(wanted.len() < 210 && found[0].len() < 210, "{wanted} {found:?}");
        assert_eq!(find(Kind::Histogram, "a", "x").unwrap().found, ["m=\"\""]);
        assert_eq!(LabelMismatch::find(page, &Recipe::series(Kind::Gauge, "a", [])), None);
    }
}
