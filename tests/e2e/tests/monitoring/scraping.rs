//! The targets that an autoscaler's PodMonitor selects.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use llm_autoscaler_testbed::{monitoring::Prometheus, wait};
use serde_json::json;

use crate::setting::{SOON, Setting};

/// The target's pods are scraped, and no other pods with a port of the same name. Pods that scaling
/// adds are scraped; removed ones are not. Series have the labels that dashboards expect.
pub(crate) async fn pods_of_the_target_and_no_others_are_scraped(setting: &Setting) -> Result<()> {
    setting.engine("a", 2).await?;
    setting.engine("b", 1).await?;
    setting.waiting("a", 5);
    let at_once = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    setting
        .autoscaler("a", json!({"podMonitor": {"intervalSeconds": 1}, "behavior": at_once}))
        .await?;
    setting.until_applied("a").await?;
    setting.until_only_job("a").await?;

    let prometheus = setting.instance.run().await?;
    setting.until_scraped(&prometheus, &["a-0", "a-1"]).await?;
    carries_labels(setting, &prometheus).await?;

    setting.waiting("a", 8);
    setting.until_replicas("a", 3, SOON).await?;
    setting.until_scraped(&prometheus, &["a-0", "a-1", "a-2"]).await?;
    setting.waiting("a", 0);
    setting.until_replicas("a", 1, SOON).await?;
    setting.until_scraped(&prometheus, &["a-0"]).await
}

/// Checks a pod's series for the labels of the Prometheus Operator and those of the PodMonitor.
async fn carries_labels(setting: &Setting, prometheus: &Prometheus) -> Result<()> {
    let namespace = &*setting.namespace;
    let query = format!("vllm:num_requests_waiting{{namespace={namespace:?},pod=\"a-1\"}}");
    let series =
        wait::until("a sample of a-1", SOON, async || Ok(prometheus.query(&query).await?.pop()))
            .await?;
    ensure!((series.value - 5.0).abs() < f64::EPSILON, "{series:?}");
    let expected = [
        ("pod_name", "a-1"),
        ("pod_namespace", namespace),
        ("workload_name", "a"),
        ("backend", "vllm"),
        ("namespace", namespace),
        ("pod", "a-1"),
        ("endpoint", "http"),
        ("job", &format!("{namespace}/a")),
    ];
    for (label, value) in expected {
        let found = series.labels.get(label);
        ensure!(
            found.is_some_and(|found| found == value),
            "{label} is {found:?}, not {value:?}: {series:?}"
        );
    }
    Ok(())
}

/// The credentials and TLS settings for pods reach the generated configuration, resolved from the
/// Secret and the ConfigMap.
pub(crate) async fn tls_and_credentials_reach_prometheus(setting: &Setting) -> Result<()> {
    setting.control_plane().apply_yaml(&credentials(&setting.namespace)).await?;
    setting.engine("a", 1).await?;
    let scrape = json!({
        "scheme": "HTTPS",
        "authorization": {"credentials": {"name": "pods", "key": "token"}},
        "tlsConfig": {
            "serverName": "engines.example",
            "ca": {"configMap": {"name": "pods-ca", "key": "ca.crt"}},
        },
    });
    setting.autoscaler("a", json!({"sources": [{"scrape": scrape}]})).await?;
    setting.until_applied("a").await?;
    let job = setting.until_only_job("a").await?;
    ensure!(job["scheme"] == "https", "{job}");
    ensure!(job["authorization"] == json!({"type": "Bearer", "credentials": "t0ken"}), "{job}");
    let tls = &job["tls_config"];
    ensure!(
        tls["server_name"] == "engines.example" && tls["insecure_skip_verify"] == false,
        "{job}"
    );
    let ca = tls["ca_file"].as_str().context("no CA")?;
    ensure!(ca.contains("pods-ca") && ca.contains("ca.crt"), "{ca}");
    // The operator itself may not read them yet, and reports the permission that it lacks.
    let missing =
        setting.until_condition("a", "SamplesComplete", "False", "MissingSamples").await?;
    ensure!(missing.message.contains("kubectl create rolebinding"), "{}", missing.message);

    let login = |key: &str| json!({"name": "pods", "key": key});
    let scrape = json!({
        "scheme": "HTTPS",
        "basicAuth": {"username": login("user"), "password": login("password")},
    });
    setting.autoscaler("a", json!({"sources": [{"scrape": scrape}]})).await?;
    let changed =
        setting.until_jobs("another way in", |jobs| !jobs[0]["basic_auth"].is_null()).await?;
    let job = &changed[0];
    ensure!(job["basic_auth"] == json!({"username": "prometheus", "password": "s3cret"}), "{job}");
    ensure!(job["authorization"].is_null(), "what is no longer in the spec is still there: {job}");
    ensure!(job["tls_config"] == json!({"insecure_skip_verify": true}), "{job}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    ensure!(setting.jobs().await?.len() == 1, "the PodMonitor did not stay accepted");
    Ok(())
}

fn credentials(namespace: &str) -> String {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "pods", "namespace": namespace},
        "stringData": {"token": "t0ken", "user": "prometheus", "password": "s3cret"},
    });
    let authority = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "pods-ca", "namespace": namespace},
        "data": {"ca.crt": include_str!("ca.crt")},
    });
    format!("{secret}\n---\n{authority}")
}
