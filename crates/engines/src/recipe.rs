//! Recipes: how one quantity is read from one page, whatever the engine.

use std::sync::Arc;

use crate::{
    kind::{Fold, Kind},
    labels::{LabelRule, LabelSet, label_text, matches},
};

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
pub struct Recipe(Arc<Parts>);

/// The content of a recipe. Clones share it: a kilobyte and more, of which each target has several
/// dozens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Parts {
    kind: Kind,
    terms: Vec<Vec<Selector>>,
    fold: Fold,
    repeat_labels: Vec<String>,
    absence: Absence,
    name: String,
}

/// The meaning of a page without a series that a recipe needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Absence {
    /// The quantity is absent: empty is not zero.
    #[default]
    Unknown,
    /// The quantity is absent, and that needs no explanation: some versions and pages of the engine
    /// never have the series.
    Usual,
    /// A summand that is absent is left out, as long as another one is there; else as for `Usual`.
    /// For sums of which only the growth matters.
    LeftOut,
    /// The series counts as 0, on a metrics page that has at least one sample or comment. A page
    /// that is empty, cut off, or no metrics page never gives a zero.
    Zero,
    /// The series counts as 0 on a page that has one of these proofs.
    ZeroBeforeRequests(Vec<IdleProof>),
}

/// The proof on a page that its engine has had no request yet; see
/// [`IdleRule`](crate::IdleRule).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdleProof {
    /// Series that are on the page, all of them at 0.
    pub zero: Vec<Selector>,
    /// Series that are on the page, with any value.
    pub present: Vec<Selector>,
    /// Series that are not on the page.
    pub without: Vec<Selector>,
    /// The beginning of a name that a sample or a comment of the page has.
    pub prefix: Option<&'static str>,
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
    /// Further requirements for labels.
    pub rules: Vec<LabelRule>,
    /// If the name is in use or has been replaced.
    pub standing: Standing,
    /// True if the name is that of a program that passes series on, and has changed it.
    pub is_respelled: bool,
    /// The way from the values of the series to the quantity.
    pub scale: Scale,
}

/// The way from the values of a series to a quantity in the unit of its signal: `less` is
/// subtracted from their sum, and the rest divided by `per`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scale {
    /// The number that is subtracted, such as 1 of a gauge of requests that counts its own scrape.
    /// The result is at least 0.
    pub less: u32,
    /// The number of the series' units in the quantity's, such as 1000 for milliseconds.
    pub per: u32,
    /// The name of the series by the sum of which that of the values is divided, so that the
    /// quantity is a share. It is selected by the same labels.
    pub over: Option<String>,
    /// The labels with numbers that each value is multiplied by, such as `num_gpu_blocks` of
    /// `vllm:cache_config_info`, which is always 1. A value without such a number is not finite.
    pub times: Vec<String>,
}

impl Scale {
    /// The quantity is in the unit of the series.
    pub const UNIT: Self = Self { less: 0, per: 1, over: None, times: Vec::new() };

    /// Returns the quantity, given the sum of the values. NaN stays NaN.
    pub(crate) fn apply(&self, sum: f64) -> f64 {
        let rest = sum - f64::from(self.less);
        let rest = if self.less > 0 && rest < 0.0 { 0.0 } else { rest };
        rest / f64::from(self.per)
    }
}

/// The relation of an alternative name to the first one of its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// A name in use: the first one, or that of another page or backend of the same engine.
    Current,
    /// A former name, which an upgrade of the engine takes away.
    Former,
    /// A name in use that counts before the first one on a page that has both, because it is the
    /// number of the whole.
    Preferred,
}

impl Recipe {
    /// Returns the sum of all series called `name` that have all of `labels`.
    pub fn series(
        kind: Kind,
        name: impl Into<String>,
        labels: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        Self::selected(kind, Selector::new(name, labels))
    }

    /// Returns the sum of all series that `selector` selects.
    pub fn selected(kind: Kind, selector: Selector) -> Self {
        Self::new(kind, vec![vec![selector]], Fold::Sum)
    }

