//! Credentials that are missing, or replaced, at a Prometheus server.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::{
    ByteString,
    api::{core::v1::Secret, rbac::v1::RoleBinding},
};
use kube::api::{ObjectMeta, PostParams};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{ClientAuthority, FakePrometheus, Fault};
use serde_json::{Value, json};

use crate::prometheus::{set_waiting, source};

/// Grants the operator access to the Secrets of the namespace.
async fn grant(stage: &Stage) -> Result<()> {
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "llm-autoscaler-credentials"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "llm-autoscaler-credentials",
        },
        "subjects": [{
            "kind": "ServiceAccount",
            "name": "llm-autoscaler",
            "namespace": "llm-autoscaler-system",
        }],
    }))?;
    stage.api::<RoleBinding>().create(&PostParams::default(), &binding).await?;
    Ok(())
}

/// Returns the Secret `prom` with these values.
fn secret(values: &[(&str, &str)]) -> Secret {
    let bytes =
        |(key, value): &(&str, &str)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()));
    Secret {
        metadata: ObjectMeta { name: Some("prom".to_owned()), ..ObjectMeta::default() },
        data: Some(values.iter().map(bytes).collect()),
        ..Secret::default()
    }
}

/// Waits until `a` scales. The API server needs a moment to admit a new binding, and a refusal
/// is kept for half a minute.
async fn until_ready(stage: &Stage) -> Result<()> {
    let admitted = Duration::from_mins(1);
    llm_autoscaler_testbed::wait::until("the credentials to be used", admitted, async || {
        let conditions = stage.status("a").await?.conditions;
        Ok(conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True").then_some(()))
    })
    .await
}

/// A token from a Secret: a missing Secret or permission is reported with its remedy, and a new
/// token is picked up.
pub(crate) async fn rotated_token(stage: &Stage) -> Result<String> {
    let mut server = FakePrometheus::start().await?;
    server.fail(Fault::Token("first".to_owned())).await?;
    stage.engine("a", 3).await?;
    set_waiting(&server, stage, 5.0);
    let mut with_token = source(&server);
    with_token["prometheus"]["authorization"] =
        json!({"credentials": {"name": "prom", "key": "token"}});
    stage
        .autoscaler(
            "a",
            json!({
                "sources": [with_token],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            }),
        )
        .await?;
    let active =
        stage.until_condition("a", "ScalingActive", "False", "FailedGetPodsMetric").await?;
    ensure!(
        active.message.contains("kubectl create rolebinding llm-autoscaler-credentials -n"),
        "{}",
        active.message
    );

    grant(stage).await?;
    let secret = |token: &str| secret(&[("token", token)]);
    let secrets = stage.api::<Secret>();
    secrets.create(&PostParams::default(), &secret("first")).await?;
    until_ready(stage).await?;

    // The server requires another token from now on, and the Secret changes a moment later.
    server.fail(Fault::Token("second".to_owned())).await?;
    set_waiting(&server, stage, 0.0);
    stage.stays("a", 3, Duration::from_secs(3)).await?;
    secrets.replace("prom", &PostParams::default(), &secret("second")).await?;
    stage.until_replicas("a", 1, SOON).await?;
    let status = stage.status("a").await?;
    ensure!(!serde_json::to_string(&status)?.contains("second"), "a token is in the status");
    Ok("forbidden: reported with the remedy; with the RoleBinding: Ready; rotated: held, then picked up"
        .to_owned())
}

/// A server that demands a client certificate: one that is missing is reported with the fields to
/// set, and a new one in the Secret is picked up.
pub(crate) async fn rotated_client_certificate(stage: &Stage) -> Result<String> {
    let mut server = FakePrometheus::start().await?;
    let (first, second) = (ClientAuthority::new()?, ClientAuthority::new()?);
    server.demand_certificates(&first).await?;
    let ca = server.certificate().unwrap_or_default().to_owned();
    let secret_of = |clients: &ClientAuthority| -> Result<Secret> {
        let (certificate, key) = clients.issue()?;
        Ok(secret(&[("ca.crt", &ca), ("tls.crt", &certificate), ("tls.key", &key)]))
    };
    let secrets = stage.api::<Secret>();
    grant(stage).await?;
    secrets.create(&PostParams::default(), &secret_of(&first)?).await?;
    stage.engine("a", 3).await?;
    set_waiting(&server, stage, 5.0);
    let reference = |key: &str| json!({"name": "prom", "key": key});
    let spec = |tls: Value| {
        let mut with_tls = source(&server);
        with_tls["prometheus"]["tlsConfig"] = tls;
        json!({
            "sources": [with_tls],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        })
    };
    let without = json!({"ca": {"secret": reference("ca.crt")}});
    stage.autoscaler("a", spec(without)).await?;
    let expected = "set tlsConfig.cert and tlsConfig.keySecret of the source";
    llm_autoscaler_testbed::wait::until(expected, Duration::from_mins(1), async || {
        let conditions = stage.status("a").await?.conditions;
        Ok(conditions.iter().any(|c| c.message.contains(expected)).then_some(()))
    })
    .await?;

    stage
        .autoscaler(
            "a",
            spec(json!({
                "ca": {"secret": reference("ca.crt")},
                "cert": {"secret": reference("tls.crt")},
                "keySecret": reference("tls.key"),
            })),
        )
        .await?;
    until_ready(stage).await?;

    // The server accepts only another certificate from now on, and the Secret changes a moment
    // later.
    server.demand_certificates(&second).await?;
    set_waiting(&server, stage, 0.0);
    stage.stays("a", 3, Duration::from_secs(3)).await?;
    secrets.replace("prom", &PostParams::default(), &secret_of(&second)?).await?;
    stage.until_replicas("a", 1, SOON).await?;
    let status = serde_json::to_string(&stage.status("a").await?)?;
    ensure!(!status.contains("BEGIN"), "a PEM file is in the status");
    Ok("without: reported with the fields to set; with it: Ready; rotated: held, then picked up"
        .to_owned())
}
