//! Rolling updates of the operator's own Deployment.
//!
//! `config/namespaced` is installed as a user does it, and each pod of its Deployment is a process
//! of the operator, under the ServiceAccount and with the arguments of the manifest. A hollow node
//! starts it when the pod is created, reports the answer of `/readyz` as the pod's readiness, and
//! sends SIGTERM when the pod is deleted.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{Installation, SOON, Stage, operator_binary};
use llm_autoscaler_testbed::{
    engine::{Command, Engine},
    wait,
};
use serde_json::Value;

use crate::{
    audit::{self, Log},
    load,
};

/// The name of the Deployment and of its ServiceAccount.
const OPERATOR: &str = "llm-autoscaler";
/// The number of rolling updates.
const UPDATES: usize = 4;
/// The longest time from the last write of a pod to the first write of the next one.
const LONGEST: Duration = Duration::from_secs(1);

/// The Deployment's template is changed again and again under load. Each update replaces the pod
/// that serves, which gives its Lease away, and there is never a second writer.
pub(crate) async fn deployment_is_updated(stage: &Stage) -> Result<String> {
    stage.operator.kill();
    load::create_targets(stage).await?;
    let mut log = Log::new(stage.control_plane().audit_log(), format!("{OPERATOR}-"))?;
    install(stage).await?;
    rolled_out(stage).await?;
    // Copies that find no Lease announce themselves for its duration before one of them writes.
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    tokio::select! {
        updated = update(stage) => updated?,
        () = load::swing(stage) => {}
    }
    let requests = log.requests()?;
    let writes = audit::ensure_one_writer(requests)?;
    let gaps = audit::handovers(requests);
    ensure!(gaps.len() >= UPDATES, "{} handovers in {UPDATES} updates", gaps.len());
    let longest = gaps.iter().max().context("no handover")?.to_std().unwrap_or_default();
    let text = format!(
        "{UPDATES} rolling updates: {} handovers, no double write among {writes}; time without a \
         write {:.2} s at most",
        gaps.len(),
        longest.as_secs_f64()
    );
    ensure!(longest <= LONGEST, "{text}");
    Ok(text)
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

/// Updates the Deployment, again and again.
async fn update(stage: &Stage) -> Result<()> {
    for number in 0..UPDATES {
        // Some time under load, so that sizes and statuses are on their way.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(2000..4000))).await;
        let variable = format!("UPDATE={number}");
        let deployment = format!("deployment/{OPERATOR}");
        let set = ["-n", &*stage.namespace, "set", "env", &*deployment, &*variable];
        stage.control_plane().kubectl(set).await?;
        rolled_out(stage).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

/// Waits until all pods have the latest template and are ready, and older ones are gone.
async fn rolled_out(stage: &Stage) -> Result<()> {
    let cluster = stage.control_plane();
    let its = ["-n", &*stage.namespace];
    let deployment = format!("deployment/{OPERATOR}");
    let status = ["rollout", "status", &*deployment, "--timeout=60s"];
    cluster.kubectl([&its[..], &status].concat()).await?;
    wait::until("the pods of the last template to be gone", SOON, async || {
        let selector = format!("app.kubernetes.io/name={OPERATOR}");
        let get = ["get", "pods", "-l", &*selector, "-o", "name"];
        let pods = cluster.kubectl([&its[..], &get].concat()).await?;
        Ok((pods.lines().count() == 2).then_some(()))
    })
    .await
}
