//! A promise in two parts, which two roles of one group keep.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use llm_autoscaler_api::{LLMAutoscalerStatus, TargetStatus};
use llm_autoscaler_e2e::{
    Stage,
    groups::{Groups, scalable, standalone},
};
use llm_autoscaler_testbed::{OpenLoad, Punctuality, RunningLoad, engine::EngineConfig, wait};
use serde_json::{Value, json};

use crate::promises::{ITL, LEARNED, NAME, REACHED, TTFT};

const ROLES: [&str; 2] = ["prefill", "decode"];
/// The labels that the controller of RoleBasedGroups gives to pods.
const GROUP: &str = "rbg.workloads.x-k8s.io/group-name";
const ROLE: &str = "rbg.workloads.x-k8s.io/role-name";

fn spec() -> Value {
    let role = |name: &str, min: u32, requests: u32, phase: &str| {
        json!({
            "name": name, "minReplicas": min, "maxReplicas": 12,
            "slo": {"phase": phase, "requestsPerReplica": requests},
        })
    };
    json!({
        "scaleTargetRef": {
            "apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": "RoleBasedGroup", "name": NAME,
        },
        "minReplicas": null, "maxReplicas": 20, "metrics": null,
        "roles": [role("prefill", 2, 64, "Prefill"), role("decode", 1, 48, "Decode")],
        "ratio": {"between": ROLES, "max": "1"},
        "sources": [{"scrape": {"intervalSeconds": 4}}],
        "slo": {
            "timeToFirstTokenMilliseconds": TTFT.as_millis() as u32,
            "interTokenLatencyMilliseconds": ITL.as_millis() as u32,
        },
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 10}},
    })
}

/// Starts the load of a role's pods: the phase of requests that they do.
fn load(stage: &Stage, role: &str, prompt_tokens: u32, output_tokens: u32) -> RunningLoad {
    let engine = EngineConfig { max_batched_tokens: 8_192, ..EngineConfig::of_speed(1) };
    let load = OpenLoad { engine, prompt_tokens, output_tokens };
    let labels = format!("{GROUP}={NAME},{ROLE}={role}");
    load.start(stage.client(), &stage.namespace, &labels, stage.script.clone(), [TTFT, ITL])
}

/// Waits until both roles have the sizes that their parts of the promise need, and still have them
/// half a minute later. Returns these and the status.
async fn until_settled(stage: &Stage, least: [i32; 2]) -> Result<([i32; 2], LLMAutoscalerStatus)> {
    wait::until("sizes that stay", REACHED, async || {
        let (before, _) = until_sized(stage, least).await?;
        tokio::time::sleep(Duration::from_secs(32)).await;
        let (sizes, status) = until_sized(stage, least).await?;
        Ok((sizes == before).then_some((sizes, status)))
    })
    .await
}

/// Waits until both roles have the sizes that their parts of the promise need.
async fn until_sized(stage: &Stage, least: [i32; 2]) -> Result<([i32; 2], LLMAutoscalerStatus)> {
    wait::until("the sizes that the promise needs", REACHED, async || {
        let status = stage.status(NAME).await?;
        let [prefill, decode] = &status.targets[..] else { return Ok(None) };
        let needed = |target: &TargetStatus| target.slo.as_ref()?.needed_replicas;
        let is_sized = |target: &TargetStatus| {
            needed(target) == Some(target.current_replicas)
                && target.ready_replicas == target.current_replicas
        };
        let sizes = [prefill.current_replicas, decode.current_replicas];
        let is_all = is_sized(prefill) && is_sized(decode);
        let is_least = sizes.iter().zip(least).all(|(size, least)| *size >= least);
        Ok((is_all && is_least).then_some((sizes, status)))
    })
    .await
}

/// Prefill is sized by the prompts and the time to first token, decode by the answers and the time
/// between tokens: more prompts for prefill alone add replicas to prefill alone. Their ratio holds.
pub(crate) async fn prefill_and_decode_keep_their_parts(stage: &Stage) -> Result<String> {
    refusals(stage).await?;
    let groups = Groups::start(stage).await?;
    let role = |name, replicas| scalable(standalone(stage, name, replicas));
    groups.group(NAME, &[role("prefill", 2), role("decode", 6)]).await?;
    let [prefill, decode] = [load(stage, "prefill", 400, 1), load(stage, "decode", 16, 100)];
    prefill.set_rate(33.0);
    decode.set_rate(33.0);
    stage.autoscaler(NAME, spec()).await?;
    wait::until("both roles to be learned", LEARNED, async || {
        let conditions = stage.status(NAME).await?.conditions;
        let active = conditions.into_iter().find(|it| it.type_ == "SLOActive");
        Ok(active.filter(|it| it.reason == "SizedByPromise"))
    })
    .await?;
    let (before, status) = until_settled(stage, [3, 4]).await?;
    let reasons: Vec<_> = status.targets.iter().filter_map(|it| it.slo.clone()?.reason).collect();
    let [of_prefill, of_decode] = &reasons[..] else { anyhow::bail!("{reasons:?}") };
    ensure!(of_prefill.contains("uncached of 400 in)"), "{of_prefill}");
    ensure!(of_decode.contains(" 16 in, ") && of_decode.contains(" out)"), "{of_decode}");
    let summary = status.summary.unwrap_or_default();
    let is_whole = summary.contains("prefill ttft ") && summary.contains("decode itl ");
    ensure!(is_whole && !summary.contains("decode ttft"), "{summary}");

    prefill.take_punctuality();
    decode.take_punctuality();
    prefill.set_rate(44.0);
    let (after, _) = until_settled(stage, [before[0] + 1, 1]).await?;
    ensure!(after[1] <= before[1] + 1, "decode has the same load: {before:?} -> {after:?}");
    ensure!(after[0] <= after[1], "at most one prefill for each decode: {after:?}");
    let mut late = Vec::new();
    for (name, load) in ROLES.into_iter().zip([prefill, decode]) {
        let Punctuality { finished, late: count } = load.take_punctuality();
        ensure!(finished > 500 && count * 20 <= finished, "{name}: {count} of {finished} late");
        late.push(count);
    }
    Ok(format!("{before:?} -> {after:?}, {late:?} late; {of_prefill}; {of_decode}"))
}

/// A promise and its phases need each other.
async fn refusals(stage: &Stage) -> Result<()> {
    let metrics = json!([{
        "signal": "InFlightRequests", "target": {"type": "AverageValue", "averageValue": "8"},
    }]);
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut spec = spec();
        change(&mut spec);
        spec
    };
    let without = |spec: &mut Value, field: &str| {
        for role in 0..2 {
            spec["roles"][role]["metrics"] = metrics.clone();
            if let Some(role) = spec["roles"][role].as_object_mut() {
                role.remove(field);
            }
        }
    };
    for (spec, expected) in [
        (changed(&|spec| without(spec, "slo")), "set both or neither"),
        (changed(&|spec| spec["slo"] = Value::Null), "set both or neither"),
        (
            changed(&|spec| spec["roles"][1] = json!({"name": "decode"})),
            "a role needs metrics, or slo with its phase",
        ),
        (changed(&|spec| spec["roles"][0]["slo"]["phase"] = json!("Both")), "phase"),
        (changed(&|spec| spec["roles"][0]["engine"] = json!("Custom")), "engine Custom"),
    ] {
        let refused = stage.autoscaler("b", spec.clone()).await;
        let error = refused.err().with_context(|| format!("accepted: {spec}"))?;
        ensure!(format!("{error:#}").contains(expected), "{spec}: {error:#}");
    }
    Ok(())
}
