//! From the shape of an expression to series of the pods' own pages.

use llm_autoscaler_engines::{Fold, Kind};

use crate::{
    comment::Comments,
    draft::{Page, Reading},
    promql::{Aggregation, Matcher, Over, Shape, shape},
    signals,
};

/// A label that stands in an expression for the pods of the target, or the labels of a group.
pub(crate) const MARK: &str = "llm_autoscaler_target";

/// Labels that say where a series comes from. They select pods, not a part of a pod's page.
const PLACES: [&str; 27] = [
    "app",
    "cluster",
    "container",
    "deployment",
    "endpoint",
    "exported_namespace",
    "exported_pod",
    "host",
    "instance",
    "job",
    "kubernetes_namespace",
    "kubernetes_pod_name",
    "llm_autoscaler_target",
    "model_name",
    "namespace",
    "node",
    "pod",
    "pod_name",
    "pod_namespace",
    "prometheus",
    "rbg_role",
    "role",
    "service",
    "statefulset",
    "workload",
    "workload_name",
    "worker",
];

fn is_place(label: &str) -> bool {
    PLACES.contains(&label)
}

/// Returns the series that an expression with one result per pod reads; `None` if it is not of a
/// shape that a metric can have.
pub(crate) fn per_pod(query: &str, field: &str, comments: &mut Comments) -> Option<Page> {
    let shape = shape(query)?;
    let page = page(&shape)?;
    explain(&shape, &page, field, comments);
    Some(page)
}

/// Returns the way to read an expression that has one result for the whole target: from the pods'
/// pages, if its series are an engine's own and the numbers are the same; else as a query.
///
/// `is_value` is true if the result is compared as it is, and false if it is divided by the number
/// of replicas.
pub(crate) fn total(
    query: &str,
    is_value: bool,
    namespace: Option<&str>,
    field: &str,
    comments: &mut Comments,
) -> Reading {
    let found = shape(query).and_then(|shape| {
        let page = page(&shape)?;
        let is_known = page.fold().is_some() && is_near(&shape, namespace);
        let is_same = match (shape.quantile, shape.aggregation, is_value) {
            (Some(_), _, is_value) => is_value,
            // The sum of all pods, divided by their number, is the mean.
            (None, Some(Aggregation::Sum), is_value) => !is_value,
            // A mean that is compared as it is.
            (None, Some(Aggregation::Avg), is_value) => is_value && page.names.len() == 1,
            _ => false,
        };
        (is_known && is_same).then_some((shape, page))
    });
    if let Some((shape, page)) = found {
        explain(&shape, &page, field, comments);
        return Reading::Page(page);
    }
    hint(query, is_value, field, comments);
    Reading::Query { query: query.to_owned(), is_value }
}

/// Comments on queries that usually are not what was meant, and are kept as they are.
fn hint(query: &str, is_value: bool, field: &str, comments: &mut Comments) {
    let Some(shape) =
        shape(query).filter(|shape| page(shape).is_some_and(|page| page.fold().is_some()))
    else {
        return;
    };
    let is_mean = shape.aggregation == Some(Aggregation::Avg) || shape.quantile.is_some();
    if is_mean && !is_value {
        let text = "this value does not grow with the number of replicas, and is divided by it \
                    all the same, as before. If the value of a replica is meant, use a signal of \
                    the engine instead of the query.";
        comments.note(field, text);
    }
}

/// Returns whether an expression is about the namespace of the target.
fn is_near(shape: &Shape, namespace: Option<&str>) -> bool {
    let matchers = shape.terms.iter().flat_map(|term| &term.matchers);
    let other = |matcher: &Matcher| {
        let is_name = ["namespace", "kubernetes_namespace", "pod_namespace"];
        is_name.contains(&matcher.label.as_str())
            && matcher.op == "="
            && namespace.is_some_and(|namespace| namespace != matcher.value)
    };
    !matchers.into_iter().any(other)
}

fn page(shape: &Shape) -> Option<Page> {
    let first = shape.terms.first()?;
    let own = |matchers: &[Matcher]| -> Vec<Matcher> {
        matchers.iter().filter(|matcher| !is_place(&matcher.label)).cloned().collect()
    };
    let matchers = own(&first.matchers);
    let is_alike = shape.terms.iter().all(|term| own(&term.matchers) == matchers);
    let is_grouped = shape.by.iter().all(|label| is_place(label) || label == "le");
    let percentile = match shape.quantile {
        None => None,
        Some(quantile) => {
            let percent = quantile * 100.0;
            let whole = percent.round();
            ((percent - whole).abs() < 1e-9 && (1.0..=99.0).contains(&whole))
                .then_some(Some(whole as u32))?
        }
    };
    let (kind, window) = match (shape.over, percentile) {
        (Some((Over::Rate, range)), Some(_)) => (Kind::Histogram, Some(range)),
        (Some((Over::Rate, range)), None) => (Kind::Counter, Some(range)),
        (Some((Over::Mean, range)), None) => (Kind::Gauge, Some(range)),
        (None, None) => (Kind::Gauge, None),
        _ => return None,
    };
    let names: Vec<String> = shape.terms.iter().map(|term| term.name.clone()).collect();
    let is_window = window.is_none_or(|window| (1..=3600).contains(&window));
    let page = Page { names, matchers, kind, window, percentile };
    (is_alike && is_grouped && is_window && page.is_selectable()).then_some(page)
}

