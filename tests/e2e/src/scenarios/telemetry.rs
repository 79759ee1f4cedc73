//! The operator's log, its traces and its metrics page.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_testbed::{Page, Span, TraceReceiver, http_client, wait};
use serde_json::{Value, json};

use crate::{Stage, stage::SOON};

/// The contract of the lines about decisions.
const LOGS: &str = include_str!("../../../../docs/logs.md");
/// The table of metrics.
const METRICS: &str = include_str!("../../../../docs/monitoring.md");

/// A target grows from 1 to 3 and is quiet then: each line of the log is an object, and there is a
/// line for the first decision and one for the larger size, with the fields of the contract.
pub(super) async fn log_has_a_line_for_each_changed_decision(stage: &Stage) -> Result<()> {
    stage.operator.start_with(&["--log-format=json"])?;
    grow(stage).await?;
    stage.stays("a", 3, Duration::from_secs(5)).await?;

    let lines = decisions(stage)?;
    let to_three = lines.iter().filter(|line| line["desired"] == 3).collect::<Vec<_>>();
    ensure!(to_three.len() == 1, "{lines:#?}");
    let line = to_three[0];
    let expected = json!({
        "message": "decided", "namespace": stage.namespace, "name": "a",
        "target": "StatefulSet/a", "result": "computed", "current": 1, "desired": 3,
        "proposed": 3, "limited_by": "DesiredWithinRange", "action": "written", "left_out": 0,
    });
    for (field, value) in expected.as_object().context("no object")? {
        ensure!(line[field] == *value, "{field} is not {value}: {line:#}");
    }
    ensure!(line["reason"].as_str().is_some_and(|reason| reason.contains("above target")));
    ensure!(lines.len() <= 4, "a quiet target has no lines: {lines:#?}");

    let documented: BTreeSet<&str> = first_cells(LOGS).collect();
    let fields = lines.iter().filter_map(Value::as_object).flatten().map(|(field, _)| &**field);
    let unknown: BTreeSet<&str> = fields.filter(|field| !documented.contains(field)).collect();
    ensure!(unknown.is_empty(), "docs/logs.md lacks {unknown:?}");

    // A size that cannot be computed any more is another decision.
    stage.page("a", &Page::text("not a page"));
    let blind = wait::until("a line about the metrics", SOON, async || {
        Ok(decisions(stage)?.into_iter().find(|line| line["result"] == "no_metrics"))
    })
    .await?;
    ensure!(blind["action"] == "none" && blind.get("desired").is_none(), "{blind:#}");
    Ok(())
}

/// Has the target grow from 1 to 3. All requests wait at the first pod, so that 3 stays right.
async fn grow(stage: &Stage) -> Result<()> {
    stage.engine("a", 1).await?;
    stage.autoscaler("a", json!({})).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    stage.script.set(&format!("{}/a-0", stage.namespace), Page::waiting(12));
    stage.until_replicas("a", 3, SOON).await
}

/// Returns the fields of the lines about decisions. Every line of the log has to be an object with
/// the common fields.
fn decisions(stage: &Stage) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for line in stage.operator.log_tail(10_000).lines() {
        let mut entry: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        for field in ["timestamp", "level", "target"] {
            ensure!(entry[field].is_string(), "no {field}: {line}");
        }
        if entry["target"] == "llm_autoscaler::decisions" {
            ensure!(entry["level"] == "INFO", "{line}");
            found.push(entry["fields"].take());
        }
    }
    Ok(found)
}

/// Returns the names in the first cells of the tables of a page.
fn first_cells(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once("` |")?.0))
}

