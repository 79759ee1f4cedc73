//! Metrics of a HorizontalPodAutoscaler, by the adapter rules behind them.

use crate::{
    adapter_rules::{Asked, Rule},
    comment::Comments,
    context::Context,
    draft::{Draft, Metric, Page, Reading, positive},
    field::Field,
    promql::quoted,
    reading, wva,
};

/// The metric and the target of one entry of `metrics`.
struct Given {
    field: String,
    name: String,
    /// The selector of the metric, as matchers of PromQL.
    labels: Vec<String>,
    target: Option<(bool, String)>,
}

/// Adds one metric to the draft, or says why not.
pub(super) fn metric(field: &Field, draft: &mut Draft, context: &Context, comments: &mut Comments) {
    let kind = field.get("type").text().unwrap_or_default();
    match kind.as_str() {
        "Pods" => {
            let given = given(field, &field.get("pods"), comments);
            pods(given, draft, context, comments);
        }
        "Object" => object(field, draft, context, comments),
        "External" => {
            let given = given(field, &field.get("external"), comments);
            external(given, draft, context, comments);
        }
        "Resource" | "ContainerResource" => {
            let body = field.get(if kind == "Resource" { "resource" } else { "containerResource" });
            let text = format!(
                "{kind} {}: CPU and memory are no metrics here, and say little about an engine's \
                 load. The signals of the engine do.",
                body.quote()
            );
            draft.leave_out(comments, field.path(), &text);
        }
        _ => draft.leave_out(comments, field.path(), &format!("the type {kind:?} is unknown.")),
    }
}

/// Reads the metric's name, its selector and its target.
fn given(entry: &Field, body: &Field, comments: &mut Comments) -> Given {
    let metric = body.get("metric");
    // Older versions have the name beside the target.
    let name = metric.get("name").text().or_else(|| body.get("metricName").text());
    let target = body.get("target");
    let is_value = target.get("type").one_of(&["AverageValue", "Value"]);
    let (average, value) = (target.get("averageValue"), target.get("value"));
    let found = [(&average, false), (&value, true)].into_iter().find_map(|(field, is_value)| {
        let quantity = positive(&field.text()?);
        Some((is_value, quantity?))
    });
    if let (Some((false, _)), Some("Value")) = (&found, is_value) {
        let text = "type Value with an averageValue is an AverageValue to an HPA, and here.";
        comments.note(target.path(), text);
    }
    Given {
        field: entry.path().to_owned(),
        name: name.unwrap_or_default(),
        labels: selector(&metric.get("selector"), comments),
        target: found,
    }
}

/// Returns a selector as matchers of PromQL.
fn selector(field: &Field, comments: &mut Comments) -> Vec<String> {
    let mut found = Vec::new();
    for (label, value) in field.get("matchLabels").entries() {
        if let Some(value) = value.text() {
            found.push(format!("{label}={}", quoted(&value)));
        }
    }
    for item in field.get("matchExpressions").items() {
        let (key, operator) = (item.get("key").text(), item.get("operator").text());
        let values: Vec<String> =
            item.get("values").items().iter().filter_map(Field::text).collect();
        let values = values.join("|");
        let key = key.unwrap_or_default();
        found.push(match operator.as_deref() {
            Some("In") => format!("{key}=~{}", quoted(&values)),
            Some("NotIn") => format!("{key}!~{}", quoted(&values)),
            Some("Exists") => format!("{key}!=\"\""),
            Some("DoesNotExist") => format!("{key}=\"\""),
            _ => {
                comments.lost(item.path(), "its operator is unknown.");
                continue;
            }
        });
    }
    found
}

/// A metric of the pods.
fn pods(given: Given, draft: &mut Draft, context: &Context, comments: &mut Comments) {
    let Given { field, name, labels, target } = given;
    let Some((is_value, target)) = target else { return no_target(&field, draft, comments) };
    if is_value {
        let text = "value: a metric of pods has an averageValue.";
        return draft.leave_out(comments, &field, text);
    }
    let called = of_google(&name).unwrap_or(&name);
    let add = |draft: &mut Draft, reading: Reading| {
        let (field, name, target) = (field.clone(), called.to_owned(), target.clone());
        draft.metrics.push(Metric { field, name, is_named: false, reading, target });
    };
    let Some((rule, series)) = find(&context.rules.custom, &name) else {
        match without_rule(&name, &labels, &field, context, comments) {
            Some(page) => add(draft, Reading::Page(page)),
            None => draft.leave_out(comments, &field, &no_rule(&name)),
        }
        return;
    };
    let page = rule
        .query(&series, &Asked::Pods, &labels)
        .and_then(|query| reading::per_pod(&query, &field, comments));
    if let Some(page) = page {
        if page.percentile.is_some() {
            let text = "the HPA compared the mean of the pods' percentiles; here it is the \
                        percentile of the requests of all pods, with a target of type Value.";
            comments.changed(&field, text);
        }
        return add(draft, Reading::Page(page));
    }
    let namespace = Context::namespace(draft);
    let pattern = draft.pods();
    let asked = Asked::PodsNamed { namespace: &namespace, pattern: &pattern };
    let Some(query) = rule.query(&series, &asked, &labels) else {
        return draft.leave_out(comments, &field, &strange(&rule.field));
    };
    if context.ask_adapter(draft, &field, comments) {
        let text = format!(
            "the pods are found by their names ({pattern}), and their values are added up and \
             divided by the number of replicas. A pod without a value counts as 0, where the HPA \
             counted it as idle only for growing."
        );
        comments.changed(&field, text);
        add(draft, Reading::Query { query, is_value: false });
    }
}

