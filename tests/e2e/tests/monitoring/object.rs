//! The PodMonitor as an object that others read, change and see deleted.

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_testbed::{monitoring::Selection, wait};
use serde_json::{Value, json};

use crate::setting::{SOON, Setting, jobs, names};

/// A Prometheus that selects PodMonitors by label finds it while it has that label, and scrapes at
/// the spec's interval.
pub(crate) async fn labels_annotations_and_interval_are_the_specs(setting: &Setting) -> Result<()> {
    let stack = Selection {
        namespace: Some(setting.namespace.clone()),
        labels: vec![("release".to_owned(), "stack".to_owned())],
    };
    let stack = setting.prometheus_operator.instance(&stack).await?;
    setting.engine("a", 1).await?;
    let wanted = json!({
        "labels": {"release": "stack"},
        "annotations": {"arms.prometheus.io/discovery": "true"},
        "intervalSeconds": 7,
    });
    setting.autoscaler("a", json!({"podMonitor": wanted})).await?;
    let monitor = setting.until_applied("a").await?;
    ensure!(monitor["metadata"]["labels"]["release"] == "stack", "{monitor}");
    ensure!(monitor["metadata"]["annotations"] == wanted["annotations"], "{monitor}");
    let found = wait::until("the label to be found", SOON, async || {
        Ok(Some(jobs(&stack).await?).filter(|jobs| names(jobs) == [setting.job("a")]))
    })
    .await?;
    ensure!(found[0]["scrape_interval"] == "7s", "{}", found[0]);

    let wanted =
        json!({"labels": {"team": "llm"}, "annotations": {"note": "other"}, "intervalSeconds": 20});
    setting.autoscaler("a", json!({"podMonitor": wanted})).await?;
    wait::until("the label to be found no longer", SOON, async || {
        Ok(jobs(&stack).await?.is_empty().then_some(()))
    })
    .await?;
    let monitor = setting.monitor("a").await?.context("no PodMonitor")?;
    let labels = json!({"app.kubernetes.io/managed-by": "llm-autoscaler", "team": "llm"});
    ensure!(monitor["metadata"]["labels"] == labels, "{monitor}");
    ensure!(monitor["metadata"]["annotations"] == wanted["annotations"], "{monitor}");
    // Each Prometheus has a configuration of its own, and one may be written later than the other.
    wait::until("the interval to be 20 s", SOON, async || {
        let job = setting.until_only_job("a").await?;
        Ok((job["scrape_interval"] == "20s").then_some(()))
    })
    .await
}

/// Fields and labels that others have set on it survive when the operator applies it again, and
/// Prometheus uses them.
pub(crate) async fn fields_of_other_writers_survive(setting: &Setting) -> Result<()> {
    setting.engine("a", 1).await?;
    setting.autoscaler("a", json!({})).await?;
    setting.until_applied("a").await?;
    let of_it = ["-n", &setting.namespace, "--field-manager=other"];
    let label = ["label", "podmonitor", "a", "team=other"];
    setting.control_plane().kubectl([&of_it[..], &label].concat()).await?;
    let limit =
        ["patch", "podmonitor", "a", "--type=merge", "-p", r#"{"spec": {"sampleLimit": 5000}}"#];
    setting.control_plane().kubectl([&of_it[..], &limit].concat()).await?;

    setting.autoscaler("a", json!({"podMonitor": {"intervalSeconds": 33}})).await?;
    let interval = |monitor: &Value| monitor["spec"]["podMetricsEndpoints"][0]["interval"].clone();
    let monitor = wait::until("the operator to apply it again", SOON, async || {
        Ok(setting.monitor("a").await?.filter(|monitor| interval(monitor) == "33s"))
    })
    .await?;
    ensure!(monitor["metadata"]["labels"]["team"] == "other", "{monitor}");
    ensure!(monitor["spec"]["sampleLimit"] == 5000, "{monitor}");
    let both = |jobs: &[Value]| {
        jobs.iter().any(|job| job["scrape_interval"] == "33s" && job["sample_limit"] == 5000)
    };
    setting.until_jobs("both fields in the configuration", both).await.map(|_| ())
}

/// Disabling removes it; so does the deletion of its autoscaler, by the owner reference.
pub(crate) async fn removed_when_disabled_and_with_its_owner(setting: &Setting) -> Result<()> {
    setting.engine("a", 1).await?;
    setting.autoscaler("a", json!({})).await?;
    setting.until_applied("a").await?;
    setting.until_only_job("a").await?;

    setting.autoscaler("a", json!({"podMonitor": {"mode": "Disabled"}})).await?;
    setting.until_no_monitor("a").await?;
    setting.until_jobs("no job to be left", <[Value]>::is_empty).await?;
    wait::until("the condition to be gone", SOON, async || {
        let conditions = setting.status("a").await?.conditions;
        Ok(conditions.iter().all(|condition| condition.type_ != "PodMonitorReady").then_some(()))
    })
    .await?;

    setting.autoscaler("a", json!({"podMonitor": {"mode": "Create"}})).await?;
    setting.until_applied("a").await?;
    setting.api::<LLMAutoscaler>().delete("a", &DeleteParams::default()).await?;
    setting.until_no_monitor("a").await?;
    setting.until_jobs("no job to be left", <[Value]>::is_empty).await.map(|_| ())
}
