//! Rolling updates of the operator's own Deployment.
//!
//! `config/namespaced` is installed as a user does it, and each pod of its Deployment is a process
//! of the operator, under the ServiceAccount and with the arguments of the manifest. A hollow node
//! starts it when the pod is created, reports the answer of `/readyz` as the pod's readiness, and
//! sends SIGTERM when the pod is deleted.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{WatchEvent, WatchParams},
};
use llm_autoscaler_e2e::{
    Installation, SOON, Stage,
    audit::{self, Handover, Log},
    operator_binary,
};
use llm_autoscaler_testbed::{
    engine::{Command, Engine},
    wait,
};
use serde_json::Value;

use crate::load;

/// The name of the Deployment and of its ServiceAccount.
const OPERATOR: &str = "llm-autoscaler";
/// The label of its pods.
const SELECTOR: &str = "app.kubernetes.io/name=llm-autoscaler";
/// The number of rolling updates.
const UPDATES: usize = 4;
/// The longest time from the deletion of the pod that serves to the first write of the next one.
const LONGEST: TimeDelta = TimeDelta::seconds(1);

/// The Deployment's template is changed again and again under load. Each update replaces the pod
/// that serves, which gives its Lease away, and there is never a second writer.
pub(crate) async fn deployment_is_updated(stage: &Stage) -> Result<String> {
    stage.operator.kill();
    load::create_targets(stage).await?;
    let log = Log::new(stage.control_plane().audit_log(), format!("{OPERATOR}-"));
    let log = Mutex::new(log);
    install(stage).await?;
    rolled_out(stage).await?;
    // Copies that find no Lease announce themselves for its duration before one of them writes.
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    let deletions = Deletions::default();
    tokio::select! {
        updated = update(stage, &log) => updated?,
        watched = deletions.watch(stage) => watched?,
        () = load::swing(stage) => {}
    }
    let mut log = lock(&log);
    let requests = log.requests()?;
    let writes = audit::ensure_one_writer(requests, 1)?;
    let handovers = audit::handovers(requests);
    let longest = |gaps: Vec<TimeDelta>| gaps.into_iter().max().unwrap_or_default();
    let silent = longest(handovers.iter().map(|it| it.first - it.last).collect());
    let gap = longest(handovers.iter().map(|it| deletions.gap(it)).collect::<Result<_>>()?);
    let text = format!(
        "{UPDATES} rolling updates: {} handovers, no double write among {writes}; at most {:.2} s \
         from the deletion of a pod to the next write, {:.2} s between two writes",
        handovers.len(),
        gap.as_seconds_f64(),
        silent.as_seconds_f64()
    );
    ensure!(gap <= LONGEST, "{text}");
    Ok(text)
}

/// The times at which pods of the Deployment were deleted, by their names. Their processes get
/// SIGTERM then.
#[derive(Default)]
struct Deletions(Mutex<HashMap<String, DateTime<Utc>>>);

impl Deletions {
    /// Watches the pods until the API server ends the watch, which is after the scenario.
    async fn watch(&self, stage: &Stage) -> Result<()> {
        let its = WatchParams::default().labels(SELECTOR);
        let api = stage.api::<Pod>();
        let mut events = api.watch(&its, "0").await?.boxed();
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Modified(pod) = event
                && pod.metadata.deletion_timestamp.is_some()
            {
                let mut times = lock(&self.0);
                times.entry(pod.name_any()).or_insert_with(Utc::now);
            }
        }
        anyhow::bail!("the API server ended the watch of the pods")
    }

    /// Returns the time from the deletion of the pod that served to the next one's first write.
    fn gap(&self, handover: &Handover) -> Result<TimeDelta> {
        let times = lock(&self.0);
        let is_its = |pod: &&String| handover.from.starts_with(&**pod);
        let pod = times.keys().find(is_its);
        let pod = pod.with_context(|| format!("no pod was deleted before: {handover:?}"))?;
        Ok(handover.first - times[pod])
    }
}

/// Installs the operator, and has hollow nodes run its binary in the Deployment's pods.
async fn install(stage: &Stage) -> Result<()> {
    let (cluster, namespace) = (stage.control_plane(), &*stage.namespace);
    // The processes need a kubeconfig of the account before the first pod starts.
    cluster.kubectl(["-n", namespace, "create", "serviceaccount", OPERATOR]).await?;
    let kubeconfig = cluster.service_account_kubeconfig(namespace, OPERATOR).await?;
    let installation = Installation::write(stage)?;
    let arguments = arguments(&installation.render().await?)?;
    stage.assign(OPERATOR, Engine::Command(process(stage.folder()?, kubeconfig, arguments)?));
    installation.apply().await
}

/// Returns the arguments of the container in the Deployment of a manifest.
fn arguments(manifest: &str) -> Result<Vec<String>> {
    let documents = manifest.split("\n---\n").map(serde_saphyr::from_str::<Value>);
    let objects = documents.collect::<Result<Vec<_>, _>>()?;
    let deployment = objects.into_iter().find(|object| object["kind"] == "Deployment");
    let mut deployment = deployment.context("the manifest has no Deployment")?;
    let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].take();
    Ok(serde_json::from_value(arguments)?)
}

/// Returns the process of a pod. Addresses are the pod's own, and what the manifest sets by the
/// pod's fields is set by the variables of the hollow node.
fn process(logs: PathBuf, kubeconfig: PathBuf, arguments: Vec<String>) -> Result<Command> {
    let script = "HEALTH_ADDRESS=$POD_IP:$PORT WAKE_ADDRESS=$POD_IP:8443 \
                  WATCH_NAMESPACE=$POD_NAMESPACE ALLOW_LOOPBACK=true exec \"$0\" \"$@\"";
    let mut command = Command::shell(script, logs);
    command.args.push(operator_binary()?.into());
    command.args.extend(arguments.into_iter().map(Into::into));
    command.env.push(("KUBECONFIG".to_owned(), kubeconfig.into()));
    "/readyz".clone_into(&mut command.health_path);
    Ok(command)
}

/// Updates the Deployment, again and again, and waits for the first write of the next pod.
async fn update(stage: &Stage, log: &Mutex<Log>) -> Result<()> {
    for number in 0..UPDATES {
        let before = audit::handovers(lock(log).requests()?).len();
        // Some time under load, so that sizes and statuses are on their way.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(2000..4000))).await;
        let variable = format!("UPDATE={number}");
        let deployment = format!("deployment/{OPERATOR}");
        let set = ["-n", &*stage.namespace, "set", "env", &*deployment, &*variable];
        stage.control_plane().kubectl(set).await?;
        rolled_out(stage).await?;
        wait::until("the first write of the next pod", SOON, async || {
            let handovers = audit::handovers(lock(log).requests()?).len();
            Ok((handovers > before).then_some(()))
        })
        .await?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until all pods have the latest template and are ready, and older ones are gone.
async fn rolled_out(stage: &Stage) -> Result<()> {
    let cluster = stage.control_plane();
    let its = ["-n", &*stage.namespace];
    let deployment = format!("deployment/{OPERATOR}");
    let status = ["rollout", "status", &*deployment, "--timeout=60s"];
    cluster.kubectl([&its[..], &status].concat()).await?;
    wait::until("the pods of the last template to be gone", SOON, async || {
        let get = ["get", "pods", "-l", SELECTOR, "-o", "name"];
        let pods = cluster.kubectl([&its[..], &get].concat()).await?;
        Ok((pods.lines().count() == 2).then_some(()))
    })
    .await
}
