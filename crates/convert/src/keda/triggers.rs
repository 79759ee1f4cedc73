//! The triggers of a ScaledObject, and the formula over them.

use super::{authentication, formula, settings};
use crate::{
    comment::Comments,
    context::Context,
    draft::{Draft, Metric, Reading, positive},
    field::Field,
    promql::shape,
    reading, wva,
};

/// A trigger as a query.
struct Asked {
    name: String,
    query: String,
}

/// Adds the triggers to the draft.
pub(super) fn triggers(
    spec: &Field,
    draft: &mut Draft,
    context: &Context,
    comments: &mut Comments,
) {
    let list = spec.get("triggers").items();
    if list.is_empty() {
        comments.lost("spec.triggers", "there are none.");
    }
    let modifiers = spec.at(&["advanced", "scalingModifiers"]);
    if modifiers.get("formula").exists() {
        return composed(&modifiers, &list, draft, context, comments);
    }
    for trigger in &list {
        let before = draft.metrics.len();
        match trigger.get("type").text().as_deref() {
            Some("prometheus") => prometheus(trigger, draft, context, comments),
            Some("metrics-api") => metrics_api(trigger, draft, comments),
            kind => other(kind.unwrap_or_default(), trigger, draft, comments),
        }
        if draft.metrics.len() == before {
            trigger.keep(comments);
        }
    }
}

fn other(kind: &str, trigger: &Field, draft: &mut Draft, comments: &mut Comments) {
    let reason = match kind {
        "cron" => "a size by the time of day is no metric",
        "cpu" | "memory" => {
            "CPU and memory are no metrics here, and say little about an engine's load"
        }
        _ => "only the triggers prometheus and metrics-api can be expressed",
    };
    trigger.dismiss();
    draft.leave_out(comments, trigger.path(), &format!("{reason}."));
}

/// Returns whether the trigger's value is compared as it is, instead of divided by the replicas.
fn is_value(trigger: &Field) -> bool {
    let field = trigger.get("metricType");
    field.one_of(&["AverageValue", "Value"]) == Some("Value")
}

/// Comments on what all triggers have.
fn common(trigger: &Field, draft: &Draft, comments: &mut Comments) {
    let cached = trigger.get("useCachedMetrics");
    if let Some(flag) = cached.flag() {
        let text = format!("{flag}: no second server queries, so nothing is cached.");
        comments.note(cached.path(), text);
    }
    let metadata = trigger.get("metadata");
    for key in ["activationThreshold", "activationTargetValue"] {
        activation(&metadata.get(key), draft, comments);
    }
}

fn activation(field: &Field, draft: &Draft, comments: &mut Comments) {
    let Some(text) = field.text() else { return };
    let is_zero = text.parse::<f64>().is_ok_and(|number| number == 0.0);
    if draft.min > 0 || is_zero {
        comments.note(field.path(), format!("{text}: without effect on this target."));
    } else {
        let text = format!(
            "{text}: up to this value the target stayed at zero. Here any value above zero keeps \
             a replica, and one that appears at zero replicas brings it back."
        );
        comments.lost(field.path(), text);
    }
}

/// Reads the server and the query of a trigger of type prometheus; false if its metric is left out.
fn ask(trigger: &Field, draft: &mut Draft, context: &Context, comments: &mut Comments) -> bool {
    let metadata = trigger.get("metadata");
    let access = authentication::access(trigger, draft, context, comments);
    for mode in access.modes() {
        if !access.is_complete(mode) {
            let text = format!("{mode}: its credentials are not in Secrets that the input names.");
            comments.lost(metadata.get("authModes").path(), text);
        }
    }
    let server = settings::server(&metadata, &access, comments);
    let Some(server) = server else {
        let text = "without the address of its server the metric is left out.";
        draft.leave_out(comments, trigger.path(), text);
        return false;
    };
    if !draft.ask(&server) {
        let text = "the metric is a query to a second Prometheus server, or with other settings, \
                    and the queries of an LLMAutoscaler go to one.";
        draft.leave_out(comments, trigger.path(), text);
        return false;
    }
    true
}

