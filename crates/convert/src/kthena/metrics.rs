//! The metrics of a policy, and where a target has them.

use serde_json::{Map, json};

use crate::{
    adapter_rules::named,
    comment::Comments,
    context::Context,
    draft::{Draft, Metric, Reading, positive},
    field::Field,
    reading,
};

/// The port of pages where none is given.
const PORT: i64 = 8100;

/// Adds the policy's metrics for one target.
pub(super) fn metrics(target: &Field, policy: &Field, draft: &mut Draft, comments: &mut Comments) {
    let endpoint = target.get("metricEndpoint");
    let sources = target.get("metricSources");
    for metric in policy.get("metrics").items() {
        // Versions before 1.0 call it metricName.
        let name = metric.get("name").text().or_else(|| metric.get("metricName").text());
        let name = name.unwrap_or_default();
        let field = metric.path().to_owned();
        let Some(value) = metric.get("targetValue").text().and_then(|text| positive(&text)) else {
            let text = format!("{name}: its target is no quantity greater than 0.");
            draft.leave_out(comments, &field, &text);
            continue;
        };
        let source = sources.get(&name);
        let prometheus = source.get("prometheus");
        let reading = if prometheus.exists() {
            query(&prometheus, &field, draft, comments)
        } else {
            let pod = source.get("pod");
            let place = if pod.exists() { &pod } else { &endpoint };
            let series = pod.get("name").text().unwrap_or_else(|| name.clone());
            page(&series, place, &field, draft, comments)
        };
        if let Some(reading) = reading {
            let is_named = false;
            draft.metrics.push(Metric { field, name, is_named, reading, target: value });
        } else {
            metric.keep(comments);
            source.keep(comments);
        }
    }
}

fn query(
    prometheus: &Field,
    field: &str,
    draft: &mut Draft,
    comments: &mut Comments,
) -> Option<Reading> {
    let query = prometheus.get("query").text().unwrap_or_default().trim().to_owned();
    let url = prometheus.get("serverURL");
    // It has no fields yet.
    prometheus.get("auth").entries();
    let namespace = Context::namespace(draft);
    let reading = reading::total(&query, false, Some(&namespace), field, comments);
    let address = url.text().unwrap_or_default();
    if matches!(reading, Reading::Page(_)) {
        comments.note(url.path(), format!("{address}: no longer queried for this metric."));
        return Some(reading);
    }
    let server = named(&address, url.path(), comments);
    if query.is_empty() || !server.is_some_and(|server| draft.ask(&server)) {
        let text = format!(
            "{query}: without a query and an address, or with a second server, the metric is left \
             out."
        );
        draft.leave_out(comments, field, &text);
        return None;
    }
    Some(reading)
}

fn page(
    series: &str,
    place: &Field,
    field: &str,
    draft: &mut Draft,
    comments: &mut Comments,
) -> Option<Reading> {
    if !reading::is_series(series) {
        draft.leave_out(comments, field, &format!("{series:?} is no name of a series."));
        return None;
    }
    let mut scrape = Map::new();
    let port = place.get("port").within(1..=65_535).unwrap_or(PORT);
    scrape.insert("port".to_owned(), json!(port));
    let path = place.get("uri").text().unwrap_or_else(|| "/metrics".to_owned());
    if path != "/metrics" {
        let path = format!("/{}", path.trim_start_matches('/'));
        scrape.insert("path".to_owned(), json!(path));
    }
    let selector = place.get("labelSelector");
    if selector.exists() {
        let text = format!(
            "{}: all pods of a replica that the target's scale finds are read. To read some of \
             them only, set replicaPods.leaderSelector.",
            selector.quote()
        );
        comments.lost(selector.path(), text);
    }
    if !draft.scrape.is_empty() && draft.scrape != scrape {
        let text = format!("{series}: all metrics are read from one port and path, the first.");
        comments.lost(field, text);
    } else {
        draft.scrape = scrape;
    }
    Some(Reading::Page(reading::by_name(series)))
}
