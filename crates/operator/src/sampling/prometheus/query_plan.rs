//! The queries that serve all subscribers of a server.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use llm_autoscaler_engines::prometheus::{range_selector, stored_names};

use crate::sampling::prometheus::{
    client::InstantQuery,
    demand::{QueryDemand, ServerKey, range},
};

/// The largest number of families, and of namespaces, that one query selects.
const CHUNK: usize = 24;

/// The merged demand of all subscribers.
#[derive(Default)]
pub(super) struct QueryPlan {
    /// The series to read, by the range of time.
    ranges: BTreeMap<Duration, RangeDemand>,
    /// The PromQL expressions of specs, and the shortest age after which a sample is ignored.
    queries: BTreeMap<String, Duration>,
    timeout: Duration,
}

/// The series to read over one range of time.
#[derive(Default)]
struct RangeDemand {
    families: BTreeSet<String>,
    namespaces: BTreeSet<String>,
}

/// A query, and the use of its result.
#[derive(Debug, PartialEq)]
pub(super) struct PlannedQuery {
    pub(super) purpose: Purpose,
    pub(super) query: InstantQuery,
}

/// The use of a query's result.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// The series of pods over a range of time.
    Range(Duration),
    /// The PromQL expression of a spec.
    Query(String),
}

/// A part of the demand, such that a subset of parts needs no other queries.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DemandPart {
    /// A family of a namespace over a range of time.
    Family { family: String, range: Duration, namespace: String },
    /// The PromQL expression of a spec.
    Query(String),
}

