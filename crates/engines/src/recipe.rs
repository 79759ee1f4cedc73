//! Recipes: how one quantity comes out of one page, whatever the engine.

use crate::{Fold, Kind, Standing};

/// How to get one quantity out of the metrics page of one replica.
///
/// It is the sum of its terms. A term is the first of its alternatives that the page has; where several series match
/// that, they are folded. If a term is absent, so is the quantity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipe {
    kind: Kind,
    terms: Vec<Vec<Selector>>,
    fold: Fold,
    repeats: Vec<String>,
    name: String,
}

/// Which series count: those of this name that have all of these labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    /// The series' full name, `_total`, `_count` or the like included; not a prefix. A histogram's is without `_bucket`.
    pub name: String,
    /// Labels and their values, sorted. An empty value also matches a series without that label: in
    /// Prometheus's data model the two are one.
    pub labels: Vec<(String, String)>,
    /// How the name stands to the first of its alternatives.
    pub standing: Standing,
}

impl Recipe {
    /// The sum of all series called `name` that have all of `labels`.
    pub fn series(
        kind: Kind,
        name: impl Into<String>,
        labels: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        Self::new(kind, vec![vec![Selector::new(name, labels)]], Fold::Sum)
    }

    /// The sum of all series of both, whose kind is that of the first.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let terms = self.terms.into_iter().chain(other.terms).collect();
        Self { repeats: self.repeats, ..Self::new(self.kind, terms, self.fold) }
    }

    /// The sum of `terms`, each a list of alternatives.
    pub(crate) fn new(kind: Kind, terms: Vec<Vec<Selector>>, fold: Fold) -> Self {
        let primary = terms.iter().filter_map(|alternatives| alternatives.first());
        let names: Vec<&str> = primary.map(|selector| selector.name.as_str()).collect();
        let name = names.join("+");
        Self { kind, terms, fold, repeats: Vec::new(), name }
    }

    /// Series that differ in these labels only say the same thing, and count once, by the highest of their values.
    #[must_use]
    pub fn repeated_by(self, labels: impl IntoIterator<Item = String>) -> Self {
        Self { repeats: labels.into_iter().collect(), ..self }
    }

    /// What its series are.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What it is called in messages and events: its series, by their newest names, joined by `+`.
    pub fn series_name(&self) -> &str {
        &self.name
    }

    /// What it is called where one term is read under another of its names: `alternative` is as in
    /// [`Extract`](crate::exposition::Extract).
    pub fn name_as_found(&self, alternative: Option<(usize, usize)>) -> String {
        let name = |(index, term): (usize, &Vec<Selector>)| {
            let at = alternative.filter(|(of, _)| *of == index).map_or(0, |(_, at)| at);
            term.get(at).map(|selector| selector.name.clone())
        };
        self.terms.iter().enumerate().filter_map(name).collect::<Vec<_>>().join("+")
    }

    /// What is looked for, for somebody who does not find it: the name, and in brackets the others that would do.
    pub fn wanted(&self) -> String {
        let others = self.terms.iter().flat_map(|term| term.iter().skip(1));
        let others: Vec<&str> = others.map(|selector| selector.name.as_str()).collect();
        if others.is_empty() {
            self.name.clone()
        } else {
            format!("{} (or {})", self.name, others.join(", "))
        }
    }

    /// The summands, each a list of alternatives, the first of which that is there counts.
    pub fn terms(&self) -> &[Vec<Selector>] {
        &self.terms
    }

    /// How several series that match one selector become one number.
    pub const fn fold(&self) -> Fold {
        self.fold
    }

    /// Labels by which series repeat each other.
    pub fn repeats(&self) -> &[String] {
        &self.repeats
    }

    /// The families whose lines it needs, `_bucket` included where they are a histogram's.
    pub fn families(&self) -> impl Iterator<Item = String> {
        self.terms.iter().flatten().map(|selector| self.kind.family(&selector.name))
    }
}

impl Kind {
    /// The name that the lines of a series begin with: a histogram is read from its buckets.
    pub fn family(self, series: &str) -> String {
        match self {
            Self::Gauge | Self::Counter => series.to_owned(),
            Self::Histogram => format!("{series}_bucket"),
        }
    }
}

impl Selector {
    /// Series called `name` that have all of `labels`.
    pub fn new(
        name: impl Into<String>,
        labels: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut labels: Vec<_> = labels.into_iter().collect();
        labels.sort_unstable();
        Self { name: name.into(), labels, standing: Standing::Current }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, Signal};

    #[test]
    fn a_recipe_is_called_by_its_newest_series() {
        let name = |signal| Engine::Vllm.profile().recipe(signal).unwrap().series_name().to_owned();
        assert_eq!(name(Signal::WaitingRequests), "vllm:num_requests_waiting");
        assert_eq!(
            name(Signal::InFlightRequests),
            "vllm:num_requests_running+vllm:num_requests_waiting"
        );
        assert_eq!(name(Signal::KvCacheUsage), "vllm:kv_cache_usage_perc");
    }

    #[test]
    fn names_that_would_do_are_known() {
        let recipe = Engine::Vllm.profile().recipe(Signal::KvCacheUsage).unwrap();
        assert_eq!(recipe.wanted(), "vllm:kv_cache_usage_perc (or vllm:gpu_cache_usage_perc)");
        assert_eq!(recipe.name_as_found(None), "vllm:kv_cache_usage_perc");
        assert_eq!(recipe.name_as_found(Some((0, 1))), "vllm:gpu_cache_usage_perc");
        let recipe = Engine::Vllm.profile().recipe(Signal::InFlightRequests).unwrap();
        assert_eq!(recipe.wanted(), recipe.series_name());
    }

    #[test]
    fn a_histogram_is_read_from_its_buckets() {
        let recipe = Engine::Vllm.profile().recipe(Signal::InterTokenLatency).unwrap();
        let families: Vec<_> = recipe.families().collect();
        assert_eq!(families[0], "vllm:inter_token_latency_seconds_bucket");
    }

    #[test]
    fn the_order_of_labels_makes_no_difference() {
        let label = |name: &str| (name.to_owned(), "x".to_owned());
        assert_eq!(
            Recipe::series(Kind::Gauge, "a", [label("b"), label("c")]),
            Recipe::series(Kind::Gauge, "a", [label("c"), label("b")])
        );
    }
}
