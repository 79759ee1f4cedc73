//! The URLs and names of a spec, and what they may reach.

use anyhow::{Result, ensure};
use llm_autoscaler_testbed::{repository, wait};
use serde_json::{Value, json};

use crate::{Stage, stage::SOON};

fn server(url: &str) -> Value {
    json!([{"prometheus": {"url": url}}])
}

/// Names and paths that would change what is called are refused by the API server.
pub(super) async fn names_that_would_change_a_path_are_refused(stage: &Stage) -> Result<()> {
    let target = |name: &str| json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name});
    let wrong = [
        (json!({"scaleTargetRef": target("a/scale?dryRun=All&x=")}), "spec.scaleTargetRef.name"),
        (json!({"scaleTargetRef": target("../../b/statefulsets/a")}), "spec.scaleTargetRef.name"),
        (json!({"sources": server("http://p.example/team-a/../team-b")}), "must not contain"),
        (json!({"sources": server("http://p.example/%2e%2E/team-b")}), "must not contain"),
        (
            json!({"podMonitor": {"labels": (0..40).map(|at| (format!("l{at}"), "x")).collect::<std::collections::BTreeMap<_, _>>()}}),
            "spec.podMonitor.labels",
        ),
    ];
    for (spec, expected) in wrong {
        let refused = stage.autoscaler("a", spec.clone()).await;
        let text = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(text.contains(expected), "{spec}: {text}");
    }
    Ok(())
}

/// A source on a link-local address is not called, and the status says why.
pub(super) async fn link_local_addresses_are_not_called(stage: &Stage) -> Result<()> {
    stage.engine("a", 1).await?;
    stage.autoscaler("a", json!({"sources": server("http://169.254.169.254/latest")})).await?;
    wait::until("the refusal to be told", SOON, async || {
        let status = stage.status("a").await?;
        let told = |text: &str| text.contains("the operator calls no link-local address");
        Ok(status.conditions.iter().any(|condition| told(&condition.message)).then_some(()))
    })
    .await
}

/// All URLs of a spec are in its sources, those of roles too, and there the policy looks.
pub(super) async fn policy_for_source_hosts_covers_roles(stage: &Stage) -> Result<()> {
    let file = repository().join("config/policies/source-hosts.yaml");
    let policy = std::fs::read_to_string(file)?;
    // Other scenarios run in other namespaces.
    let only = format!(
        "  policyName: llmautoscaler-source-hosts\n  matchResources:\n    namespaceSelector:\n      \
         matchLabels: {{kubernetes.io/metadata.name: {}}}\n",
        stage.namespace
    );
    let policy = policy.replace("  policyName: llmautoscaler-source-hosts\n", &only);
    stage.control_plane().apply_yaml(&policy).await?;
    let (good, bad) = ("https://prom.example/api", "https://prom.example.evil/api");
    wait::until("the policy to be in force", SOON, async || {
        Ok(stage.autoscaler("a", json!({"sources": server(bad)})).await.err().map(|_| ()))
    })
    .await?;
    let roles = |url: &str| {
        let role = |name: &str| {
            json!({
                "name": name, "minReplicas": 1, "maxReplicas": 2,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
                "metrics": [{
                    "signal": "WaitingRequests",
                    "target": {"type": "AverageValue", "averageValue": "5"},
                }],
            })
        };
        let mut sources = server(url);
        sources[0]["roles"] = json!(["decode"]);
        let pods = json!({"scrape": {}, "roles": ["prefill"]});
        sources.as_array_mut().expect("a list").push(pods);
        json!({
            "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
            "metadata": {"name": "r", "namespace": stage.namespace},
            "spec": {
                "engine": "VLLM", "maxReplicas": 4, "sources": sources,
                "roles": [role("prefill"), role("decode")],
            },
        })
        .to_string()
    };
    let refused = stage.control_plane().apply_yaml(&roles(bad)).await;
    let text = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(text.contains("spec.sources: a url must begin with"), "{text}");
    stage.control_plane().apply_yaml(&roles(good)).await?;
    stage.autoscaler("a", json!({"sources": server(good)})).await?;
    let text = stage.autoscaler("a", json!({"sources": server(bad)})).await;
    let text = text.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(text.contains("spec.sources: a url must begin with"), "{text}");
    let policies = ["delete", "validatingadmissionpolicy,validatingadmissionpolicybinding"];
    stage
        .control_plane()
        .kubectl([&policies[..], &["llmautoscaler-source-hosts"]].concat())
        .await?;
    Ok(())
}
