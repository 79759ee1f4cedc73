//! NVIDIA Dynamo's frontend, which counts no request for a model without workers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{engine::Command, engine::Engine, http_client, wait};
use serde_json::json;

use crate::gateway::{GATEWAY, START, TARGET, ask, installed, url_of};

/// The idle time in seconds before the last worker is removed.
const AFTER: u64 = 5;

/// Requests that the frontend refuses change nothing on its page, so that only a call wakes the
/// workers, as the advice says.
pub(crate) async fn only_calls_wake_workers(stage: &Stage) -> Result<String> {
    let scripts = installed("dynamo").await?;
    let discovery = stage.folder()?.join("discovery").into_os_string();
    let program = |script: &str| -> Result<Engine> {
        let script = scripts.join(script);
        let command = Command::shell(&format!(r#"exec "{}""#, script.display()), stage.folder()?);
        let env = vec![("DYN_FILE_KV".to_owned(), discovery.clone())];
        Ok(Engine::Command(Command { env, ..command }))
    };
    for (name, script) in [(TARGET, "worker.sh"), (GATEWAY, "frontend.sh")] {
        stage.assign(name, program(script)?);
        stage.create_engine(name, 1).await?;
    }
    for name in [TARGET, GATEWAY] {
        stage.until_ready_within(name, 1, START).await?;
    }
    let url = url_of(stage).await?;
    let until_answered = async || {
        wait::until("the frontend to answer a request", SOON, async || {
            Ok((ask(&url, 4).await? == 200).then_some(()))
        })
        .await
    };
    until_answered().await?;

    let target = json!({"type": "AverageValue", "averageValue": "8"});
    let pods = json!({"matchLabels": {"app": GATEWAY}});
    let spec = json!({
        "engine": "Dynamo", "minReplicas": 0, "scaleToZero": {"afterSeconds": AFTER},
        "metrics": [
            {"name": "in-flight", "signal": "InFlightRequests", "target": target},
            {"name": "rate", "signal": "RequestRate", "windowSeconds": 5, "target": target},
        ],
        "sources": [{"scrape": {"podSelector": pods, "intervalSeconds": 1}}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    });
    stage.autoscaler(TARGET, spec).await?;
    stage.until_condition(TARGET, "Advisory", "True", "OnlyCallsWake").await?;
    stage.until_replicas(TARGET, 0, SOON).await?;
    stage.until_condition(TARGET, "ScaledToZero", "True", "ScaledToZero").await?;
    // Workers finish their requests, and the frontend forgets them.
    wait::until("the frontend to have no worker", SOON, async || {
        Ok((ask(&url, 4).await? >= 400).then_some(()))
    })
    .await?;
    stage.stays(TARGET, 0, Duration::from_secs(2)).await?;
    let mut refused = Vec::new();
    for _ in 0..5 {
        refused.push(ask(&url, 4).await?);
    }
    ensure!(refused.iter().all(|status| *status >= 400), "{refused:?}");
    stage.stays(TARGET, 0, Duration::from_secs(5)).await?;

    call(stage).await?;
    stage.until_replicas(TARGET, 1, SOON).await?;
    until_answered().await?;
    Ok(format!("5 requests refused with {}: still 0; a call: 0 -> 1, answered", refused[0]))
}

/// Calls for the target as a gateway's ServiceAccount does.
async fn call(stage: &Stage) -> Result<()> {
    let (cluster, namespace) = (stage.control_plane(), stage.namespace.as_str());
    let account = format!("--serviceaccount={namespace}:caller");
    let role = "--clusterrole=llm-autoscaler-caller";
    cluster.kubectl(["-n", namespace, "create", "serviceaccount", "caller"]).await?;
    cluster.kubectl(["-n", namespace, "create", "rolebinding", "wake", role, &account]).await?;
    let create = ["-n", namespace, "create", "token", "caller", "--audience=llm-autoscaler"];
    let token = cluster.kubectl(create).await?;
    let url = format!("{}/{namespace}/{TARGET}", stage.operator.wake_url());
    // The API server applies a new RoleBinding a moment later.
    wait::until("the call to be taken", SOON, async || {
        let request = http_client().post(&url);
        let request = request.header("authorization", format!("Bearer {}", token.trim()));
        let answer = request.send().await.context("calling the operator")?;
        Ok((answer.status().as_u16() == 202).then_some(()))
    })
    .await
}
