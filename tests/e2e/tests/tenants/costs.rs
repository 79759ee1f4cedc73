//! Pages, answers and specs of one tenant that take long to read.

use std::fmt::Write;

use anyhow::{Result, ensure};
use chrono::Utc;
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    api::{Patch, PatchParams, PostParams},
    core::Request,
};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{FakePrometheus, Fault, Page};
use serde_json::{Value, json};

use crate::{
    crowds::slowest_probe,
    memory::{many_pods, neighbour, watch},
};

/// The number of pods with a costly page.
const PODS: u32 = 4;
/// Blanks in an answer, so that it may take more memory.
const PAD: &str = "                                                                              ";
/// The number of autoscalers that read a costly answer.
const READERS: u32 = 4;
/// The number of autoscalers with as many roles as there may be.
const WITH_ROLES: usize = 12;
const ROLES: usize = 8;
const METRICS: usize = 8;
/// The number of pods that each of their metrics is looked for in.
const LOOKED_AT: u32 = 60;
/// The number of autoscalers with specs of a megabyte, and of those that are as large as allowed.
const HUGE: usize = 60;
const LARGE: usize = 150;

/// Watches the neighbour and the probes of the kubelet.
async fn withstand(stage: &Stage, neighbour: &Stage) -> Result<String> {
    let probes = tokio::spawn(slowest_probe(stage.operator.url()));
    let summary = watch(stage, neighbour).await?;
    let slowest = probes.await??.as_millis();
    ensure!(slowest < 1000, "/livez took {slowest} ms");
    Ok(format!("{summary}; probes within {slowest} ms"))
}

fn series(name: &str, type_: &str, labels: &Value) -> Value {
    json!({
        "name": format!("{name}-{labels}").replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
        "series": {"name": name, "type": type_, "selector": {"matchLabels": labels}},
        "target": {"type": "AverageValue", "averageValue": "5"},
    })
}

/// Pages that are read in the square of their length used to stop the process for an hour, and
/// others took gigabytes.
pub(crate) async fn pages_that_are_costly_to_read(stage: &Stage) -> Result<String> {
    let neighbour = neighbour(stage).await?;
    // A line with 300,000 labels.
    let mut labels = String::new();
    for label in 0..300_000 {
        let _ = write!(labels, "l{label}=\"\",");
    }
    let line = format!("q{{{labels}}} 1\n");
    // A page of gauges that may tell the load, and none of which is wanted.
    let gauges: Vec<String> = (0..60_000).map(|number| format!("active{number} 1\n")).collect();
    // A histogram with 190,000 buckets.
    let buckets: Vec<String> =
        (0..190_000).map(|le| format!("t_bucket{{le=\"{le}\"}} 1\n")).collect();
    // A label that is not the wanted one, and that an error would show.
    let long = format!("q{{m=\"{}\"}} 1\n", "x".repeat(900_000));
    let plain = |label: usize| series("q", "Gauge", &json!({format!("l{label}"): ""}));
    let histogram = |label: usize| {
        let mut metric = series("t", "Histogram", &json!({format!("l{label}"): ""}));
        metric["percentile"] = json!(95);
        metric["target"] = json!({"type": "Value", "value": "5"});
        metric
    };
    let other = |label: usize| series("q", "Gauge", &json!({"m": format!("{label}")}));
    let attacks: [(&str, String, Vec<Value>); 4] = [
        ("line", line, vec![plain(400_000)]),
        ("gauges", gauges.concat(), vec![plain(0)]),
        ("buckets", buckets.concat(), (0..16).map(histogram).collect()),
        ("long", long, (0..16).map(other).collect()),
    ];
    for (name, page, metrics) in attacks {
        many_pods(stage, name, PODS, &Page::text(page)).await?;
        let source = json!({"scrape": {"intervalSeconds": 1}});
        let spec = json!({"engine": "Custom", "metrics": metrics, "sources": [source]});
        stage.autoscaler(name, spec).await?;
    }
    withstand(stage, &neighbour).await
}

/// Returns an answer with these series.
fn matrix(result: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{result}]}}}}"#)
}

/// Answers about pods whose series have no time in common used to be read in the square of their
/// length, and stopped the process.
pub(crate) async fn answers_that_are_costly_to_read(stage: &Stage) -> Result<String> {
    let neighbour = neighbour(stage).await?;
    let now = Utc::now().timestamp() as f64;
    let one = |number: u32| {
        let (pod, at) = (number % READERS, f64::from(number).mul_add(-1e-3, now));
        format!(
            r#"{{"metric":{{"__name__":"load","namespace":"{}","pod":"r{pod}-0","l":"{number}"}},{PAD}"values":[[{at},"9"]]}}"#,
            stage.namespace
        )
    };
    let all: Vec<String> = (0..20_000).map(one).collect();
    let mut server = FakePrometheus::start().await?;
    server.fail(Fault::Answer(200, matrix(&all.join(",")))).await?;
    read(stage, &[server.url()]).await?;
    withstand(stage, &neighbour).await
}