/// Comments on a result without series.
fn nothing(metadata: &Field, comments: &mut Comments) {
    let field = metadata.get("ignoreNullValues");
    let text = if field.flag().unwrap_or(true) {
        "a query without a result was 0; here it has failed, and nothing shrinks. Append \"or \
         vector(0)\" to the query if 0 is meant."
    } else {
        "a query without a result is a failure, as before."
    };
    match field.flag() {
        Some(false) => comments.note(field.path(), text),
        _ => comments.changed(field.path(), text),
    }
}

fn name_of(trigger: &Field, index: usize) -> String {
    trigger.get("name").text().unwrap_or_else(|| format!("prometheus-{index}"))
}

fn index_of(trigger: &Field) -> usize {
    let digits: String = trigger.path().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}

fn prometheus(trigger: &Field, draft: &mut Draft, context: &Context, comments: &mut Comments) {
    let metadata = trigger.get("metadata");
    common(trigger, draft, comments);
    let is_value = is_value(trigger);
    let name = name_of(trigger, index_of(trigger));
    let query = metadata.get("query").text().unwrap_or_default().trim().to_owned();
    let threshold = metadata.get("threshold").text().and_then(|text| positive(&text));
    let Some(target) = threshold.filter(|_| !query.is_empty()) else {
        let text = "query or a threshold greater than 0 is missing.";
        return draft.leave_out(comments, trigger.path(), text);
    };
    let field = trigger.path().to_owned();
    if wva::is_desired(&query) && wva::replace(draft, context, &field, comments) {
        let text = "the server is no longer queried.";
        metadata.dismiss();
        return comments.note(metadata.path(), format!("{}: {text}", metadata.quote()));
    }
    let namespace = Context::namespace(draft);
    let reading = reading::total(&query, is_value, Some(&namespace), &field, comments);
    if matches!(reading, Reading::Page(_)) {
        // The server is read all the same, for its comments.
        let address = metadata.get("serverAddress").text().unwrap_or_default();
        let text = format!("{address}: no longer queried for this metric.");
        comments.note(metadata.get("serverAddress").path(), text);
        forget(trigger, comments);
    } else {
        nothing(&metadata, comments);
        if !ask(trigger, draft, context, comments) {
            return;
        }
    }
    let is_named = trigger.get("name").exists();
    draft.metrics.push(Metric { field, name, is_named, reading, target });
}

/// Comments on the settings of a server that is no longer queried.
fn forget(trigger: &Field, comments: &mut Comments) {
    const SETTINGS: [&str; 12] = [
        "authModes",
        "awsRegion",
        "cortexOrgID",
        "customHeaders",
        "identityOwner",
        "ignoreNullValues",
        "metricName",
        "namespace",
        "queryParameters",
        "timeout",
        "unsafeSsl",
        "aggregationType",
    ];
    let metadata = trigger.get("metadata");
    let settings = SETTINGS.map(|key| metadata.get(key));
    for field in settings.iter().chain([&trigger.get("authenticationRef")]) {
        if field.exists() {
            let text = format!("{}: not needed, since no server is queried.", field.quote());
            comments.note(field.path(), text);
        }
    }
}

