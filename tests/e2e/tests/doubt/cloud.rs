//! Credentials that the operator's owner has for a server: of a file, of AWS, of Google.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{
    FakePrometheus, Fault,
    cloud::{AwsKeys, Demand, Gate, MetadataServer, TokenService},
    wait,
};
use serde_json::{Value, json};

use crate::prometheus::{set_waiting, source};

/// Writes a file of this stage's folder.
fn write(stage: &Stage, name: &str, content: &str) -> Result<PathBuf> {
    let path = stage.folder()?.join(name);
    std::fs::write(&path, content)?;
    Ok(path)
}

/// Starts the operator with credentials for the gate in the hands of a namespace.
fn start_operator(stage: &Stage, gate: &Gate, namespace: &str, provider: &Value) -> Result<()> {
    let mut rule = json!({"hosts": [gate.host()], "namespaces": [namespace]});
    for (field, value) in provider.as_object().into_iter().flatten() {
        rule[field] = value.clone();
    }
    let file = write(stage, "credentials.yaml", &json!({"credentials": [rule]}).to_string())?;
    let file = format!("--source-credentials-file={}", file.display());
    stage.operator.start_with(&[&file, "--allow-source-hosts=127.0.0.1"])
}

/// Creates an autoscaler with the server behind the gate as its only source, and no credentials.
async fn create(stage: &Stage, server: &FakePrometheus, gate: &Gate) -> Result<()> {
    let mut source = source(server);
    source["prometheus"]["url"] = json!(gate.url());
    stage
        .autoscaler(
            "a",
            json!({
                "sources": [source],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            }),
        )
        .await?;
    Ok(())
}

/// Waits until a condition has this text.
async fn until_told(stage: &Stage, expected: &str) -> Result<()> {
    wait::until(expected, SOON, async || {
        let conditions = stage.status("a").await?.conditions;
        Ok(conditions.iter().any(|c| c.message.contains(expected)).then_some(()))
    })
    .await
}

/// A token in a file of the operator: the server's new token is picked up from the file, and until
/// then the size stays.
pub(crate) async fn bearer_token_file(stage: &Stage) -> Result<String> {
    let server = FakePrometheus::start().await?;
    let gate = Gate::start(&server.url(), Demand::Bearer("first".to_owned())).await?;
    let token = write(stage, "token", "first\n")?;
    let provider = json!({"bearerTokenFile": {"path": token}});
    start_operator(stage, &gate, &stage.namespace, &provider)?;
    stage.engine("a", 3).await?;
    set_waiting(&server, stage, 5.0);
    create(stage, &server, &gate).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;

    gate.demand(Demand::Bearer("second".to_owned()));
    set_waiting(&server, stage, 0.0);
    until_told(stage, "the server refuses the credentials that the operator's owner has").await?;
    stage.stays("a", 3, Duration::from_secs(3)).await?;
    write(stage, "token", "second\n")?;
    stage.until_replicas("a", 1, SOON).await?;
    let status = serde_json::to_string(&stage.status("a").await?)?;
    ensure!(!status.contains("second"), "a token is in the status");
    Ok("a new token: held, then picked up from the file".to_owned())
}

/// A role of AWS: a web identity token that is refused is told without the account, and the size
/// stays; with the right one each query is signed.
pub(crate) async fn role_of_aws(stage: &Stage) -> Result<String> {
    const ROLE: &str = "arn:aws:iam::123456789012:role/reader";
    let keys = AwsKeys {
        id: "ASIAEXAMPLE".to_owned(),
        secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
        session: "session//token+of==".to_owned(),
        region: "eu-central-1".to_owned(),
        service: "aps".to_owned(),
    };
    let server = FakePrometheus::start().await?;
    let sts = TokenService::start(keys.clone(), ROLE, "web.identity").await?;
    let gate = Gate::start(&server.url(), Demand::Signature(keys)).await?;
    let token = write(stage, "identity", "other")?;
    let provider = json!({"awsSigV4": {
        "region": "eu-central-1",
        "roleArn": ROLE,
        "webIdentityTokenFile": token,
        "stsEndpoint": sts.url(),
    }});
    start_operator(stage, &gate, &stage.namespace, &provider)?;
    stage.engine("a", 3).await?;
    set_waiting(&server, stage, 0.0);
    create(stage, &server, &gate).await?;
    until_told(stage, "HTTP status 403 (AccessDenied): check the role and its trust policy")
        .await?;
    stage.stays("a", 3, Duration::from_secs(3)).await?;
    let status = serde_json::to_string(&stage.status("a").await?)?;
    ensure!(!status.contains("123456789012"), "the account is in the status: {status}");
    ensure!(server.queries().is_empty() && gate.refusals().is_empty(), "an unsigned query");

    write(stage, "identity", "web.identity")?;
    stage.until_replicas("a", 1, SOON).await?;
    ensure!(gate.refusals().is_empty(), "refused: {:?}", gate.refusals());
    Ok("refused: told and held; with the role's keys: each query signed, 3 -> 1".to_owned())
}

