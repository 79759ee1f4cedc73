//! The alerting rules, by a real Prometheus that scrapes a running operator.

use anyhow::{Context, Result, ensure};
use llm_autoscaler_testbed::{Page, monitoring::Prometheus, repository, wait};
use serde_json::json;

use crate::{
    dashboard::scrape_operator,
    setting::{SOON, Setting},
};

const RUNBOOK: &str = include_str!("../../../../docs/runbook.md");

/// When the only pod of an autoscaler answers with something else than metrics,
/// `LLMAutoscalerBlind` fires, and nothing else; once the page is back, the alert ends.
pub(crate) async fn blind_autoscaler_fires(setting: &Setting) -> Result<()> {
    setting.operator.start_with(&["--sync-period-seconds=1", "--autoscaler-metrics"])?;
    let rules = std::fs::read_to_string(repository().join("deploy/monitoring/rules.yaml"))?;
    let shorter = rules.replace("for: 5m\n", "for: 3s\n");
    ensure!(rules != shorter, "no rule waits for five minutes");
    let file = setting.folder()?.join("rules.yaml");
    std::fs::write(&file, shorter)?;
    let with_rules = json!({"rule_files": [file.to_string_lossy()]});
    let prometheus = Prometheus::start(&scrape_operator(setting, &with_rules)).await?;
    setting.engine("a", 1).await?;
    setting.autoscaler("a", json!({})).await?;
    setting.until_condition("a", "Ready", "True", "Scaling").await?;
    let firing = async || {
        let alerts = prometheus.query("ALERTS{alertstate=\"firing\"}").await?;
        let names = alerts.into_iter().filter_map(|alert| alert.labels.get("alertname").cloned());
        anyhow::Ok(names.collect::<Vec<_>>())
    };
    let is_blind = |names: &Vec<String>| names == &["LLMAutoscalerBlind"];
    let quiet = async || Ok(Some(firing().await?).filter(Vec::is_empty));
    wait::until("no alert to fire", SOON, quiet).await?;

    setting.page("a", &Page::text("not a page"));
    let blind = async || Ok(Some(firing().await?).filter(is_blind));
    wait::until("the alert to fire", SOON, blind).await?;
    // The command of the runbook lists the autoscaler and the condition.
    let (_, jsonpath) = RUNBOOK.split_once("-o 'jsonpath=").context("no command")?;
    let jsonpath = format!("jsonpath={}", jsonpath.split('\'').next().unwrap_or_default());
    let get = ["get", "llmautoscalers", "--all-namespaces", "-o", &*jsonpath];
    let listed = setting.control_plane().kubectl(get).await?;
    let own = format!("{}/a ", setting.namespace);
    let is_listed = |line: &str| line.starts_with(&own) && line.contains(" ScalingActive=False/");
    ensure!(listed.lines().any(is_listed), "{listed}");
    setting.waiting("a", 1);
    wait::until("the alert to end", SOON, quiet).await?;
    Ok(())
}
