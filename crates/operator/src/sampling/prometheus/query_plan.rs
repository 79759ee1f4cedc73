//! The queries that serve all subscribers of a server.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use llm_autoscaler_engines::prometheus::range_selector;

use crate::sampling::prometheus::{
    demand::{QueryDemand, RangeGroup, Selection, SeriesNames, ServerKey},
    instant_query::InstantQuery,
    splits::{Part, Splits},
};

/// The largest number of expressions and selections that one server is queried for.
pub(super) const MOST_WANTED: usize = 256;

/// Something that subscribers want to be queried.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Wanted {
    /// The series of a measure.
    Selection(Selection),
    /// The PromQL expression of a spec.
    Expression(String),
}

/// A query of a plan. Its answer is that of all that it reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum QueryId {
    /// The series of some selections of a group.
    Range(RangeGroup, Part),
    /// The PromQL expression of a spec.
    Expression(String),
}

/// The settings of a query, which all demands for it have determined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct QuerySettings {
    /// The shortest interval.
    pub(super) interval: Duration,
    /// The longest timeout.
    pub(super) timeout: Duration,
    /// The shortest age after which a sample is ignored.
    stale_after: Duration,
}

/// The merged demand of all subscribers.
#[derive(Debug, Default)]
pub(super) struct QueryPlan {
    pub(super) queries: BTreeMap<QueryId, QuerySettings>,
    /// The part of the demand that exceeds the limit of a server.
    pub(super) excess: BTreeSet<Wanted>,
}

impl QuerySettings {
    fn of(demand: &QueryDemand) -> Self {
        let QueryDemand { interval, timeout, stale_after, .. } = *demand;
        Self { interval, timeout, stale_after }
    }

    fn merge(&mut self, other: Self) {
        self.interval = self.interval.min(other.interval);
        self.timeout = self.timeout.max(other.timeout);
        self.stale_after = self.stale_after.min(other.stale_after);
    }
}

impl QueryDemand {
    /// Returns all that the subscriber wants to be queried.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Wanted> {
        let selections = self.selections.iter().cloned().map(Wanted::Selection);
        selections.chain(self.queries.iter().cloned().map(Wanted::Expression))
    }
}

impl QueryId {
    /// Returns all that the query reads.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        match self {
            Self::Expression(expression) => vec![Wanted::Expression(expression.clone())],
            Self::Range(group, part) => {
                let selection =
                    |names: &SeriesNames| Selection { group: *group, names: names.clone() };
                part.iter().map(selection).map(Wanted::Selection).collect()
            }
        }
    }

    /// Returns the query to this server. Its matchers belong to the selectors of pods; a spec's own
    /// expression stays as it is.
    pub(super) fn query(&self, server: &ServerKey, settings: &QuerySettings) -> InstantQuery {
        let timeout = settings.timeout;
        match self {
            Self::Expression(expression) => {
                let lookback = Some(settings.stale_after);
                let (expression, by_name) = (expression.clone(), Vec::new());
                InstantQuery { expression, by_name, lookback, timeout }
            }
            Self::Range(RangeGroup { range, .. }, part) => {
                let names: BTreeSet<&str> =
                    part.iter().flat_map(|names| names.iter()).map(String::as_str).collect();
                let (label, namespace) = (&server.labels.namespace, [&*server.namespace]);
                let matchers = server.matchers.iter().map(|(name, value)| (&**name, &**value));
                let selector =
                    |names| range_selector(names, label, namespace, matchers.clone(), *range);
                let by_name = names.iter().filter(|_| names.len() > 1);
                let by_name = by_name.map(|name| selector([*name].into())).collect();
                InstantQuery { expression: selector(names), by_name, lookback: None, timeout }
            }
        }
    }
}