/// A collector gets the step that made a target grow, with the write within it, and the scrapes,
/// also those that fail. Without the flag it gets nothing.
pub(super) async fn traces_reach_a_collector(stage: &Stage) -> Result<()> {
    let collector = TraceReceiver::start().await?;
    let endpoint = format!("--otlp-endpoint={}", collector.url());
    stage.operator.configure(&[&endpoint], &[("OTEL_BSP_SCHEDULE_DELAY", "100")]);
    stage.operator.start()?;
    grow(stage).await?;
    let of = |span: &Span, name: &str| {
        span.name == name && span.attribute("k8s.namespace.name") == Some(&*stage.namespace)
    };
    let find = async |what: &str, is: &dyn Fn(&Span) -> bool| {
        let received = || collector.spans().into_iter().find(|span| is(span));
        wait::until(&format!("the span of {what}"), SOON, async || Ok(received())).await
    };
    let decided = "computed 1 -> 3";
    let grown = |span: &Span| {
        of(span, "step")
            && span.attribute("llm_autoscaler.decision") == Some(decided)
            && collector.spans().iter().any(|inner| inner.parent == span.id)
    };
    let step = find("the step", &grown).await?;
    ensure!(step.service == "llm-autoscaler" && !step.is_error, "{step:?}");
    ensure!(step.attribute("llm_autoscaler.name") == Some("a"), "{step:?}");
    let inner = |span: &Span| span.name == "write" && span.parent == step.id;
    let write = find("the write", &inner).await?;
    ensure!(write.attribute("llm_autoscaler.kind") == Some("scale"), "{write:?}");
    ensure!(write.attribute("llm_autoscaler.result") == Some("ok"), "{write:?}");
    let scrape = find("a scrape", &|span| of(span, "scrape") && !span.is_error).await?;
    ensure!(scrape.attribute("server.port") == Some(&*stage.port().to_string()), "{scrape:?}");

    stage.page("a", &Page::text("not a page"));
    let failed = find("a scrape that failed", &|span| of(span, "scrape") && span.is_error).await?;
    ensure!(failed.attribute("llm_autoscaler.result") == Some("invalid"), "{failed:?}");
    let sources = json!([{"prometheus": {"url": "http://127.0.0.1:1"}}]);
    stage.autoscaler("a", json!({"sources": sources})).await?;
    let query = find("a query", &|span| of(span, "query") && span.is_error).await?;
    ensure!(query.attribute("url.full") == Some("http://127.0.0.1:1"), "{query:?}");
    ensure!(query.attribute("llm_autoscaler.result") == Some("unreachable"), "{query:?}");

    stage.operator.start_with(&[])?;
    let before = collector.spans().len();
    stage.stays("a", stage.replicas("a").await?, Duration::from_secs(3)).await?;
    ensure!(collector.spans().len() == before, "spans without the flag");
    Ok(())
}

/// The page of a running operator has the metrics of the table, and no others; those of each
/// autoscaler only where they are asked for.
pub(super) async fn metrics_are_those_of_the_table(stage: &Stage) -> Result<()> {
    grow(stage).await?;
    let row = |line: &'static str| Some((line.strip_prefix("| `llm_")?.split_once("` | ")?, line));
    let (each, totals): (Vec<_>, Vec<_>) = METRICS
        .lines()
        .filter_map(row)
        .map(|((name, _), line)| (format!("llm_{name}"), line.contains("--autoscaler-metrics")))
        .partition(|(_, is_of_each)| *is_of_each);
    let names = |rows: Vec<(String, bool)>| rows.into_iter().map(|(name, _)| name);
    let mut expected: BTreeSet<String> = names(totals).collect();
    ensure!(exposed(&stage.operator.metrics().await?) == expected, "{expected:?}");

    stage.operator.start_with(&["--autoscaler-metrics"])?;
    expected.extend(names(each));
    let current = format!(
        "llm_autoscaler_current_replicas{{namespace={:?},name=\"a\",target=\"a\"}} 3\n",
        stage.namespace
    );
    let page = wait::until("the sizes of the autoscaler", SOON, async || {
        let page = stage.operator.metrics().await.unwrap_or_default();
        Ok(page.contains(&current).then_some(page))
    })
    .await?;
    ensure!(exposed(&page) == expected, "{:?}", exposed(&page));
    ensure!(!page.contains("# EOF"), "the text format has no end mark");
    let url = format!("{}/metrics", stage.operator.url());
    let open_metrics = http_client().get(url).header("accept", "application/openmetrics-text");
    ensure!(open_metrics.send().await?.text().await?.ends_with("# EOF\n"));
    Ok(())
}

/// Returns the names of the metrics of a page in the text format. That of the CRD's differences
/// counts as one of them: it comes when the API server has published the CRD's schema.
fn exposed(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.filter_map(|declared| Some(declared.split_once(' ')?.0.to_owned()));
    names.chain(["llm_autoscaler_schema_differences".to_owned()]).collect()
}
