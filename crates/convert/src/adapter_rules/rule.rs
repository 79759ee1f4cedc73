//! One rule: which series it finds, what it calls them, and how it queries them.

use regex::Regex;

use super::naming::Naming;
use crate::{
    comment::Comments,
    field::Field,
    promql::{literal, quoted, shape},
    reading::MARK,
    signals,
};

/// A rule of an adapter.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// The path of the rule in its document.
    pub field: String,
    /// The series, or a pattern of their names.
    series: Series,
    filters: Vec<(bool, Regex)>,
    naming: Naming,
    /// Resources by the label that has their name.
    overrides: Vec<(String, String)>,
    /// The label of any other resource, with `<<.Resource>>` in it.
    template: Option<String>,
    /// True if an external metric is one of a namespace.
    is_namespaced: bool,
    query: String,
}

#[derive(Clone, Debug)]
enum Series {
    Name(String),
    Pattern(Regex),
    Any,
}

/// A query of a rule for one object.
pub(crate) enum Asked<'a> {
    /// For each pod of the target. The pods are marked by a label.
    Pods,
    /// For these pods of a namespace, by a pattern of their names.
    PodsNamed { namespace: &'a str, pattern: &'a str },
    /// For one object of a resource such as `service`.
    Object { namespace: &'a str, resource: &'a str, name: &'a str },
    /// For a namespace.
    External { namespace: &'a str },
}

/// The keys of a rule, for its unread ones.
const RESOURCE: &str = "resource";

impl Rule {
    /// Reads a rule. Says why, if it cannot be used.
    pub(crate) fn read(field: &Field, comments: &mut Comments) -> Option<Self> {
        let wrong = |comments: &mut Comments, key: &str, problem: &str| {
            let path = format!("{}.{key}", field.path());
            comments.lost(&path, format!("{problem}, so the rule is not used."));
            None
        };
        let series_query = field.get("seriesQuery").text().unwrap_or_default();
        let Some(series) = series(&series_query) else {
            return wrong(comments, "seriesQuery", "it is not understood");
        };
        let query = field.get("metricsQuery").text().unwrap_or_default();
        if query.trim().is_empty() {
            return wrong(comments, "metricsQuery", "it is missing");
        }
        let (matches, name) = (field.at(&["name", "matches"]), field.at(&["name", "as"]));
        let naming = Naming::new(matches.text().as_deref(), name.text().as_deref());
        let naming = match naming {
            Ok(naming) => naming,
            Err(problem) => return wrong(comments, "name", &problem),
        };
        let mut filters = Vec::new();
        for filter in field.get("seriesFilters").items() {
            for (key, is) in [("is", true), ("isNot", false)] {
                let Some(text) = filter.get(key).text().filter(|text| !text.is_empty()) else {
                    continue;
                };
                match Regex::new(&text) {
                    Ok(pattern) => filters.push((is, pattern)),
                    Err(_) => return wrong(comments, "seriesFilters", "a pattern is malformed"),
                }
            }
        }
        let resources = field.get("resources");
        let mut overrides = Vec::new();
        for (label, resource) in resources.get("overrides").entries() {
            resource.get("group").text();
            let name = resource.get(RESOURCE).text().unwrap_or_default();
            overrides.push((label, singular(&name)));
        }
        Some(Self {
            field: field.path().to_owned(),
            series,
            filters,
            naming,
            overrides,
            template: resources.get("template").text(),
            is_namespaced: resources.get("namespaced").flag().unwrap_or(true),
            query: query.trim().to_owned(),
        })
    }

    /// Returns a sentence on the rule.
    pub(super) fn summary(&self) -> String {
        let Self { series, filters, naming, overrides, template, query, .. } = self;
        let series = match series {
            Series::Name(name) => format!("{name} is the metric {}", naming.metric(name)),
            Series::Pattern(pattern) => format!("series like {pattern} are metrics"),
            Series::Any => "all series are metrics".to_owned(),
        };
        let filter = |(is, pattern): &(bool, Regex)| {
            format!(" if {} like {pattern},", if *is { "it is" } else { "not" })
        };
        let filters = filters.iter().map(filter).collect::<Vec<_>>().concat();
        let labels = overrides.iter().map(|(label, resource)| format!("{label} is the {resource}"));
        let labels: Vec<String> = labels.chain(template.clone()).collect();
        let labels = match &labels[..] {
            [] => String::new(),
            labels => format!(" ({})", labels.join(", ")),
        };
        format!("{series},{filters} by {query}{labels}.")
    }

    /// Returns the series from which the rule makes a metric of this name.
    pub(crate) fn series(&self, metric: &str) -> Option<String> {
        let is_its = |name: &str| self.is_kept(name) && self.naming.metric(name) == metric;
        match &self.series {
            Series::Name(name) => is_its(name).then(|| name.clone()),
            Series::Pattern(pattern) => {
                self.candidates(metric).find(|name| pattern.is_match(name) && is_its(name))
            }
            Series::Any => self.candidates(metric).find(|name| is_its(name)),
        }
    }

    fn candidates(&self, metric: &str) -> impl Iterator<Item = String> {
        let likely = self.naming.series(metric).into_iter().chain([metric.to_owned()]);
        let known = signals::names().flat_map(|name| [name.to_owned(), format!("{name}_bucket")]);
        likely.chain(known)
    }

    fn is_kept(&self, name: &str) -> bool {
        self.filters.iter().all(|(is, pattern)| pattern.is_match(name) == *is)
    }

    /// Returns the query for a series. `labels` are those of the metric's selector, as matchers.
    /// `None` if the template has more than the usual parts.
    pub(crate) fn query(&self, series: &str, asked: &Asked, labels: &[String]) -> Option<String> {
        let equal = |label: &str, value: &str| format!("{label}={}", quoted(value));
        let of_namespace = |namespace: &str| equal(&self.label("namespace"), namespace);
        let (mut matchers, group) = match asked {
            Asked::Pods => (vec![equal(MARK, "pods")], MARK.to_owned()),
            Asked::PodsNamed { namespace, pattern } => {
                let pods = format!("{}=~{}", self.label("pod"), quoted(pattern));
                (vec![of_namespace(namespace), pods], self.label("pod"))
            }
            Asked::Object { namespace, resource, name } => {
                let label = self.label(resource);
                let object = equal(&label, name);
                let is_namespace = *resource == "namespace";
                let place = (!is_namespace).then(|| of_namespace(namespace));
                (place.into_iter().chain([object]).collect(), label)
            }
            Asked::External { namespace } => (
                self.is_namespaced.then(|| of_namespace(namespace)).into_iter().collect(),
                String::new(),
            ),
        };
        matchers.extend(labels.iter().cloned());
        let matchers = matchers.join(",");
        let value = |part: &str| match part {
            ".Series" => Some(series),
            ".LabelMatchers" => Some(matchers.as_str()),
            ".GroupBy" => Some(group.as_str()),
            _ => None,
        };
        filled(&self.query, value)
    }

    /// Returns the label that has the name of a resource.
    fn label(&self, resource: &str) -> String {
        let given = self.overrides.iter().find(|(_, of)| of == resource);
        if let Some((label, _)) = given {
            return label.clone();
        }
        let template = self.template.as_deref().unwrap_or("<<.Resource>>");
        template.replace("<<.Resource>>", resource).replace("<<.Group>>", "")
    }
}

/// Returns a template with its parts in `<< >>` filled in; `None` if one of them has no value.
fn filled<'a>(template: &str, value: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let (mut rest, mut text) = (template, String::new());
    while let Some((before, after)) = rest.split_once("<<") {
        let (part, after) = after.split_once(">>")?;
        text = text + before + value(part.trim())?;
        rest = after;
    }
    Some(text + rest)
}