/// Lists of what is no series, warnings, and a pod for each series used to take a multiple of what
/// was reserved for them.
pub(crate) async fn answers_that_are_larger_than_their_text(stage: &Stage) -> Result<String> {
    let neighbour = neighbour(stage).await?;
    let numbers = matrix("0,".repeat(6 << 20).trim_end_matches(','));
    let warnings = vec!["\"\""; 4 << 20].join(",");
    let warnings = matrix("").replacen('{', &format!("{{\"warnings\":[{warnings}],"), 1);
    let one = |pod: u32| {
        format!(
            r#"{{"metric":{{"__name__":"load","namespace":"n","pod":"{pod}"}},{PAD}"values":[[1,"9"]]}}"#
        )
    };
    let crowd = matrix(&(0..20_000).map(one).collect::<Vec<_>>().join(","));
    let mut servers = Vec::new();
    for answer in [numbers, warnings, crowd] {
        let mut server = FakePrometheus::start().await?;
        server.fail(Fault::Answer(200, answer)).await?;
        servers.push(server);
    }
    let urls: Vec<String> = servers.iter().map(FakePrometheus::url).collect();
    read(stage, &urls).await?;
    withstand(stage, &neighbour).await
}

/// Creates autoscalers that read answers of these servers, with four metrics each.
async fn read(stage: &Stage, urls: &[String]) -> Result<()> {
    for reader in 0..READERS {
        let name = format!("r{reader}");
        stage.page(&name, &Page::Refuse);
        stage.engine(&name, 1).await?;
        let source = |url: &String| json!({"prometheus": {"url": url, "intervalSeconds": 5, "timeoutSeconds": 5}});
        let metric = |number: usize| {
            let mut metric = series("load", "Gauge", &json!({}));
            metric["name"] = json!(format!("m{number}"));
            metric["windowSeconds"] = json!(30 + number);
            metric
        };
        let metrics: Vec<Value> = (0..4).map(metric).collect();
        let sources: Vec<Value> = urls.iter().map(source).collect();
        stage.autoscaler(&name, json!({"metrics": metrics, "sources": sources})).await?;
    }
    Ok(())
}

/// Autoscalers with as many roles, metrics and sources as there may be, none of which has a sample.
pub(crate) async fn specs_as_large_as_they_may_be(stage: &Stage) -> Result<String> {
    many_pods(stage, "a", LOOKED_AT, &Page::text("other 1\n")).await?;
    let neighbour = neighbour(stage).await?;
    let source = |interval: usize| {
        let pods = json!({"matchLabels": {"app": "a"}});
        json!({"scrape": {"port": stage.port(), "podSelector": pods, "intervalSeconds": interval}})
    };
    let create = |number: usize| async move {
        let role = |role: usize| {
            let name = format!("t-{number}-{role}");
            let metrics = (0..METRICS).map(|metric| {
                let metric = (number * ROLES + role) * METRICS + metric;
                series(&format!("q{metric}"), "Gauge", &json!({}))
            });
            json!({
                "name": format!("r{role}"),
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
                "metrics": metrics.collect::<Vec<_>>(),
            })
        };
        for role in 0..ROLES {
            stage.create_engine(&format!("t-{number}-{role}"), 1).await?;
        }
        let object = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1",
            "kind": "LLMAutoscaler",
            "metadata": {"name": format!("roles-{number}"), "namespace": stage.namespace},
            "spec": {
                "engine": "Custom",
                "maxReplicas": 16,
                "roles": (0..ROLES).map(role).collect::<Vec<_>>(),
                "sources": (1..=4).map(source).collect::<Vec<_>>(),
            },
        });
        let name = format!("roles-{number}");
        let params = PatchParams::apply("user").force();
        let api = stage.api::<LLMAutoscaler>();
        api.patch(&name, &params, &Patch::Apply(object)).await.map_err(anyhow::Error::from)
    };
    stream::iter(0..WITH_ROLES).map(create).buffer_unordered(4).try_collect::<Vec<_>>().await?;
    withstand(stage, &neighbour).await
}

/// Returns an LLMAutoscaler with so many texts of this length in the selectors of its metrics.
fn large(namespace: &str, name: &str, texts: usize, length: usize) -> Value {
    let values: Vec<String> =
        (0..texts).map(|text| format!("{text}-{}", "x".repeat(length))).collect();
    let metric = |number: usize| {
        let mut metric = series(&format!("q{number}"), "Gauge", &json!({}));
        let expression = json!({"key": "m", "operator": "In", "values": values});
        metric["series"]["selector"] = json!({"matchExpressions": [expression]});
        metric
    };
    json!({
        "apiVersion": "llmautoscaler.io/v1alpha1",
        "kind": "LLMAutoscaler",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
            "engine": "Custom",
            "maxReplicas": 3,
            "metrics": (0..16).map(metric).collect::<Vec<_>>(),
        },
    })
}

/// Each spec of a megabyte used to take several of them: a hundred ended the operator.
pub(crate) async fn autoscalers_of_a_megabyte(stage: &Stage) -> Result<String> {
    let neighbour = neighbour(stage).await?;
    let api = stage.api::<LLMAutoscaler>();
    let create = |(name, texts, length): (String, usize, usize)| {
        let object = large(&stage.namespace, &name, texts, length);
        let api = api.clone();
        async move {
            let request = Request::new(api.resource_url());
            let body = object.to_string().into_bytes();
            let request = request.create(&PostParams::default(), body);
            api.into_client().request_text(request?).await?;
            anyhow::Ok(())
        }
    };
    let huge = (0..HUGE).map(|number| (format!("huge-{number}"), 60, 1000));
    let large = (0..LARGE).map(|number| (format!("large-{number}"), 40, 40));
    let all = stream::iter(huge.chain(large)).map(create).buffer_unordered(4);
    all.try_collect::<Vec<()>>().await?;
    let summary = withstand(stage, &neighbour).await?;
    let told = stage.until_condition("huge-7", "ScalingActive", "False", "InvalidSpec").await?;
    ensure!(told.message.contains("more than 64 KiB"), "{}", told.message);
    stage.until_condition("large-7", "Ready", "False", "FailedGetScale").await?;
    Ok(summary)
}