/// Google's managed Prometheus: a token of the metadata server, and queries by name.
pub(crate) async fn google_managed_prometheus(stage: &Stage) -> Result<String> {
    let mut server = FakePrometheus::start().await?;
    server.fail(Fault::GoogleManaged).await?;
    let metadata = MetadataServer::start("ya29.token").await?;
    let gate = Gate::start(&server.url(), Demand::Bearer("ya29.token".to_owned())).await?;
    let provider = json!({"googleMetadata": {"metadataHost": metadata.host()}});
    start_operator(stage, &gate, &stage.namespace, &provider)?;
    stage.engine("a", 3).await?;
    set_waiting(&server, stage, 5.0);
    server.set("queue", &[], 15.0);
    let mut source = source(&server);
    source["prometheus"]["url"] = json!(gate.url());
    let target = json!({"type": "AverageValue", "averageValue": "5"});
    stage
        .autoscaler(
            "a",
            json!({
                "sources": [source],
                "metrics": [
                    {"name": "waiting", "signal": "WaitingRequests", "target": target},
                    {"name": "running", "signal": "InFlightRequests", "target": target},
                    {"name": "queue", "query": "queue", "target": target},
                ],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            }),
        )
        .await?;
    for ordinal in 0..3 {
        let labels =
            [("namespace", &*stage.namespace), ("pod", &format!("a-{ordinal}")), ("engine", "0")];
        server.set("vllm:num_requests_running", &labels, 0.0);
    }
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    stage.stays("a", 3, Duration::from_secs(2)).await?;
    set_waiting(&server, stage, 0.0);
    server.set("queue", &[], 0.0);
    stage.until_replicas("a", 1, SOON).await?;
    let queries = server.queries();
    let refused = queries.iter().filter(|query| query.contains("__name__=~")).count();
    let by_name = queries.iter().filter(|query| query.contains("__name__=\"")).count();
    // Each of the first queries finds it out, as long as they are in flight together.
    ensure!((1..=4).contains(&refused) && by_name > 40, "{refused} refused, {by_name} by name");
    Ok(format!("{refused} queries refused, then {by_name} by name; 3 -> 1"))
}

/// Credentials for another namespace: the source is queried without any, and the size stays.
pub(crate) async fn credentials_of_another_namespace(stage: &Stage) -> Result<String> {
    let server = FakePrometheus::start().await?;
    let gate = Gate::start(&server.url(), Demand::Bearer("token".to_owned())).await?;
    let token = write(stage, "token", "token")?;
    let provider = json!({"bearerTokenFile": {"path": token}});
    start_operator(stage, &gate, "another-namespace", &provider)?;
    stage.engine("a", 3).await?;
    set_waiting(&server, stage, 0.0);
    create(stage, &server, &gate).await?;
    until_told(stage, "returned HTTP status 403").await?;
    stage.stays("a", 3, Duration::from_secs(3)).await?;
    ensure!(server.queries().is_empty(), "a query with the credentials of another namespace");
    let status = serde_json::to_string(&stage.status("a").await?)?;
    ensure!(!status.contains("source-credentials-file"), "the file is told: {status}");
    start_operator(stage, &gate, &stage.namespace, &provider)?;
    stage.until_replicas("a", 1, SOON).await?;
    Ok("no credentials for this namespace: held; with them: 3 -> 1".to_owned())
}
