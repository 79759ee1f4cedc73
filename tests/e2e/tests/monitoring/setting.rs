//! A stage with an instance of Prometheus.

use std::{ops::Deref, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use llm_autoscaler_api::POD_MONITOR;
use llm_autoscaler_e2e::{Cluster, Stage};
use llm_autoscaler_testbed::{
    monitoring::{Instance, Prometheus, PrometheusOperator, Selection},
    wait,
};
use serde_json::{Value, json};

/// The timeout of anything that should happen soon, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// The time until a PodMonitor is reconciled again, plus a margin.
pub(crate) const RECONCILED: Duration = Duration::from_secs(95);

/// A namespace with its operator, and an instance of Prometheus for it.
pub(crate) struct Setting {
    /// The namespace, the pages of its pods, and an operator that watches the namespace.
    stage: Stage,
    /// The Prometheus Operator.
    pub prometheus_operator: Arc<PrometheusOperator>,
    /// The instance for the PodMonitors of the namespace.
    pub instance: Instance,
}

impl Deref for Setting {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl Setting {
    /// Creates a namespace, and an instance for its PodMonitors.
    pub(crate) async fn new(
        cluster: Arc<Cluster>,
        prometheus_operator: Arc<PrometheusOperator>,
        namespace: &str,
    ) -> Result<Self> {
        let stage = Stage::create_with(cluster, namespace, &["--sync-period-seconds=1"]).await?;
        let selection = Selection { namespace: Some(namespace.to_owned()), ..Selection::default() };
        let instance = prometheus_operator.instance(&selection).await?;
        Ok(Self { stage, prometheus_operator, instance })
    }

    /// Returns the API of the namespace's PodMonitors.
    pub(crate) fn monitors(&self) -> Api<DynamicObject> {
        let [group, version, kind, plural] = POD_MONITOR;
        let kind =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        Api::namespaced_with(self.client(), &self.namespace, &kind)
    }

    /// Returns a PodMonitor; `None` if there is none of this name.
    pub(crate) async fn monitor(&self, name: &str) -> Result<Option<Value>> {
        let found = self.monitors().get_opt(name).await?;
        found.map(serde_json::to_value).transpose().context("a PodMonitor as JSON")
    }

    /// Creates a PodMonitor as a person would, for the pods of an engine of the stage.
    pub(crate) async fn persons_monitor(&self, name: &str, engine: &str) -> Result<()> {
        let monitor = json!({
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "selector": {"matchLabels": {"app": engine}},
                "podMetricsEndpoints": [{"port": "http"}],
            },
        });
        self.control_plane().apply_yaml(&monitor.to_string()).await?;
        Ok(())
    }

    /// Waits until the PodMonitor of an autoscaler is applied, and returns it.
    pub(crate) async fn until_applied(&self, name: &str) -> Result<Value> {
        self.until_condition(name, "PodMonitorReady", "True", "Applied").await?;
        self.monitor(name).await?.context("the condition speaks of a PodMonitor that is not there")
    }

    /// Waits until the PodMonitor's condition is False for a reason, which may take until the next
    /// reconcile. Returns its message.
    pub(crate) async fn until_not_ready(&self, name: &str, reason: &str) -> Result<String> {
        let what = format!("{name} to have PodMonitorReady=False/{reason}");
        wait::until(&what, RECONCILED, async || {
            let conditions = self.status(name).await?.conditions;
            let condition = conditions.into_iter().find(|c| {
                c.type_ == "PodMonitorReady" && c.status == "False" && c.reason == reason
            });
            Ok(condition.map(|condition| condition.message))
        })
        .await
    }

    /// Waits until there is no PodMonitor of this name.
    pub(crate) async fn until_no_monitor(&self, name: &str) -> Result<()> {
        wait::until(&format!("the PodMonitor {name} to be gone"), SOON, async || {
            Ok(self.monitor(name).await?.is_none().then_some(()))
        })
        .await
    }

    /// Returns the scrape jobs that the Prometheus Operator has generated from the namespace's
    /// PodMonitors.
    pub(crate) async fn jobs(&self) -> Result<Vec<Value>> {
        jobs(&self.instance).await
    }

    /// Waits until `expected` holds for the jobs.
    pub(crate) async fn until_jobs(
        &self,
        what: &str,
        are: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        wait::until(what, SOON, async || Ok(Some(self.jobs().await?).filter(|jobs| are(jobs))))
            .await
    }

    /// Waits until the only job is that of this PodMonitor, and returns the job.
    pub(crate) async fn until_only_job(&self, monitor: &str) -> Result<Value> {
        let what =
            format!("the PodMonitor {monitor} to be the only one that Prometheus is to scrape by");
        let mut jobs = self.until_jobs(&what, |jobs| names(jobs) == [self.job(monitor)]).await?;
        jobs.pop().context("no job")
    }

    /// Returns the name of the job of a PodMonitor's only endpoint.
    pub(crate) fn job(&self, monitor: &str) -> String {
        format!("podMonitor/{}/{monitor}/0", self.namespace)
    }

    /// Waits until exactly these pods are scraped, each once and with success.
    pub(crate) async fn until_scraped(&self, prometheus: &Prometheus, pods: &[&str]) -> Result<()> {
        let result = wait::until(&format!("exactly {pods:?} to be scraped"), SOON, async || {
            let targets = prometheus.targets().await?;
            let mut scraped: Vec<&str> = targets
                .iter()
                .map(|target| target.labels.get("pod").map_or("", String::as_str))
                .collect();
            scraped.sort_unstable();
            let up = targets.iter().all(|target| target.health == "up");
            Ok((up && scraped == pods).then_some(()))
        })
        .await;
        match result {
            Ok(()) => Ok(()),
            Err(error) => {
                Err(error.context(format!("targets: {:#?}", prometheus.targets().await?)))
            }
        }
    }

    /// Describes the state of the namespace, for failed scenarios.
    pub(crate) async fn scene(&self) -> String {
        let monitors = self.monitors().list(&kube::api::ListParams::default()).await;
        let monitors =
            monitors.map(|list| list.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>());
        let jobs = self.jobs().await.map(|jobs| names(&jobs));
        let log = self.prometheus_operator.log_tail(10);
        format!(
            "{}\nPodMonitors: {monitors:?}\njobs: {jobs:?}\nPrometheus Operator:\n{log}\n---",
            self.stage.scene().await
        )
    }
}

/// Returns the scrape jobs of an instance.
pub(crate) async fn jobs(instance: &Instance) -> Result<Vec<Value>> {
    let config: Value = serde_saphyr::from_str(&instance.config().await?)?;
    Ok(config["scrape_configs"].as_array().cloned().unwrap_or_default())
}

/// Returns the names of jobs.
pub(crate) fn names(jobs: &[Value]) -> Vec<String> {
    jobs.iter().filter_map(|job| job["job_name"].as_str()).map(ToOwned::to_owned).collect()
}