/// Returns the resource in the singular, as rules may name it in either way.
fn singular(resource: &str) -> String {
    let name = resource.to_ascii_lowercase();
    name.strip_suffix('s').filter(|it| !it.ends_with('s')).map_or(name.clone(), str::to_owned)
}

/// Returns the series of a `seriesQuery`. Its other labels only choose which series exist.
fn series(query: &str) -> Option<Series> {
    let query = query.trim();
    if let Some(found) = shape(query) {
        let is_plain = found.aggregation.is_none() && found.over.is_none() && !found.or_zero;
        let [only] = &found.terms[..] else { return None };
        return is_plain.then(|| Series::Name(only.name.clone()));
    }
    let labels = query.strip_prefix('{')?.strip_suffix('}')?;
    let pattern = Regex::new(r#"__name__\s*=~\s*"((?:[^"\\]|\\.)*)""#).ok()?;
    match pattern.captures(labels).and_then(|found| found.get(1)) {
        Some(found) => {
            let inner = found.as_str().replace("\\\\", "\\");
            Some(Series::Pattern(Regex::new(&format!("^(?:{inner})$")).ok()?))
        }
        None => Some(Series::Any),
    }
}

/// Returns a pattern of the names of a target's pods.
pub(crate) fn pods_of(kind: &str, name: &str) -> String {
    let name = literal(name);
    match kind {
        "StatefulSet" => format!("{name}-[0-9]+"),
        "Deployment" => format!("{name}-[a-z0-9]+-[a-z0-9]{{5}}"),
        _ => format!("{name}-.*"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::field::Seen;

    fn rule(value: &serde_json::Value) -> Option<Rule> {
        let seen = Seen::default();
        Rule::read(&Field::root(value, &seen), &mut Comments::default())
    }

    #[test]
    fn a_query_is_that_of_the_adapter() {
        let rule = rule(&json!({
            "seriesQuery": "{__name__=~\"^http_.*_total$\",namespace!=\"\"}",
            "seriesFilters": [{"isNot": "errors"}],
            "resources": {"template": "kube_<<.Resource>>", "overrides": {
                "ns": {"resource": "namespaces"}, "svc": {"group": "", "resource": "service"},
            }},
            "name": {"matches": "^(.*)_total$", "as": "${1}_per_second"},
            "metricsQuery": "sum(rate(<<.Series>>{<< .LabelMatchers >>}[2m])) by (<<.GroupBy>>)",
        }));
        let rule = rule.unwrap();
        let series = rule.series("http_requests_per_second").unwrap();
        assert_eq!(series, "http_requests_total");
        assert_eq!(rule.series("http_errors_per_second"), None);
        let query = |asked: Asked| rule.query(&series, &asked, &["a=\"b\"".to_owned()]).unwrap();
        let object = Asked::Object { namespace: "team", resource: "service", name: "web" };
        assert_eq!(
            query(object),
            "sum(rate(http_requests_total{ns=\"team\",svc=\"web\",a=\"b\"}[2m])) by (svc)"
        );
        let pods = Asked::PodsNamed { namespace: "team", pattern: &pods_of("StatefulSet", "q.3") };
        assert_eq!(
            query(pods),
            "sum(rate(http_requests_total{ns=\"team\",kube_pod=~\"q\\\\.3-[0-9]+\",a=\"b\"}[2m])) \
             by (kube_pod)"
        );
        let external = Asked::External { namespace: "team" };
        assert_eq!(
            query(external),
            "sum(rate(http_requests_total{ns=\"team\",a=\"b\"}[2m])) by ()"
        );
    }

    #[test]
    fn a_summary_names_the_labels_of_a_rule_that_has_some() {
        let summary = |resources: serde_json::Value| {
            let rule = json!({
                "seriesQuery": "a", "metricsQuery": "sum(<<.Series>>)", "resources": resources,
            });
            super::tests::rule(&rule).unwrap().summary()
        };
        let pods = json!({"overrides": {"pod": {"resource": "pods"}}});
        assert_eq!(summary(pods), "a is the metric a, by sum(<<.Series>>) (pod is the pod).");
        assert_eq!(summary(json!(null)), "a is the metric a, by sum(<<.Series>>).");
    }

    #[test]
    fn a_rule_without_a_query_or_with_a_stranger_part_is_not_used() {
        assert!(rule(&json!({"seriesQuery": "a"})).is_none());
        assert!(rule(&json!({"seriesQuery": "sum(a)", "metricsQuery": "a"})).is_none());
        let strange = json!({
            "seriesQuery": "a", "metricsQuery": "x{<<index .LabelValuesByName \"a\">>}",
        });
        assert_eq!(rule(&strange).unwrap().query("a", &Asked::Pods, &[]), None);
    }
}
