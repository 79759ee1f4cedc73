//! The page, and that of a simulation, in headless Chromium by the scripts of `tests/ui`.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::{SOON, Stage, operator_binary};
use llm_autoscaler_testbed::{engine::Page as Metrics, repository, wait};
use serde_json::json;

use crate::{many, page::Page};

/// The number of autoscalers of the large page.
const MANY: usize = 1_000;

/// The page of services in all standings, with decisions that the operator has made: nothing is
/// cut off in either theme, contrast and names are right, and the keys reach everything.
pub(crate) async fn models(stage: &Stage) -> Result<String> {
    services(stage).await?;
    let page = Page::open(stage, &stage.namespace).await?;
    let one = |name: &str| format!("{}/{name}", stage.namespace);
    check("seen", &page, &[&one("qwen3-chat"), &one("llama-summaries")]).await
}

/// The page of 1,000 autoscalers: every line is there, and what it costs is printed.
pub(crate) async fn thousand(stage: &Stage) -> Result<String> {
    let namespace = many::create(stage, MANY).await?;
    let page = Page::open(stage, &namespace).await?;
    let before = page.memory()?;
    let text = check("thousand", &page, &[&MANY.to_string()]).await?;
    let memory = page.memory()?;
    let answer = page.get("/api/autoscalers?since=").await?;
    let kilobytes = answer.body.len() >> 10;
    Ok(format!(
        "{text}; the server has {} MiB, {} MiB after that; all rows are {kilobytes} KiB",
        before >> 20,
        memory >> 20
    ))
}

/// The page of a small simulation: its texts and plots are whole in every window, and its reasons
/// can be read by keys and by the pointer.
pub(crate) async fn report(stage: &Stage) -> Result<String> {
    let file = stage.folder()?.join("report.html");
    let output = tokio::process::Command::new(operator_binary()?)
        .args(["simulate", "--arrivals=step:base=8,peak=30,at=900,for=1800,length=5400"])
        .args(["--autoscaler=config/samples/in_flight.yaml", "--policy=hpa-queue"])
        .args(["--policy=hpa-in-flight", "--policy=kpa", "--policy=static=6"])
        .args(["--policy=clairvoyant", "--html"])
        .arg(&file)
        .current_dir(repository())
        .output()
        .await
        .context("running llm-autoscaler simulate")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "llm-autoscaler simulate failed: {errors}");
    run("report.mjs", &[&file.display().to_string()]).await
}

/// Runs a part of `tests/ui/check.mjs`, and returns the last line that it prints.
async fn check(part: &str, page: &Page, args: &[&str]) -> Result<String> {
    run("check.mjs", &[&[part, &page.url()], args].concat()).await
}

/// Runs a script of `tests/ui`, and returns the last line that it prints.
async fn run(script: &str, args: &[&str]) -> Result<String> {
    let folder = repository().join("tests/ui").canonicalize()?;
    let install = folder.join("install.sh");
    let installed = tokio::process::Command::new(&install).stderr(Stdio::inherit()).output();
    let installed = installed.await.with_context(|| format!("running {}", install.display()))?;
    ensure!(installed.status.success(), "{} failed; the reason is above", install.display());
    let modules = PathBuf::from(String::from_utf8(installed.stdout)?.trim());
    let pictures = repository().join("target/ui");
    let output = tokio::process::Command::new("node")
        .arg(folder.join(script))
        .args(args)
        .env("UI_MODULES", modules)
        .env("UI_PICTURES", &pictures)
        .kill_on_drop(true)
        .output()
        .await
        .context("running node")?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the page is not as it should be:\n{text}\n{errors}");
    Ok(text.lines().next_back().unwrap_or_default().to_owned())
}

/// Creates services with metrics that the operator decides by: one that has grown and shrunk, one
/// that waits for its window, one at its maximum, one that is paused, one without samples, one
/// stopped by hand, one that is steady, and one without a target.
async fn services(stage: &Stage) -> Result<()> {
    let sizes = [
        ("qwen3-chat", 2),
        ("llama-summaries", 2),
        ("mistral-code", 2),
        ("gemma-search", 1),
        ("whisper-speech", 2),
        ("phi-router", 2),
        ("qwen3-batch", 0),
    ];
    for (name, replicas) in sizes {
        stage.page(name, &Metrics::idle());
        load(stage, name, 8);
        stage.engine(name, replicas).await?;
    }
    let quick = json!({"scaleDown": {"stabilizationWindowSeconds": 2}});
    for (name, spec) in [
        ("qwen3-chat", json!({"minReplicas": 2, "maxReplicas": 8, "behavior": quick})),
        ("llama-summaries", json!({"maxReplicas": 6})),
        ("mistral-code", json!({})),
        ("gemma-search", json!({"maxReplicas": 4})),
        ("whisper-speech", json!({"maxReplicas": 4})),
        ("phi-router", json!({"minReplicas": 2, "maxReplicas": 4})),
        ("qwen3-batch", json!({"maxReplicas": 4})),
        ("deepseek-eval", json!({"maxReplicas": 4})),
    ] {
        stage.autoscaler(name, spec).await?;
    }
    for name in ["qwen3-chat", "llama-summaries", "mistral-code", "phi-router"] {
        stage.until_condition(name, "Ready", "True", "Scaling").await?;
    }
    let pause = json!({"metadata": {"annotations": {"llmautoscaler.io/paused": "true"}}});
    let autoscalers = stage.api::<LLMAutoscaler>();
    autoscalers.patch("gemma-search", &PatchParams::default(), &Patch::Merge(pause)).await?;
    load(stage, "gemma-search", 11);
    load(stage, "mistral-code", 30);
    let (status, content_type) = (503, "text/plain".to_owned());
    let broken = Metrics::Raw { status, content_type, body: String::new() };
    stage.page("whisper-speech", &broken);
    load(stage, "llama-summaries", 20);
    stage.until_replicas("llama-summaries", 4, SOON).await?;
    stage.until_ready("llama-summaries", 4).await?;
    load(stage, "llama-summaries", 10);
    decisions(stage).await
}

/// Has the first pod of a service report all requests that wait, so that their number does not
/// depend on the size.
fn load(stage: &Stage, name: &str, waiting: u64) {
    stage.script.set(&format!("{}/{name}-0", stage.namespace), Metrics::waiting(waiting));
}

/// Has the operator decide on qwen3-chat several times, the last time to grow to a replica that
/// does not start.
async fn decisions(stage: &Stage) -> Result<()> {
    let name = "qwen3-chat";
    for replicas in [4_u32, 3, 2, 5, 4, 5] {
        load(stage, name, 5 * u64::from(replicas));
        stage.until_replicas(name, replicas.cast_signed(), SOON).await?;
        stage.until_ready(name, replicas.cast_signed()).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    stage.leave_pending(&format!("{name}-6"));
    load(stage, name, 35);
    stage.until_replicas(name, 7, SOON).await?;
    let sets = stage.api::<StatefulSet>();
    wait::until("all replicas but one to be ready", SOON, async || {
        let status = sets.get(name).await?.status.unwrap_or_default();
        Ok((status.ready_replicas == Some(6)).then_some(()))
    })
    .await?;
    Ok(())
}