/// Returns the rule for a metric, and the series behind it.
fn find<'a>(rules: &'a [Rule], metric: &str) -> Option<(&'a Rule, String)> {
    rules.iter().find_map(|rule| Some((rule, rule.series(metric)?)))
}

fn no_rule(name: &str) -> String {
    format!(
        "no rule for {name:?} is among the input, so its PromQL is unknown: add the values or the \
         ConfigMap of the metrics adapter."
    )
}

fn strange(rule: &str) -> String {
    format!("the rule {rule} has parts in << >> that are not understood.")
}

fn no_target(field: &str, draft: &mut Draft, comments: &mut Comments) {
    draft.leave_out(comments, field, "its target is no quantity greater than 0.");
}

/// Returns the series that a metric of pods has by its name: that of an engine, or as the
/// adapter's own rules would make it.
fn without_rule(
    name: &str,
    labels: &[String],
    field: &str,
    context: &Context,
    comments: &mut Comments,
) -> Option<Page> {
    let total = format!("{name}_total");
    if let Some(series) = of_google(name) {
        let query = format!("sum({series}{{{}}})", labels.join(","));
        let query = if name.ends_with("counter") {
            format!("sum(rate({series}{{{}}}[1m]))", labels.join(","))
        } else {
            query
        };
        comments.note(field, format!("{name}, as Google's adapter names it, is {series}."));
        return reading::per_pod(&query, field, comments);
    }
    let (query, said) = if reading::is_engines(name) {
        (format!("sum({name}{{{}}})", labels.join(",")), "taken as the series of that name.")
    } else if context.rules.has_defaults && reading::is_engines(&total) {
        let query = format!("sum(rate({total}{{{}}}[5m]))", labels.join(","));
        (query, "taken as the adapter's default rules have it, as the rate of 5 minutes.")
    } else {
        return None;
    };
    comments.note(field, format!("no rule for {name} is among the input: {said}"));
    reading::per_pod(&query, field, comments)
}

/// Returns the series of a metric that Google's adapter names, such as
/// `prometheus.googleapis.com|vllm:num_requests_waiting|gauge`.
fn of_google(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("prometheus.googleapis.com")?;
    let rest = rest.strip_prefix(['|', '/'])?;
    let (series, kind) = rest.rsplit_once(['|', '/'])?;
    (["gauge", "counter"].contains(&kind) && reading::is_series(series)).then_some(series)
}

/// A metric of one object.
fn object(entry: &Field, draft: &mut Draft, context: &Context, comments: &mut Comments) {
    let body = entry.get("object");
    let Given { field, name, labels, target } = given(entry, &body, comments);
    let described = body.get("describedObject");
    let [kind, object] = ["kind", "name"].map(|key| described.get(key).text().unwrap_or_default());
    described.get("apiVersion").text();
    let Some((is_value, target)) = target else { return no_target(&field, draft, comments) };
    let Some((rule, series)) = find(&context.rules.custom, &name) else {
        let text = format!("{kind} {object}: {}", no_rule(&name));
        return draft.leave_out(comments, &field, &text);
    };
    let namespace = Context::namespace(draft);
    let resource = kind.to_ascii_lowercase();
    let asked = Asked::Object { namespace: &namespace, resource: &resource, name: &object };
    let Some(query) = rule.query(&series, &asked, &labels) else {
        return draft.leave_out(comments, &field, &strange(&rule.field));
    };
    if context.ask_adapter(draft, &field, comments) {
        let reading = Reading::Query { query, is_value };
        draft.metrics.push(Metric { field, name, is_named: false, reading, target });
    }
}

/// A metric that belongs to no object.
fn external(given: Given, draft: &mut Draft, context: &Context, comments: &mut Comments) {
    let Given { field, name, labels, target } = given;
    let Some((is_value, target)) = target else { return no_target(&field, draft, comments) };
    if wva::is_desired(&name) && wva::replace(draft, context, &field, comments) {
        let text = format!("it was {name}, {}, with a target of {target}.", labels.join(", "));
        return comments.note(&field, text);
    }
    let Some((rule, series)) = find(&context.rules.external, &name) else {
        return draft.leave_out(comments, &field, &no_rule(&name));
    };
    let namespace = Context::namespace(draft);
    let Some(query) = rule.query(&series, &Asked::External { namespace: &namespace }, &labels)
    else {
        return draft.leave_out(comments, &field, &strange(&rule.field));
    };
    let reading = reading::total(&query, is_value, Some(&namespace), &field, comments);
    let reading = match reading {
        // The HPA adds up all results of an external metric.
        Reading::Query { query, is_value: true } if !query.starts_with("sum(") => {
            Reading::Query { query: format!("sum({query})"), is_value: true }
        }
        other => other,
    };
    if matches!(reading, Reading::Page(_)) || context.ask_adapter(draft, &field, comments) {
        draft.metrics.push(Metric { field, name, is_named: false, reading, target });
    }
}
