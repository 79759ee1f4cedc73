//! NVIDIA Dynamo: its frontend and router, and workers with its mock engine.

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{Balance, Engine, Front};
use serde_json::{Value, json};

use crate::real::{START, TARGET, follow, install, program, until_served};

const FRONTEND: &str = "frontend";

/// Scales workers by the requests in flight that the frontend reports for the whole deployment.
pub(crate) async fn real_dynamo_by_frontends(stage: &Stage) -> Result<String> {
    let frontends = json!({"matchLabels": {"app": FRONTEND}});
    workers_follow(stage, json!({"intervalSeconds": 1, "podSelector": frontends}), "others").await
}

/// Scales workers by their own pages.
pub(crate) async fn real_dynamo_by_workers(stage: &Stage) -> Result<String> {
    workers_follow(stage, json!({"intervalSeconds": 1}), "scrape").await
}

async fn workers_follow(stage: &Stage, scrape: Value, source: &str) -> Result<String> {
    let scripts = install("dynamo").await?;
    let discovery = stage.folder()?.join("discovery");
    for (name, script) in [(TARGET, "worker.sh"), (FRONTEND, "frontend.sh")] {
        let mut command = program(stage, &scripts.join(script))?;
        command.env.push(("DYN_FILE_KV".to_owned(), discovery.clone().into_os_string()));
        stage.assign(name, Engine::Command(command));
        stage.create_engine(name, 1).await?;
    }
    for name in [TARGET, FRONTEND] {
        stage.until_ready_within(name, 1, START).await?;
    }
    let labels = format!("app={FRONTEND}");
    let front =
        Front::start(stage.client(), &stage.namespace, &labels, Balance::LeastOutstanding).await?;
    let target = json!({"type": "AverageValue", "averageValue": "8"});
    let spec = json!({
        "engine": "Dynamo",
        "metrics": [{"signal": "InFlightRequests", "target": target}],
        "sources": [{"scrape": scrape}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 2}},
    });
    stage.autoscaler(TARGET, spec).await?;
    stage.until_condition(TARGET, "Ready", "True", "Scaling").await?;
    // The metric had a value before any request. The model takes a moment to be registered.
    until_served(&front.url()).await?;
    let story = follow(stage, &front.url(), &[TARGET, FRONTEND]).await?;
    ensure!(story.contains(&format!("({source})")), "{story}");
    Ok(story)
}
