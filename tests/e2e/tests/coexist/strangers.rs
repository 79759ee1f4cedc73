//! Callers that are not the API server, users without a permission, and APIs of other servers.

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage, own_address};
use llm_autoscaler_testbed::{ClientAuthority, https_client, wait};
use serde_json::{Value, json};

use crate::setting::{
    API_SERVICES, SYSTEM, api_services, arguments, get, lead_to, pods_path, raw, register, serve,
};

/// Only the API server's certificate opens a connection, and only the user that it names counts.
/// That user needs the permission that the same request to the API server needs.
pub(crate) async fn callers_and_their_permissions(stage: &Stage) -> Result<()> {
    stage.waiting("a", 5);
    stage.engine("a", 1).await?;
    stage.autoscaler("a", json!({"mode": "Recommend"})).await?;
    serve(stage).await?;
    let service = get(stage, &["service", "llm-autoscaler-metrics-api", "-n", SYSTEM]).await?;
    let (ip, port) = (&service["spec"]["externalName"], &service["spec"]["ports"][0]["port"]);
    let base = format!("https://{}:{port}", ip.as_str().context("no address")?);
    let path = pods_path(stage, "*", "vllm:num_requests_waiting");
    let ask = async |identity: Option<String>, user: &str, groups: &[&str]| -> Result<u16> {
        let request = https_client(identity.as_deref())?.get(format!("{base}{path}"));
        let request = request.header("x-remote-user", user);
        let request =
            groups.iter().fold(request, |request, group| request.header("x-remote-group", *group));
        Ok(request.send().await?.status().as_u16())
    };
    let masters = ["system:masters"];
    ensure!(ask(None, "admin", &masters).await.is_err(), "no certificate was demanded");
    let (certificate, key) = ClientAuthority::new()?.issue()?;
    let other = Some(format!("{certificate}{key}"));
    ensure!(ask(other, "admin", &masters).await.is_err(), "another authority was accepted");

    let file = |name| std::fs::read_to_string(stage.control_plane().dir().join(name));
    let own = Some(format!("{}{}", file("front-proxy.crt")?, file("front-proxy.key")?));
    let hpa = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";
    let default = format!("system:serviceaccount:{}:default", stage.namespace);
    // the user, the groups, the status
    let table: [(&str, &[&str], u16); 4] =
        [("admin", &masters, 200), (hpa, &[], 200), (&default, &[], 403), ("", &[], 401)];
    for (user, groups, expected) in table {
        let status = ask(own.clone(), user, groups).await?;
        ensure!(status == expected, "{user:?}: {status} instead of {expected}");
    }
    // A permission of the namespace suffices, by the role that `view` has.
    let subject = format!("--serviceaccount={}:default", stage.namespace);
    let bind = ["-n", &stage.namespace, "create", "rolebinding", "view", "--clusterrole=view"];
    stage.control_plane().kubectl(bind.into_iter().chain([&*subject])).await?;
    wait::until("the permission to count", SOON, async || {
        Ok((ask(own.clone(), &default, &[]).await? == 200).then_some(()))
    })
    .await
}

/// An APIService that leads to another Service stays as it is, and the log says so. The others of
/// the operator get their caBundle.
pub(crate) async fn api_service_of_another_operator(stage: &Stage) -> Result<()> {
    register(stage).await?;
    let (address, others) = (own_address(), API_SERVICES[2]);
    lead_to(stage, address).await?;
    stage.control_plane().kubectl(["delete", "apiservice", others]).await?;
    let all = api_services(address)?;
    let (_, last) = all.rsplit_once("---").context("one APIService")?;
    let of_keda = last.replace("llm-autoscaler-metrics-api", "keda-metrics-apiserver");
    stage.control_plane().apply_yaml(&of_keda).await?;
    let arguments = arguments(address);
    stage.operator.start_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    wait::until("the log to tell of it", SOON, async || {
        let log = stage.operator.log_tail(100);
        Ok(log.contains("it is not of this operator").then_some(()))
    })
    .await?;
    let object = get(stage, &["apiservice", others]).await?;
    ensure!(object["spec"]["caBundle"] == Value::Null, "{object}");
    let own = get(stage, &["apiservice", API_SERVICES[0]]).await?;
    ensure!(own["spec"]["caBundle"].is_string(), "{own}");
    // Later scenarios have it back.
    lead_to(stage, address).await?;
    wait::until("the external metrics to be found", SOON, async || {
        Ok(raw(stage, "/apis/external.metrics.k8s.io/v1beta1").await.ok())
    })
    .await
    .map(drop)
}