impl QueryPlan {
    /// Merges the demands of all subscribers, the oldest first: what exceeds the limit of a server
    /// is the newest ones'.
    pub(super) fn merge<'a>(
        demands: impl IntoIterator<Item = &'a QueryDemand>,
        splits: &Splits,
    ) -> Self {
        let mut merged: BTreeMap<Wanted, QuerySettings> = BTreeMap::new();
        let mut excess = BTreeSet::new();
        for demand in demands {
            let settings = QuerySettings::of(demand);
            for wanted in demand.wanted() {
                if let Some(known) = merged.get_mut(&wanted) {
                    known.merge(settings);
                } else if merged.len() < MOST_WANTED {
                    merged.insert(wanted, settings);
                } else {
                    excess.insert(wanted);
                }
            }
        }
        let mut queries = BTreeMap::new();
        let mut groups: BTreeMap<RangeGroup, (BTreeSet<SeriesNames>, QuerySettings)> =
            BTreeMap::new();
        for (wanted, settings) in merged {
            match wanted {
                Wanted::Expression(expression) => {
                    queries.insert(QueryId::Expression(expression), settings);
                }
                Wanted::Selection(Selection { group, names }) => {
                    let (selections, _) =
                        groups.entry(group).or_insert_with(|| (BTreeSet::new(), settings));
                    selections.insert(names);
                }
            }
        }
        for (group, (selections, settings)) in groups {
            let parts = splits.parts(group, &selections).into_iter();
            queries.extend(parts.map(|part| (QueryId::Range(group, part), settings)));
        }
        Self { queries, excess }
    }

    /// Returns all that is wanted, including the excess.
    pub(super) fn wanted(&self) -> BTreeSet<Wanted> {
        self.queries.keys().flat_map(QueryId::wanted).chain(self.excess.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use llm_autoscaler_engines::{Kind, Measure, Recipe, prometheus::PodLabels};

    use super::*;
    use crate::sampling::prometheus::demand::QueryPace;

    const SECOND: Duration = Duration::from_secs(1);

    fn demand(timing: (u32, u32), window: u32, series: &[&str], queries: &[&str]) -> QueryDemand {
        let (interval, timeout) = (timing.0 * SECOND, timing.1 * SECOND);
        let selection = |name: &&str| {
            let labels = std::iter::empty::<(String, String)>();
            let recipe = Recipe::series(Kind::Gauge, *name, labels);
            let measure = Measure { recipe, window: window * SECOND };
            Selection::new(&measure, interval, timeout, 10 * SECOND)
        };
        QueryDemand {
            selections: series.iter().map(selection).collect(),
            queries: queries.iter().map(|&query| query.to_owned()).collect(),
            interval,
            timeout,
            stale_after: 10 * SECOND,
            wake: Arc::default(),
        }
    }

    fn queries_of(demands: &[QueryDemand], matchers: &[(&str, &str)]) -> Vec<InstantQuery> {
        let labels = PodLabels {
            namespace: "namespace".to_owned(),
            pod: "pod".to_owned(),
            replicas: [].into(),
        };
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let server = ServerKey {
            url: "http://prometheus".to_owned(),
            labels,
            matchers: matchers.iter().map(owned).collect(),
            access: Arc::default(),
            namespace: "a".to_owned(),
            pace: QueryPace::Normal,
        };
        let plan = QueryPlan::merge(demands, &Splits::default());
        plan.queries.iter().map(|(id, settings)| id.query(&server, settings)).collect()
    }

    fn expressions(demands: &[QueryDemand]) -> Vec<String> {
        queries_of(demands, &[]).into_iter().map(|query| query.expression).collect()
    }

    #[test]
    fn matchers_belong_to_selectors_and_not_to_queries() {
        let demand = [demand((1, 1), 0, &["x"], &["sum(x)"])];
        let matchers = [("cluster", "eu-1"), ("tenant.id", "")];
        let found: Vec<_> =
            queries_of(&demand, &matchers).into_iter().map(|query| query.expression).collect();
        let expected = r#"{__name__="x",namespace="a",cluster="eu-1","tenant.id"=""}[10s]"#;
        assert_eq!(found, [expected, "sum(x)"]);
    }

    #[test]
    fn demands_for_the_same_range_at_the_same_interval_share_a_query() {
        let both = [demand((1, 1), 0, &["x"], &["up"]), demand((1, 1), 0, &["y"], &["up"])];
        let series = r#"{__name__=~"x|y",namespace="a"}[10s]"#;
        assert_eq!(expressions(&both), [series, "up"]);
        for (name, other) in [
            ("range", demand((1, 1), 30, &["y"], &[])),
            ("interval", demand((2, 1), 0, &["y"], &[])),
            ("timeout", demand((1, 2), 0, &["y"], &[])),
        ] {
            let apart = [both[0].clone(), other];
            assert_eq!(expressions(&apart).len(), 3, "another {name}");
        }
    }

    #[test]
    fn an_expression_has_the_settings_of_its_own_demands() {
        let demands = [
            demand((5, 3), 0, &[], &["cheap", "shared"]),
            demand((1, 2), 0, &["x"], &["shared"]),
            demand((30, 60), 0, &[], &["dear"]),
        ];
        let plan = QueryPlan::merge(&demands, &Splits::default());
        for (expression, interval, timeout) in [("cheap", 5, 3), ("shared", 1, 3), ("dear", 30, 60)]
        {
            let settings = plan.queries[&QueryId::Expression(expression.to_owned())];
            let expected = (interval * SECOND, timeout * SECOND);
            assert_eq!((settings.interval, settings.timeout), expected, "{expression}");
        }
    }

    #[test]
    fn what_exceeds_the_limit_of_a_server_is_the_newest_demands() {
        let names: Vec<String> = (0..MOST_WANTED - 1).map(|number| number.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let demands =
            [demand((1, 1), 0, &["x"], &names), demand((1, 1), 0, &["x", "y"], &["0", "one more"])];
        let plan = QueryPlan::merge(&demands, &Splits::default());
        assert_eq!(plan.queries.len(), MOST_WANTED);
        let excess: Vec<String> = plan
            .excess
            .iter()
            .map(|wanted| match wanted {
                Wanted::Selection(selection) => selection.names.concat(),
                Wanted::Expression(expression) => expression.clone(),
            })
            .collect();
        assert_eq!(excess, ["y", "one more"]);
        assert_eq!(plan.wanted().len(), MOST_WANTED + 2);
    }

    #[test]
    fn a_split_changes_the_queries_and_not_what_is_wanted() {
        let demands = [demand((1, 1), 0, &["x", "y"], &["up"])];
        let mut splits = Splits::default();
        let whole = QueryPlan::merge(&demands, &splits);
        let Some(QueryId::Range(group, part)) = whole.queries.keys().next() else { panic!("none") };
        splits.record_refusal(*group, part, tokio::time::Instant::now());
        let split = QueryPlan::merge(&demands, &splits);
        assert_eq!((whole.queries.len(), split.queries.len()), (2, 3));
        assert_eq!(split.wanted(), whole.wanted());
    }
}
