//! Recipes: how one number comes out of one page, whatever the engine.

use crate::Fold;

/// How to get one number out of the metrics page of one replica.
///
/// The number is the sum of its terms. A term is the first of its alternatives that the page has; where
/// several series match that, they are folded. If a term is absent, so is the number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipe {
    terms: Vec<Vec<Selector>>,
    fold: Fold,
    name: String,
}

/// Which series count: those of this name that have all of these labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    /// The series' full name, `_total`, `_count` or the like included; not a prefix.
    pub name: String,
    /// Labels and their values, sorted. An empty value also matches a series without that label: in
    /// Prometheus's data model the two are one.
    pub labels: Vec<(String, String)>,
}

impl Recipe {
    /// The sum of all series called `name` that have all of `labels`.
    pub fn series(name: impl Into<String>, labels: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::new(vec![vec![Selector::new(name, labels)]], Fold::Sum)
    }

    /// The sum of `terms`, each a list of alternatives.
    pub(crate) fn new(terms: Vec<Vec<Selector>>, fold: Fold) -> Self {
        let primary = terms.iter().filter_map(|alternatives| alternatives.first());
        let names: Vec<&str> = primary.map(|selector| selector.name.as_str()).collect();
        let name = names.join("+");
        Self { terms, fold, name }
    }

    /// What it is called in messages and events: its series, by their newest names, joined by `+`.
    pub fn series_name(&self) -> &str {
        &self.name
    }

    /// The summands, each a list of alternatives, the first of which that is there counts.
    pub fn terms(&self) -> &[Vec<Selector>] {
        &self.terms
    }

    /// How several series that match one selector become one number.
    pub const fn fold(&self) -> Fold {
        self.fold
    }
}

impl Selector {
    /// Series called `name` that have all of `labels`.
    pub fn new(name: impl Into<String>, labels: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut labels: Vec<_> = labels.into_iter().collect();
        labels.sort_unstable();
        Self { name: name.into(), labels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, Signal};

    #[test]
    fn a_recipe_is_called_by_its_newest_series() {
        let name = |signal| Engine::Vllm.profile().signal(signal).unwrap().recipe().series_name().to_owned();
        assert_eq!(name(Signal::WaitingRequests), "vllm:num_requests_waiting");
        assert_eq!(name(Signal::InFlightRequests), "vllm:num_requests_running+vllm:num_requests_waiting");
        assert_eq!(name(Signal::KvCacheUsage), "vllm:kv_cache_usage_perc");
    }

    #[test]
    fn the_order_of_labels_makes_no_difference() {
        let label = |name: &str| (name.to_owned(), "x".to_owned());
        assert_eq!(
            Recipe::series("a", [label("b"), label("c")]),
            Recipe::series("a", [label("c"), label("b")])
        );
    }
}
