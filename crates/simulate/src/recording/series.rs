//! The series that a recording is made of, and the queries for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use llm_autoscaler_engines::{
    Engine, Kind, Recipe, Signal,
    exposition::{Extractor, Value},
    prometheus::{duration, label_matcher, regex_matcher, stored_names},
};

/// The series by which Prometheus tells that it has a pod as a target, and if its page was there.
pub(super) const UP: &str = "up";

/// The pods of a service, as a Prometheus names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The namespace of the pods.
    pub namespace: String,
    /// A regular expression that matches their names as a whole.
    pub pods: String,
    /// The label that has the namespace.
    pub namespace_label: String,
    /// The label that has the name of the pod.
    pub pod_label: String,
    /// The labels of replicas of a server, by which series only repeat each other.
    pub replica_labels: Vec<String>,
    /// Further labels of the series, with their values.
    pub matchers: Vec<(String, String)>,
}

impl Selection {
    /// Returns the PromQL selector of the raw samples of series with these names, over a range up
    /// to the time of the query.
    ///
    /// Raw samples show each reset of a counter and each scrape that failed, where `increase` would
    /// guess the ends of its range.
    pub fn selector(&self, names: &[&str], range: Duration) -> String {
        let mut matchers = vec![
            label_matcher("__name__", names.iter().copied()),
            label_matcher(&self.namespace_label, [&*self.namespace]),
            regex_matcher(&self.pod_label, &self.pods),
        ];
        matchers
            .extend(self.matchers.iter().map(|(label, value)| label_matcher(label, [&**value])));
        format!("{{{}}}[{}]", matchers.join(","), duration(range))
    }
}

/// The quantities of an engine that a recording needs.
#[derive(Debug, Clone)]
pub struct Measures {
    recipes: Vec<(Quantity, Recipe)>,
    extractor: Extractor,
    /// The names of the series that are gauges; those of all others count up.
    gauges: BTreeSet<String>,
    names: Vec<String>,
}

/// A quantity of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Quantity {
    InFlight,
    Running,
    Waiting,
    Ended,
    PromptTokens,
    OutputTokens,
    FirstTokens,
    BetweenTokens,
    Prompts,
    Answers,
}

/// The values of a page; those that it lacks are not there.
pub(super) type Values = BTreeMap<Quantity, Value>;

impl Measures {
    /// Returns the quantities of an engine.
    pub fn of(engine: Engine) -> Self {
        let profile = engine.profile();
        let signals = [
            (Quantity::InFlight, Signal::InFlightRequests),
            (Quantity::Running, Signal::RunningRequests),
            (Quantity::Waiting, Signal::WaitingRequests),
            (Quantity::Ended, Signal::RequestRate),
            (Quantity::PromptTokens, Signal::PromptTokenRate),
            (Quantity::OutputTokens, Signal::GenerationTokenRate),
            (Quantity::FirstTokens, Signal::TimeToFirstToken),
            (Quantity::BetweenTokens, Signal::InterTokenLatency),
        ];
        let mut recipes: Vec<(Quantity, Recipe)> = signals
            .into_iter()
            .filter_map(|(quantity, signal)| Some((quantity, profile.recipe(signal)?)))
            .collect();
        if let Some([prompts, answers]) = profile.length_recipes() {
            recipes.extend([(Quantity::Prompts, prompts), (Quantity::Answers, answers)]);
        }
        let only: Vec<Recipe> = recipes.iter().map(|(_, recipe)| recipe.clone()).collect();
        // The families of a recipe include counters that prove an engine to be idle.
        let gauges = only.iter().filter(|recipe| recipe.kind() == Kind::Gauge);
        let gauges = gauges.flat_map(|recipe| recipe.terms().iter().flatten());
        let names: BTreeSet<String> =
            only.iter().flat_map(stored_names).chain([UP.to_owned()]).collect();
        Self {
            extractor: Extractor::new(&only),
            gauges: gauges.map(|term| term.name.clone()).chain([UP.to_owned()]).collect(),
            names: names.into_iter().collect(),
            recipes,
        }
    }

    /// Returns the names of all series.
    pub fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// Returns true if the engine reports enough to make a trace: requests that end, or requests in
    /// flight, and the tokens of prompts and answers.
    pub fn are_enough(&self) -> bool {
        [Quantity::Ended, Quantity::PromptTokens, Quantity::OutputTokens]
            .iter()
            .all(|wanted| self.recipes.iter().any(|(quantity, _)| quantity == wanted))
    }

    pub(super) fn is_gauge(&self, name: &str) -> bool {
        self.gauges.contains(name)
    }

    pub(super) fn extractor(&self) -> &Extractor {
        &self.extractor
    }

    pub(super) fn quantities(&self) -> impl Iterator<Item = Quantity> {
        self.recipes.iter().map(|(quantity, _)| *quantity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_has_the_pods_and_all_names() {
        let selection = Selection {
            namespace: "models".to_owned(),
            pods: "qwen-.*".to_owned(),
            namespace_label: "namespace".to_owned(),
            pod_label: "pod".to_owned(),
            replica_labels: Vec::new(),
            matchers: vec![("cluster".to_owned(), "eu-1".to_owned())],
        };
        let selector = selection.selector(&["up", "vllm:x"], Duration::from_hours(1));
        let expected =
            r#"{__name__=~"up|vllm:x",namespace="models",pod=~"qwen-.*",cluster="eu-1"}[60m]"#;
        assert_eq!(selector, expected);
    }

    #[test]
    fn every_engine_with_signals_has_what_a_trace_needs() {
        for engine in Engine::ALL {
            let measures = Measures::of(engine);
            assert_eq!(measures.are_enough(), engine != Engine::Custom, "{engine:?}");
            assert!(measures.names().contains(&UP));
        }
    }
}