/// Comments on what reading the pages changes.
fn explain(shape: &Shape, page: &Page, field: &str, comments: &mut Comments) {
    let places = shape.terms.iter().flat_map(|term| &term.matchers);
    let mut places: Vec<String> = places
        .filter(|it| is_place(&it.label) && it.label != MARK)
        .map(Matcher::to_string)
        .collect();
    let mut told = std::collections::BTreeSet::new();
    places.retain(|place| told.insert(place.clone()));
    if !places.is_empty() {
        let text = format!(
            "{} selected the pods: the target's own pods are read instead. Check that these are \
             the same.",
            places.join(", ")
        );
        comments.changed(field, text);
    }
    let folded = page.fold();
    match shape.aggregation {
        Some(Aggregation::Sum) if folded == Some(Fold::Mean) => {
            let text = "where a pod has several of these series (data-parallel ranks), their mean \
                        is taken: a sum of shares says nothing.";
            comments.better(field, text);
        }
        Some(Aggregation::Avg | Aggregation::Max | Aggregation::Min)
            if shape.quantile.is_none() && folded != Some(Fold::Mean) =>
        {
            let text = "where a pod has several of these series (data-parallel ranks), they are \
                        added up.";
            comments.changed(field, text);
        }
        _ => {}
    }
    if shape.or_zero {
        let text = "no result was taken for 0. Here a pod without the series has no sample, and \
                    nothing shrinks without samples.";
        comments.changed(field, text);
    }
}

/// Returns how a series is read that only its name is known of.
pub(crate) fn by_name(name: &str) -> Page {
    let kind = Kind::of_name(name, false);
    let known = [Kind::Gauge, Kind::Counter].into_iter().find(|kind| {
        let names = vec![name.to_owned()];
        let page =
            Page { names, matchers: Vec::new(), kind: *kind, window: None, percentile: None };
        page.fold().is_some()
    });
    let kind = known.unwrap_or(if kind == Kind::Histogram { Kind::Gauge } else { kind });
    Page {
        names: vec![name.to_owned()],
        matchers: Vec::new(),
        kind,
        window: None,
        percentile: None,
    }
}

/// Returns whether a text can be the name of a series.
pub(crate) fn is_series(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    (1..=253).contains(&name.len())
        && name.chars().all(is_inner)
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Returns whether a series is known to be an engine's.
pub(crate) fn is_engines(name: &str) -> bool {
    signals::is_known(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(query: &str, is_value: bool) -> String {
        match total(query, is_value, Some("default"), "", &mut Comments::default()) {
            Reading::Query { .. } => "query".to_owned(),
            Reading::Page(Page { names, kind, window, percentile, .. }) => {
                format!("{} {kind:?} {window:?} {percentile:?}", names.join("+"))
            }
        }
    }

    #[test]
    fn a_total_of_an_engines_series_is_read_from_the_pods_if_the_number_is_the_same() {
        let waiting = "vllm:num_requests_waiting";
        for (query, is_value, expected) in [
            (format!("sum({waiting})"), false, format!("{waiting} Gauge None None")),
            (
                format!("sum({waiting}{{namespace=\"default\",model_name=\"q\"}})"),
                false,
                format!("{waiting} Gauge None None"),
            ),
            // Of another namespace, and compared in another way.
            (format!("sum({waiting}{{namespace=\"other\"}})"), false, "query".to_owned()),
            (format!("sum({waiting})"), true, "query".to_owned()),
            (format!("avg({waiting})"), false, "query".to_owned()),
            (format!("avg({waiting})"), true, format!("{waiting} Gauge None None")),
            (format!("max({waiting})"), true, "query".to_owned()),
            (format!("sum({waiting}) * 2"), false, "query".to_owned()),
            (format!("sum({waiting}) by (model)"), false, "query".to_owned()),
            ("sum(http_requests)".to_owned(), false, "query".to_owned()),
            (
                "sum(rate(vllm:generation_tokens_total[2m]))".to_owned(),
                false,
                "vllm:generation_tokens_total Counter Some(120) None".to_owned(),
            ),
            (
                "histogram_quantile(0.95, sum(rate(vllm:time_to_first_token_seconds_bucket[5m])) \
                 by (le))"
                    .to_owned(),
                true,
                "vllm:time_to_first_token_seconds_bucket Histogram Some(300) Some(95)".to_owned(),
            ),
        ] {
            assert_eq!(told(&query, is_value), expected, "{query} {is_value}");
        }
    }
}