impl QueryPlan {
    /// Merges the demand of all subscribers.
    pub(super) fn merge<'a>(demands: impl Iterator<Item = &'a QueryDemand>) -> Self {
        let mut plan = Self::default();
        for demand in demands {
            plan.timeout = plan.timeout.max(demand.timeout);
            for measure in demand.measures.iter() {
                let merged = plan.ranges.entry(range(measure, demand.stale_after)).or_default();
                merged.families.extend(stored_names(&measure.recipe));
                merged.namespaces.insert(demand.namespace.clone());
            }
            for query in demand.queries.iter() {
                let merged = plan.queries.entry(query.clone()).or_insert(demand.stale_after);
                *merged = demand.stale_after.min(*merged);
            }
        }
        plan
    }

    /// Returns the parts of the demand.
    pub(super) fn parts(&self) -> BTreeSet<DemandPart> {
        let mut parts = BTreeSet::new();
        for (range, RangeDemand { families, namespaces }) in &self.ranges {
            for family in families {
                parts.extend(namespaces.iter().map(|namespace| DemandPart::Family {
                    family: family.clone(),
                    range: *range,
                    namespace: namespace.clone(),
                }));
            }
        }
        parts.extend(self.queries.keys().cloned().map(DemandPart::Query));
        parts
    }

    /// Returns the queries to this server. Its matchers belong to the selectors of pods; a spec's
    /// own expression stays as it is.
    pub(super) fn queries(&self, server: &ServerKey) -> Vec<PlannedQuery> {
        let (label, matchers) = (&server.labels.namespace, &server.matchers);
        let timeout = self.timeout;
        let mut planned = Vec::new();
        for (range, RangeDemand { families, namespaces }) in &self.ranges {
            let families: Vec<&str> = families.iter().map(String::as_str).collect();
            let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
            for families in families.chunks(CHUNK) {
                for namespaces in namespaces.chunks(CHUNK) {
                    let (families, namespaces) = (families.iter(), namespaces.iter());
                    let (families, namespaces) = (families.copied(), namespaces.copied());
                    let matchers = matchers.iter().map(|(name, value)| (&**name, &**value));
                    let expression = range_selector(families, label, namespaces, matchers, *range);
                    let query = InstantQuery { expression, lookback: None, timeout };
                    planned.push(PlannedQuery { purpose: Purpose::Range(*range), query });
                }
            }
        }
        planned.extend(self.queries.iter().map(|(expression, stale_after)| PlannedQuery {
            purpose: Purpose::Query(expression.clone()),
            query: InstantQuery {
                expression: expression.clone(),
                lookback: Some(*stale_after),
                timeout,
            },
        }));
        planned
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use llm_autoscaler_engines::{Kind, Measure, Recipe, prometheus::PodLabels};

    use super::*;
    use crate::sampling::prometheus::demand::QueryPace;

    const SECOND: Duration = Duration::from_secs(1);

    fn demand(namespace: &str, window: u32, series: &[&str], queries: &[&str]) -> QueryDemand {
        let measure = |name: &&str| {
            let labels = std::iter::empty::<(String, String)>();
            let recipe = Recipe::series(Kind::Gauge, *name, labels);
            Arc::new(Measure { recipe, window: window * SECOND })
        };
        QueryDemand {
            namespace: namespace.to_owned(),
            measures: series.iter().map(measure).collect(),
            queries: queries.iter().map(|&query| query.to_owned()).collect(),
            interval: SECOND,
            timeout: window.max(1) * SECOND,
            stale_after: 10 * SECOND,
            wake: Arc::default(),
        }
    }

    fn expressions_of(demands: &[QueryDemand], matchers: &[(&str, &str)]) -> Vec<String> {
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
            namespace: "ns".to_owned(),
            pace: QueryPace::Normal,
        };
        let queries = QueryPlan::merge(demands.iter()).queries(&server);
        queries.into_iter().map(|planned| planned.query.expression).collect()
    }

    fn expressions(demands: &[QueryDemand]) -> Vec<String> {
        expressions_of(demands, &[])
    }

    #[test]
    fn matchers_belong_to_selectors_and_not_to_queries() {
        let demand = [demand("a", 0, &["x"], &["sum(x)"])];
        let matchers = [("cluster", "eu-1"), ("tenant.id", "")];
        let expected = r#"{__name__="x",namespace="a",cluster="eu-1","tenant.id"=""}[10s]"#;
        assert_eq!(expressions_of(&demand, &matchers), [expected, "sum(x)"]);
    }

    #[test]
    fn demands_for_the_same_range_share_a_query() {
        let both = [demand("a", 0, &["x"], &["up"]), demand("b", 0, &["y"], &["up"])];
        assert_eq!(expressions(&both).len(), 2, "{:?}", expressions(&both));
        let series = &expressions(&both)[0];
        assert!(["x", "y", "a", "b"].iter().all(|name| series.contains(name)), "{series}");
        let apart = [demand("a", 0, &["x"], &[]), demand("b", 30, &["x"], &["up"])];
        assert_eq!(expressions(&apart).len(), 3, "{:?}", expressions(&apart));
        assert_eq!(QueryPlan::merge(apart.iter()).timeout, 30 * SECOND, "the longest");
    }

    #[test]
    fn long_lists_are_split() {
        let names: Vec<String> = (0..=CHUNK).map(|number| format!("series_{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(expressions(&[demand("a", 0, &names, &[])]).len(), 2);
    }

    #[test]
    fn a_part_of_a_known_demand_needs_no_new_query() {
        let parts = |demands: &[QueryDemand]| QueryPlan::merge(demands.iter()).parts();
        let known = parts(&[demand("a", 0, &["x", "y"], &["up"]), demand("b", 30, &["x"], &[])]);
        for (name, other, is_known) in [
            ("fewer series", demand("a", 0, &["y"], &[]), true),
            ("a query", demand("c", 0, &[], &["up"]), true),
            ("another query", demand("a", 0, &[], &["down"]), false),
            ("another namespace", demand("c", 0, &["x"], &[]), false),
            ("another range", demand("a", 30, &["x"], &[]), false),
        ] {
            assert_eq!(parts(&[other]).is_subset(&known), is_known, "{name}");
        }
    }
}
