//! `llm-autoscaler convert`, with a real API server at both ends.

use std::{collections::BTreeSet, path::Path, process::Output};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{ConfigMap, Namespace},
};
use kube::{Api, api::PostParams};
use llm_autoscaler_testbed::repository;
use serde_json::json;

use crate::{Stage, operator_binary};

/// The exit status where something is missing in the results.
const LOSS: i32 = 3;
/// The fewest LLMAutoscalers that the fixtures become.
const FEWEST: usize = 15;

/// The API server accepts what each fixture becomes, and a cluster is read like a file.
pub(super) async fn converted_objects_are_accepted(stage: &Stage) -> Result<String> {
    let mut count = 0;
    for entry in std::fs::read_dir(repository().join("tests/fixtures/convert"))? {
        let file = entry?.path();
        if file.extension().is_some_and(|it| it == "yaml") {
            count += accepted(stage, &file).await.with_context(|| format!("{}", file.display()))?;
        }
    }
    ensure!(count >= FEWEST, "only {count} objects were converted");
    live(stage).await?;
    Ok(format!("{count} objects"))
}

/// Converts a file, and applies the results without keeping them. Returns their number.
async fn accepted(stage: &Stage, file: &Path) -> Result<usize> {
    let output = convert(stage, &[&file.to_string_lossy()]).await?;
    let status = output.status.code();
    ensure!(matches!(status, Some(0 | LOSS)), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout)?;
    let namespace = |line: &str| line.strip_prefix("  namespace: ").map(str::to_owned);
    for name in printed.lines().filter_map(namespace).collect::<BTreeSet<_>>() {
        let api: Api<Namespace> = Api::all(stage.client());
        if api.get_opt(&name).await?.is_none() {
            let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
            api.create(&PostParams::default(), &namespace).await?;
        }
    }
    let path = stage.folder()?.join("converted.yaml");
    tokio::fs::write(&path, &printed).await?;
    let apply = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f"];
    let path = path.to_string_lossy();
    let told = stage.control_plane().kubectl([&apply[..], &[&*path]].concat()).await?;
    let objects = printed.lines().filter(|line| *line == "kind: LLMAutoscaler").count();
    let applied = told.lines().filter(|line| line.contains("serverside-applied")).count();
    ensure!(applied == objects, "{applied} of {objects} objects were applied: {told}");
    Ok(objects)
}

/// Converts an HPA that the API server has, with the rules of a ConfigMap in the cluster.
async fn live(stage: &Stage) -> Result<()> {
    let rules = "rules: [{seriesQuery: 'vllm:num_requests_running{pod!=\"\"}', name: {as: busy}, \
                 resources: {template: '<<.Resource>>'}, metricsQuery: \
                 'sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)'}]";
    let rules: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "adapter"}, "data": {"config.yaml": rules},
    }))?;
    stage.api::<ConfigMap>().create(&PostParams::default(), &rules).await?;
    let hpa: HorizontalPodAutoscaler = serde_json::from_value(json!({
        "metadata": {"name": "living"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "living"},
            "maxReplicas": 7,
            "metrics": [{"type": "Pods", "pods": {
                "metric": {"name": "busy"},
                "target": {"type": "AverageValue", "averageValue": "1500m"},
            }}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
        },
    }))?;
    stage.api::<HorizontalPodAutoscaler>().create(&PostParams::default(), &hpa).await?;
    let config = format!("{}/adapter", stage.namespace);
    let args = ["--cluster", "-n", &stage.namespace, "--adapter-config", &config, "--strict"];
    let output = convert(stage, &args).await?;
    let printed = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in [
        "  name: living",
        "  minReplicas: 1",
        "  maxReplicas: 7",
        "  - signal: RunningRequests",
        "    target: {type: AverageValue, averageValue: \"1500m\"}",
        "      stabilizationWindowSeconds: 60",
    ] {
        ensure!(printed.lines().any(|it| it == line), "{line:?} is not in\n{printed}");
    }
    Ok(())
}

async fn convert(stage: &Stage, args: &[&str]) -> Result<Output> {
    let mut command = tokio::process::Command::new(operator_binary()?);
    command.arg("convert").args(args).env("KUBECONFIG", stage.control_plane().kubeconfig());
    Ok(command.kill_on_drop(true).output().await?)
}