    /// Returns the sum of both recipes, with the kind of the first.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let Parts { kind, terms, fold, repeat_labels, absence, .. } = self.into_parts();
        let terms = terms.into_iter().chain(other.into_parts().terms).collect();
        Self::of(Parts { repeat_labels, absence, ..Parts::new(kind, terms, fold) })
    }

    /// Returns the sum of `terms`, each a list of alternatives.
    pub(crate) fn new(kind: Kind, terms: Vec<Vec<Selector>>, fold: Fold) -> Self {
        Self::of(Parts::new(kind, terms, fold))
    }

    fn of(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    fn into_parts(self) -> Parts {
        Arc::unwrap_or_clone(self.0)
    }

    /// Declares that series which differ only in these labels repeat each other. They count once,
    /// by the highest of their finite values.
    #[must_use]
    pub fn with_repeat_labels(self, labels: impl IntoIterator<Item = String>) -> Self {
        Self::of(Parts { repeat_labels: labels.into_iter().collect(), ..self.into_parts() })
    }

    /// Declares what a page without one of its series means.
    #[must_use]
    pub fn with_absence(self, absence: Absence) -> Self {
        Self::of(Parts { absence, ..self.into_parts() })
    }

    /// Returns what a page without one of its series means.
    pub fn absence(&self) -> &Absence {
        &self.0.absence
    }

    /// Returns the kind of its series.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns the name for messages and events: the newest name of each term, joined by `+`.
    pub fn series_name(&self) -> &str {
        &self.0.name
    }

    /// Returns the name for messages if one term was read under another of its names. `alternative`
    /// is as in [`Extract`](crate::exposition::Extract).
    pub fn name_as_found(&self, alternative: Option<(usize, usize)>) -> String {
        self.names_as_found(alternative).join("+")
    }

    /// Returns the name of each term. The first term that was not read under its first name tells
    /// how a program between spells all of them.
    pub(crate) fn names_as_found(&self, alternative: Option<(usize, usize)>) -> Vec<&str> {
        let place = |index: usize| {
            let (term, used) = alternative?;
            let found = self.name_at(term, used)?;
            let alike = |other: &Selector| {
                (other.is_respelled, other.standing) == (found.is_respelled, found.standing)
            };
            let is_alike =
                found.is_of_another_program() && self.name_at(index, used).is_some_and(alike);
            (term == index || is_alike).then_some(used)
        };
        let terms = 0..self.0.terms.len();
        let names = terms.filter_map(|index| self.name_at(index, place(index).unwrap_or_default()));
        names.map(|selector| selector.name.as_str()).collect()
    }

    fn name_at(&self, term: usize, alternative: usize) -> Option<&Selector> {
        self.0.terms.get(term)?.get(alternative)
    }

    /// Returns the name with every alternative in brackets, for a message that none was found. Each
    /// has the labels that select it. Names of programs built upon the engine, and those that other
    /// programs make of these, are left out.
    pub fn accepted_names(&self) -> String {
        let first = self.0.terms.iter().filter_map(|term| term.first()).map(Selector::text);
        let others = self.0.terms.iter().flat_map(|term| term.iter().skip(1));
        let is_own = |name: &&Selector| !name.is_respelled && name.standing != Standing::Preferred;
        let others = others.filter(is_own).map(Selector::text);
        let (first, others): (Vec<_>, Vec<_>) = (first.collect(), others.collect());
        if others.is_empty() {
            first.join("+")
        } else {
            format!("{} (or {})", first.join("+"), others.join(", "))
        }
    }

    /// Returns the summands. Each is a list of alternatives, of which the first on the page counts.
    pub fn terms(&self) -> &[Vec<Selector>] {
        &self.0.terms
    }

    /// Returns how several series that match one selector become one number.
    pub fn fold(&self) -> Fold {
        self.0.fold
    }

    /// Returns the labels by which series repeat each other.
    pub fn repeat_labels(&self) -> &[String] {
        &self.0.repeat_labels
    }

    /// Returns the families that are read, with those that prove that there was no request yet; a
    /// histogram's with `_bucket`. A family may be there twice.
    pub fn families(&self) -> impl Iterator<Item = String> {
        let proofs = match &self.0.absence {
            Absence::ZeroBeforeRequests(proofs) => &proofs[..],
            Absence::Unknown | Absence::Usual | Absence::LeftOut | Absence::Zero => &[],
        };
        // Without a series that has to be there, only a page can be a proof.
        let is_by_series = |proof: &&IdleProof| !proof.zero.is_empty() || !proof.present.is_empty();
        let proofs = proofs.iter().filter(is_by_series);
        let proofs =
            proofs.flat_map(|proof| proof.zero.iter().chain(&proof.present).chain(&proof.without));
        let proofs = proofs.map(|series| series.name.clone());
        let own = self.0.terms.iter().flatten().map(|selector| self.0.kind.family(&selector.name));
        let divisors = self.0.terms.iter().flatten().filter_map(|term| term.scale.over.clone());
        own.chain(divisors).chain(proofs)
    }
}

impl Parts {
    fn new(kind: Kind, terms: Vec<Vec<Selector>>, fold: Fold) -> Self {
        let primary = terms.iter().filter_map(|alternatives| alternatives.first());
        let names: Vec<&str> = primary.map(|selector| selector.name.as_str()).collect();
        let name = names.join("+");
        Self { kind, terms, fold, repeat_labels: Vec::new(), absence: Absence::Unknown, name }
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
        Self {
            name: name.into(),
            labels,
            rules: Vec::new(),
            standing: Standing::Current,
            is_respelled: false,
            scale: Scale::UNIT,
        }
    }

    /// Adds requirements for labels.
    #[must_use]
    pub fn with_rules(self, rules: Vec<LabelRule>) -> Self {
        Self { rules, ..self }
    }

    /// Returns true if the name is that of a program built upon the engine, or of one that passes
    /// its series on.
    fn is_of_another_program(&self) -> bool {
        self.is_respelled || self.standing == Standing::Preferred
    }

    /// Returns true if a series has the labels. Its name is not looked at.
    pub(crate) fn matches(&self, labels: &impl LabelSet) -> bool {
        matches(&self.labels, &self.rules, labels)
    }

    /// Returns the requirements for labels as text, such as `model="a",rank notin ("0", "1")`.
    pub(crate) fn labels_text(&self) -> String {
        let equal = (!self.labels.is_empty()).then(|| label_text(&self.labels));
        let rules = self.rules.iter().map(LabelRule::text);
        equal.into_iter().chain(rules).collect::<Vec<_>>().join(",")
    }

    /// Returns the name with the labels that select it, such as `queue{model="a"}`.
    fn text(&self) -> String {
        match &*self.labels_text() {
            "" => self.name.clone(),
            labels => format!("{}{{{labels}}}", self.name),
        }
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
        let recipe = Recipe::series(Kind::Gauge, "a", [("b".to_owned(), "c\"d".to_owned())]);
        assert_eq!(recipe.accepted_names(), r#"a{b="c\"d"}"#);
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