/// A trigger that reads a number from a page, of one pod or of all pods of a Service.
fn metrics_api(trigger: &Field, draft: &mut Draft, comments: &mut Comments) {
    let metadata = trigger.get("metadata");
    common(trigger, draft, comments);
    let is_value = is_value(trigger);
    let [url, location, format, target, aggregation] =
        ["url", "valueLocation", "format", "targetValue", "aggregationType"]
            .map(|key| metadata.get(key).text().unwrap_or_default());
    let is_all = metadata.get("aggregateFromKubeServiceEndpoints").flag() == Some(true);
    let found = shape(&location).filter(|_| format == "prometheus");
    let name = found.and_then(|found| match &found.terms[..] {
        [only] if found.aggregation.is_none() && found.over.is_none() => Some(only.name.clone()),
        _ => None,
    });
    let target = positive(&target);
    let (Some(series), Some(target)) = (name.filter(|it| reading::is_engines(it)), target) else {
        let text = String::from(
            "only a page in Prometheus's format with a series of an engine is read here, with a \
             target greater than 0. For the number of another program, have Prometheus scrape it, \
             and use a query.",
        );
        return draft.leave_out(comments, trigger.path(), &text);
    };
    let query = format!("sum({location})");
    let field = trigger.path().to_owned();
    let Some(page) = reading::per_pod(&query, &field, comments) else {
        return draft.leave_out(comments, &field, &format!("{location} is not understood."));
    };
    let read = format!("the pods of the target are read instead of {url}");
    match (is_all, aggregation.as_str(), is_value) {
        (true, "sum", false) | (true, "" | "average", true) => comments.note(&field, read + "."),
        (true, how, is_value) => {
            let how = if how.is_empty() { "average" } else { how };
            let kind = if is_value { "Value" } else { "AverageValue" };
            let text = format!(
                "{read}. Their mean is compared with the target; KEDA compared the {how} of all \
                 pods as {kind}, which is another number."
            );
            comments.changed(&field, text);
        }
        (false, ..) => {
            let text =
                format!("{read}: all of them, where the address answered for one pod at a time.");
            comments.changed(&field, text);
        }
    }
    forget(trigger, comments);
    for key in ["authMode", "method", "keyParamName"] {
        let field = metadata.get(key);
        if field.exists() {
            let text = format!(
                "{}: the pods' pages are read without credentials. If they need some, set \
                 sources[].scrape.authorization or basicAuth.",
                field.quote()
            );
            comments.lost(field.path(), text);
        }
    }
    let is_named = trigger.get("name").exists();
    let name = trigger.get("name").text().unwrap_or(series);
    let reading = Reading::Page(page);
    draft.metrics.push(Metric { field, name, is_named, reading, target });
}

/// One metric of a formula over all triggers.
fn composed(
    modifiers: &Field,
    list: &[Field],
    draft: &mut Draft,
    context: &Context,
    comments: &mut Comments,
) {
    let formula = modifiers.get("formula").text().unwrap_or_default();
    let target = modifiers.get("target").text().and_then(|text| positive(&text));
    let kind = modifiers.get("metricType").one_of(&["AverageValue", "Value"]);
    let is_value = kind == Some("Value");
    activation(&modifiers.get("activationTarget"), draft, comments);
    let mut asked = Vec::new();
    for trigger in list {
        let is_prometheus = trigger.get("type").text().as_deref() == Some("prometheus");
        if !is_prometheus {
            let kind = trigger.get("type").text().unwrap_or_default();
            other(&kind, trigger, draft, comments);
            trigger.keep(comments);
            continue;
        }
        common(trigger, draft, comments);
        let metadata = trigger.get("metadata");
        let kind = trigger.get("metricType");
        if let Some(kind) = kind.text() {
            let text = format!("{kind}: the formula has a target of its own.");
            comments.note(trigger.path(), text);
        }
        if let Some(threshold) = metadata.get("threshold").text() {
            let text = format!("threshold {threshold}: the formula has a target of its own.");
            comments.note(trigger.path(), text);
        }
        nothing(&metadata, comments);
        let query = metadata.get("query").text().unwrap_or_default().trim().to_owned();
        if ask(trigger, draft, context, comments) {
            asked.push(Asked { name: name_of(trigger, index_of(trigger)), query });
        }
    }
    let query = |name: &str| {
        let found = asked.iter().find(|asked| asked.name == name && !asked.query.is_empty());
        found.map(|found| format!("sum({})", found.query))
    };
    let terms = formula::largest(&formula);
    let queries: Option<Vec<String>> =
        terms.iter().map(|term| formula::promql(term, query)).collect();
    let field = modifiers.path().to_owned();
    let (Some(queries), Some(target)) = (queries, target) else {
        let text = format!(
            "{formula}: only + - * / and parentheses over triggers of type prometheus, and the \
             maximum of such, can be expressed, with a target greater than 0."
        );
        return draft.leave_out(comments, &field, &text);
    };
    let is_one = queries.len() == 1;
    let parts = if is_one {
        "the formula is one query"
    } else {
        "each part of the maximum is a query with the same target, and the largest decides"
    };
    let text = format!("{parts}: each trigger in sum( ), so that their labels do not matter.");
    comments.changed(&field, text);
    for (index, query) in queries.into_iter().enumerate() {
        let name = if is_one { "formula".to_owned() } else { format!("formula-{}", index + 1) };
        let reading = Reading::Query { query, is_value };
        let target = target.clone();
        draft.metrics.push(Metric { field: field.clone(), name, is_named: true, reading, target });
    }
}
