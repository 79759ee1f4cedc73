//! The dashboard, by a real Prometheus that scrapes a running operator.

use anyhow::{Context, Result, ensure};
use llm_autoscaler_testbed::{
    monitoring::{Prometheus, promtool},
    repository, wait,
};
use serde_json::{Value, json};

use crate::setting::{SOON, Setting};

/// The metrics of the bill, which an operator exposes only if it keeps one.
const BILL: [&str; 2] =
    ["llm_autoscaler_replica_seconds_total", "llm_autoscaler_gpu_seconds_total"];

/// Returns a configuration that scrapes the operator of a setting each second, with further fields.
pub(crate) fn scrape_operator(setting: &Setting, fields: &Value) -> String {
    let url = setting.operator.url();
    let mut configuration = json!({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "scrape_configs": [{
            "job_name": "llm-autoscaler",
            "honor_labels": true,
            "static_configs": [{
                "targets": [url.trim_start_matches("http://")],
                "labels": {"namespace": "llm-autoscaler-system"},
            }],
        }],
    });
    for (field, value) in fields.as_object().into_iter().flatten() {
        configuration[field] = value.clone();
    }
    configuration.to_string() // JSON is valid YAML
}

/// One target has grown, another one is at its maximum. promtool finds no fault with the page, and
/// every query of the dashboard has an answer without warnings, the variables included.
pub(crate) async fn every_query_has_an_answer(setting: &Setting) -> Result<()> {
    setting.operator.start_with(&["--sync-period-seconds=1", "--autoscaler-metrics"])?;
    let prometheus = Prometheus::start(&scrape_operator(setting, &json!({}))).await?;
    for (name, waiting) in [("a", 11), ("b", 90)] {
        setting.engine(name, 1).await?;
        setting.autoscaler(name, json!({})).await?;
        setting.waiting(name, waiting);
        setting.until_replicas(name, 3, SOON).await?;
    }
    setting.until_condition("b", "ScalingLimited", "True", "TooManyReplicas").await?;
    let page = setting.operator.metrics().await?;
    let faults = promtool(&["check", "metrics"], &page).await?;
    ensure!(faults.is_empty(), "{faults}");

    let dashboard = repository().join("deploy/monitoring/dashboard.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(dashboard)?)?;
    let queries = queries(&dashboard);
    ensure!(queries.len() > 30, "only {} queries were found", queries.len());
    for (panel, query) in &queries {
        if BILL.iter().any(|metric| query.contains(metric) && !page.contains(metric)) {
            println!("    {panel}: not evaluated, since this operator keeps no bill");
            continue;
        }
        let query = with_variables(query, &setting.namespace);
        let what = format!("an answer to {query}");
        let answer = wait::until(&what, SOON, async || {
            Ok(Some(prometheus.query(&query).await?).filter(|answer| !answer.is_empty()))
        });
        answer.await.with_context(|| format!("{panel}: {query}"))?;
        let notes = prometheus.annotations(&query).await?;
        ensure!(notes.is_empty(), "{panel}: {query}: {notes:?}");
    }
    for (variable, metric, label) in variables(&dashboard) {
        let series = prometheus.query(&with_variables(metric, &setting.namespace)).await?;
        let has_label = series.iter().any(|series| series.labels.contains_key(label));
        ensure!(has_label, "{variable}: {metric} has no {label}");
    }
    Ok(())
}

/// Returns the queries of all panels, with the titles of these.
fn queries(dashboard: &Value) -> Vec<(&str, &str)> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    panels
        .flat_map(|panel| {
            let title = panel["title"].as_str().unwrap_or_default();
            let targets = panel["targets"].as_array().into_iter().flatten();
            targets.filter_map(move |target| Some((title, target["expr"].as_str()?)))
        })
        .collect()
}

/// Returns the variables that are values of a label: their names, the selector and the label.
fn variables(dashboard: &Value) -> Vec<(&str, &str, &str)> {
    let all = dashboard["templating"]["list"].as_array().into_iter().flatten();
    all.filter_map(|variable| {
        let query = variable["query"]["query"].as_str()?;
        let arguments = query.strip_prefix("label_values(")?.strip_suffix(')')?;
        let (metric, label) = arguments.rsplit_once(", ")?;
        Some((variable["name"].as_str()?, metric, label))
    })
    .collect()
}

/// Replaces Grafana's variables as Grafana does.
fn with_variables(query: &str, namespace: &str) -> String {
    query
        .replace("$__rate_interval", "30s")
        .replace("$__range", "5m")
        .replace("$namespace", namespace)
        .replace("$name", ".*")
}
