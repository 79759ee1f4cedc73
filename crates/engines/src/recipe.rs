//! Recipes: how one quantity is read from one page, whatever the engine.

use crate::kind::{Fold, Kind};

/// A *recipe* is the way to get one quantity from the metrics page of one replica: which series to
/// read, and how to add them up.
///
/// The quantity is the sum of the recipe's terms. A term is the first of its alternatives that the
/// page has; if several series match that one, they are folded. If a term is absent, so is the
/// quantity.
///
/// ```
/// use llm_autoscaler_engines::{
///     Kind, Recipe,
///     exposition::{Extractor, PageError, Scratch, Value},
/// };
///
/// let label = [("queue".to_owned(), "main".to_owned())];
/// let recipe = Recipe::series(Kind::Gauge, "my_server:queue_length", label);
/// let page = b"my_server:queue_length{queue=\"main\",rank=\"0\"} 3\n\
///              my_server:queue_length{queue=\"main\",rank=\"1\"} 4\n\
///              my_server:queue_length{queue=\"other\"} 9\n";
/// let mut out = Vec::new();
/// Extractor::new(&[recipe]).read(page, &mut Scratch::default(), &mut out)?;
/// assert_eq!(out[0].value, Value::Number(7.0));
/// # Ok::<(), PageError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipe {
    kind: Kind,
    terms: Vec<Vec<Selector>>,
    fold: Fold,
    repeat_labels: Vec<String>,
    name: String,
}

/// Selects the series of one name that have all of these labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    /// The full name of the series, with `_total`, `_count` or the like; it is not a prefix. A
    /// histogram's name is without `_bucket`.
    pub name: String,
    /// Labels and their values, sorted. An empty value also matches a series without that label,
    /// because the two are the same in Prometheus's data model.
    pub labels: Vec<(String, String)>,
    /// If the name is in use or has been replaced.
    pub standing: Standing,
}

/// The relation of an alternative name to the first one of its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// A name in use: the first one, or that of another page or backend of the same engine.
    Current,
    /// A former name, which an upgrade of the engine takes away.
    Former,
}

impl Recipe {
    /// Returns the sum of all series called `name` that have all of `labels`.
    pub fn series(
        kind: Kind,
        name: impl Into<String>,
        labels: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        Self::new(kind, vec![vec![Selector::new(name, labels)]], Fold::Sum)
    }

    /// Returns the sum of both recipes, with the kind of the first.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let terms = self.terms.into_iter().chain(other.terms).collect();
        Self { repeat_labels: self.repeat_labels, ..Self::new(self.kind, terms, self.fold) }
    }

    /// Returns the sum of `terms`, each a list of alternatives.
    pub(crate) fn new(kind: Kind, terms: Vec<Vec<Selector>>, fold: Fold) -> Self {
        let primary = terms.iter().filter_map(|alternatives| alternatives.first());
        let names: Vec<&str> = primary.map(|selector| selector.name.as_str()).collect();
        let name = names.join("+");
        Self { kind, terms, fold, repeat_labels: Vec::new(), name }
    }

    /// Declares that series which differ only in these labels repeat each other. They count once,
    /// by the highest of their finite values.
    #[must_use]
    pub fn with_repeat_labels(self, labels: impl IntoIterator<Item = String>) -> Self {
        Self { repeat_labels: labels.into_iter().collect(), ..self }
    }

    /// Returns the kind of its series.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the name for messages and events: the newest name of each term, joined by `+`.
    pub fn series_name(&self) -> &str {
        &self.name
    }

    /// Returns the name for messages if one term was read under another of its names. `alternative`
    /// is as in [`Extract`](crate::exposition::Extract).
    pub fn name_as_found(&self, alternative: Option<(usize, usize)>) -> String {
        let mut names = Vec::new();
        for (index, term) in self.terms.iter().enumerate() {
            let used = alternative.filter(|(of, _)| *of == index).map_or(0, |(_, used)| used);
            names.extend(term.get(used).map(|selector| selector.name.as_str()));
        }
        names.join("+")
    }

    /// Returns the name with every alternative in brackets, for a message that none was found.
    pub fn accepted_names(&self) -> String {
        let others = self.terms.iter().flat_map(|term| term.iter().skip(1));
        let others: Vec<&str> = others.map(|selector| selector.name.as_str()).collect();
        if others.is_empty() {
            self.name.clone()
        } else {
            format!("{} (or {})", self.name, others.join(", "))
        }
    }

    /// Returns the summands. Each is a list of alternatives, of which the first on the page counts.
    pub fn terms(&self) -> &[Vec<Selector>] {
        &self.terms
    }

    /// Returns how several series that match one selector become one number.
    pub const fn fold(&self) -> Fold {
        self.fold
    }

    /// Returns the labels by which series repeat each other.
    pub fn repeat_labels(&self) -> &[String] {
        &self.repeat_labels
    }

    /// Returns the families that are read; a histogram's with `_bucket`.
    pub fn families(&self) -> impl Iterator<Item = String> {
        self.terms.iter().flatten().map(|selector| self.kind.family(&selector.name))
    }
}

impl Selector {
    /// Selects series called `name` that have all of `labels`.
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
    use crate::{engine::Engine, signal::Signal};

    #[test]
    fn a_recipe_is_named_by_its_newest_series() {
        let name = |signal| Engine::Vllm.profile().recipe(signal).unwrap().series_name().to_owned();
        assert_eq!(name(Signal::WaitingRequests), "vllm:num_requests_waiting");
        assert_eq!(
            name(Signal::InFlightRequests),
            "vllm:num_requests_running+vllm:num_requests_waiting"
        );
        assert_eq!(name(Signal::KVCacheUsage), "vllm:kv_cache_usage_perc");
    }

    #[test]
    fn the_accepted_names_are_the_series_of_every_version() {
        let recipe = Engine::Vllm.profile().recipe(Signal::KVCacheUsage).unwrap();
        assert_eq!(
            recipe.accepted_names(),
            "vllm:kv_cache_usage_perc (or vllm:gpu_cache_usage_perc)"
        );
        assert_eq!(recipe.name_as_found(None), "vllm:kv_cache_usage_perc");
        assert_eq!(recipe.name_as_found(Some((0, 1))), "vllm:gpu_cache_usage_perc");
        let recipe = Engine::Vllm.profile().recipe(Signal::InFlightRequests).unwrap();
        assert_eq!(recipe.accepted_names(), recipe.series_name());
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
