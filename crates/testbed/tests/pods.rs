//! Tests of the testbed itself: pods with addresses of their own on a real control plane, and no
//! processes left behind.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use llm_autoscaler_testbed::controlplane::Options;
use llm_autoscaler_testbed::{
    ControlPlane, Engine, HollowNodes, Page, Plan, Script, wait, workloads,
};
use serde_json::json;

const TIMEOUT: Duration = Duration::from_mins(1);

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// Waits for exactly `count` ready pods. Returns the name and the URL of each.
async fn ready_pods(pods: &Api<Pod>, count: usize) -> Result<Vec<(String, String)>> {
    wait::until("pods to become ready", TIMEOUT, async || {
        let all = pods.list(&ListParams::default()).await?.items;
        let ready = all.len() == count && all.iter().all(is_ready);
        Ok(ready.then(|| all.iter().map(|pod| (pod.name_any(), url(pod))).collect()))
    })
    .await
}

fn url(pod: &Pod) -> String {
    let ip = pod.status.as_ref().unwrap().pod_ip.as_ref().unwrap();
    let port = pod.spec.as_ref().unwrap().containers[0].ports.as_ref().unwrap()[0].container_port;
    format!("http://{ip}:{port}")
}

async fn get(url: &str, path: &str) -> reqwest::Result<String> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
    client.get(format!("{url}{path}")).send().await?.error_for_status()?.text().await
}

fn value<'a>(page: &'a str, name: &str) -> &'a str {
    let line = page.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap();
    line.rsplit(' ').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_created_serve_scale_and_are_deleted() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let script = Script::default();
    let scripted = script.clone();
    let _nodes = HollowNodes::start(plane.client(), 2, move |_| {
        Plan::new(Engine::Scripted(scripted.clone()))
    })
    .await?;
    let sets = Api::<StatefulSet>::default_namespaced(plane.client());
    let pods = Api::<Pod>::default_namespaced(plane.client());
    sets.create(
        &PostParams::default(),
        &workloads::stateful_set("llm", 2, workloads::random_port())?,
    )
    .await?;

    let two = ready_pods(&pods, 2).await?;
    script.set("llm-0", Page::waiting(11));
    let asked = script.requests("llm-1");
    for ((name, url), (expected, waiting)) in two.iter().zip([("llm-0", "11.0"), ("llm-1", "0.0")])
    {
        assert_eq!(name, expected);
        assert_eq!(value(&get(url, "/metrics").await?, "vllm:num_requests_waiting"), waiting);
    }
    assert_eq!(script.requests("llm-1"), asked + 1);
    assert!(script.last_request("llm-1").starts_with("GET /metrics HTTP/1.1\r\n"));
    let table = plane.kubectl(["get", "pods"]).await?;
    assert_eq!(table.matches("1/1     Running").count(), 2, "{table}");

    let scale = json!({"spec": {"replicas": 3}});
    sets.patch_scale("llm", &PatchParams::default(), &Patch::Merge(scale)).await?;
    let three = ready_pods(&pods, 3).await?;
    assert!(get(&three[2].1, "/metrics").await?.contains("vllm:"));

    the_pages_that_fail(&script, &three[0].1).await?;

    script.set_ready("llm-1", false);
    wait::until("llm-1 to become unready", TIMEOUT, async || {
        Ok((!is_ready(&pods.get("llm-1").await?)).then_some(()))
    })
    .await?;

    sets.delete("llm", &DeleteParams::default()).await?;
    ready_pods(&pods, 0).await?;
    assert!(get(&three[2].1, "/metrics").await.unwrap_err().is_connect());

    let folder = plane.dir().to_owned();
    drop(plane);
    assert!(!folder.exists());
    Ok(())
}

/// Checks each way in which a page can fail, and that the pod recovers from the worst.
async fn the_pages_that_fail(script: &Script, url: &str) -> Result<()> {
    let status = Page::Raw {
        status: 503,
        content_type: "text/plain".to_owned(),
        body: "loading".to_owned(),
    };
    script.set("llm-0", status);
    assert_eq!(get(url, "/metrics").await.unwrap_err().status().unwrap(), 503);
    script.set("llm-0", Page::Hang);
    assert!(get(url, "/metrics").await.unwrap_err().is_timeout());
    script.set("llm-0", Page::Reset);
    let error = get(url, "/metrics").await.unwrap_err();
    assert!(!error.is_connect() && !error.is_timeout(), "{error:?}");
    script.set("llm-0", Page::Refuse);
    wait::until("the pod to refuse", TIMEOUT, async || {
        Ok(get(url, "/metrics").await.is_err_and(|error| error.is_connect()).then_some(()))
    })
    .await?;
    script.set("llm-0", Page::text("up 1\n"));
    wait::until("the pod to answer again", TIMEOUT, async || {
        Ok(get(url, "/metrics").await.is_ok_and(|page| page == "up 1\n").then_some(()))
    })
    .await
}
