//! The answers to `kubectl get --raw`.

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{EnginePage, Page, wait};
use serde_json::json;

use crate::setting::{pods_path, raw, serve, values};

/// The guides' own check works for the pages of several engines, without a Prometheus and an
/// adapter: by the engine's name, by the signal's, for all pods, for some and for one.
pub(crate) async fn engines_by_their_own_names(stage: &Stage) -> Result<String> {
    let pages = [
        ("vllm", EnginePage::Vllm, "vllm:num_requests_waiting"),
        ("sglang", EnginePage::Sglang, "sglang:num_queue_reqs"),
        ("dynamo", EnginePage::DynamoWorker, "vllm:num_requests_waiting"),
    ];
    for (name, page, _) in pages {
        stage.page(name, &Page::text(page.page(4, 7)));
        stage.engine(name, 2).await?;
        let engine = json!({"engine": page.engine(), "mode": "Recommend"});
        stage.autoscaler(name, engine).await?;
    }
    // The name of the guides, which frontends of Dynamo had up to 0.4.
    let former = "nv_llm_http_service_inflight_requests";
    stage.page("frontend", &Page::text(format!("{former}{{model=\"qwen3\"}} 11\n")));
    stage.engine("frontend", 1).await?;
    let target = json!({"type": "AverageValue", "averageValue": "24"});
    let metrics = json!([{"signal": "InFlightRequests", "target": target}]);
    let engine = json!({"engine": "Dynamo", "mode": "Recommend", "metrics": metrics});
    stage.autoscaler("frontend", engine).await?;
    serve(stage).await?;
    let all = pods_path(stage, "*", former);
    until_values(stage, &all, &[("frontend-0".to_owned(), "11".to_owned())]).await?;
    for (name, _, series) in pages {
        let expected = [0, 1].map(|ordinal| (format!("{name}-{ordinal}"), "7".to_owned()));
        let selected = format!("{}?labelSelector=app%3D{name}", pods_path(stage, "*", series));
        until_values(stage, &selected, &expected).await.with_context(|| name)?;
        let one = pods_path(stage, &format!("{name}-1"), "InFlightRequests");
        until_values(stage, &one, &[(format!("{name}-1"), "11".to_owned())]).await?;
    }
    let of_both = ["dynamo-0", "dynamo-1", "vllm-0", "vllm-1"];
    let of_both = of_both.map(|pod| (pod.to_owned(), "7".to_owned()));
    let all = pods_path(stage, "*", "vllm:num_requests_waiting");
    until_values(stage, &all, &of_both).await?;
    let second = pods_path(stage, "*", "WaitingRequests").replace("v1beta1", "v1beta2");
    let every = of_both.iter().cloned();
    let every = every.chain(["sglang-0", "sglang-1"].map(|pod| (pod.to_owned(), "7".to_owned())));
    let mut every: Vec<_> = every.collect();
    every.sort();
    until_values(stage, &second, &every).await?;
    let second = raw(stage, &second).await?;
    ensure!(second["items"][0]["metric"]["name"] == "WaitingRequests", "{second}");
    let external = format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/llm_autoscaler_recommended_replicas\
         ?labelSelector=autoscaler%3Dvllm",
        stage.namespace
    );
    let recommended = wait::until("vLLM to need three replicas", SOON, async || {
        let found = raw(stage, &external).await.ok();
        Ok(found.filter(|found| found["items"][0]["value"] == "3"))
    })
    .await?;
    ensure!(recommended["items"][0]["metricLabels"] == json!({"autoscaler": "vllm"}));
    Ok(format!("vllm:num_requests_waiting of {:?}", values(&raw(stage, &all).await?)))
}

/// Waits until an answer has these numbers. On a busy machine a first sample may be late, and is
/// left out until it is there.
async fn until_values(stage: &Stage, path: &str, expected: &[(String, String)]) -> Result<()> {
    wait::until(&format!("{expected:?} at {path}"), SOON, async || {
        let found = raw(stage, path).await.ok();
        Ok(found.filter(|found| values(found) == expected).map(drop))
    })
    .await
}

/// Without a sample there is no number, and the answer says why: a page that fails, a series that
/// the page lacks, pods that no autoscaler has, a name that nothing has. With one sample of two
/// pods there is one number.
pub(crate) async fn without_a_sample(stage: &Stage) -> Result<String> {
    stage.waiting("a", 5);
    stage.engine("a", 2).await?;
    stage.autoscaler("a", json!({"mode": "Recommend"})).await?;
    serve(stage).await?;
    let waiting = pods_path(stage, "*", "vllm:num_requests_waiting");
    let both = ["a-0", "a-1"].map(|pod| (pod.to_owned(), "5".to_owned()));
    until_values(stage, &waiting, &both).await?;
    let refusal = async |path: &str| match raw(stage, path).await {
        Ok(found) => Err(anyhow::anyhow!("{path} was answered: {found}")),
        Err(error) => Ok(format!("{error:#}")),
    };
    let unknown = refusal(&pods_path(stage, "*", "no_such_metric")).await?;
    ensure!(unknown.contains("(NotFound)") && unknown.contains("no_such_metric"), "{unknown}");
    let selected = refusal(&format!("{waiting}?labelSelector=app%3Db")).await?;
    ensure!(selected.contains("no pod of an LLMAutoscaler"), "{selected}");
    let unreadable = refusal(&format!("{waiting}?labelSelector=app%3D%28")).await?;
    ensure!(unreadable.contains("cannot be parsed"), "{unreadable}");

    stage.script.set(&format!("{}/a-1", stage.namespace), Page::Refuse);
    wait::until("the sample of one pod to be left out", SOON, async || {
        let found = values(&raw(stage, &waiting).await?);
        Ok((found == [("a-0".to_owned(), "5".to_owned())]).then_some(()))
    })
    .await?;
    stage.page("a", &Page::Refuse);
    let failing = wait::until("no sample to be left", SOON, async || {
        Ok(raw(stage, &waiting).await.err().map(|error| format!("{error:#}")))
    })
    .await?;
    ensure!(failing.contains("a-0") && failing.contains("a-1"), "{failing}");
    stage.page("a", &Page::text("other_series 5\n".to_owned()));
    let lacking = wait::until("the series to be missed", SOON, async || {
        let error = raw(stage, &waiting).await.err().map(|error| format!("{error:#}"));
        Ok(error.filter(|error| error.contains("has no vllm:num_requests_waiting")))
    })
    .await?;
    let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    Ok(format!("{}\n    {}", first(&failing), first(&lacking)))
}

/// Discovery lists what can be read, and `kubectl api-resources` and a RESTMapper live with it.
pub(crate) async fn discovery(stage: &Stage) -> Result<()> {
    serve(stage).await?;
    let list = raw(stage, "/apis/custom.metrics.k8s.io/v1beta1").await?;
    let resources = list["resources"].as_array().context("no resources")?;
    let names: Vec<_> = resources.iter().filter_map(|resource| resource["name"].as_str()).collect();
    for name in ["pods/vllm:num_requests_waiting", "pods/InFlightRequests"] {
        ensure!(names.contains(&name), "{name} is not in {names:?}");
    }
    let group = raw(stage, "/apis/custom.metrics.k8s.io").await?;
    ensure!(group["preferredVersion"]["version"] == "v1beta2", "{group}");
    let versions = stage.control_plane().kubectl(["api-versions"]).await?;
    ensure!(versions.contains("external.metrics.k8s.io/v1beta1"), "{versions}");
    let all = ["api-resources", "--verbs=list", "-o", "name"];
    ensure!(stage.control_plane().kubectl(all).await?.contains("pods"));
    Ok(())
}
