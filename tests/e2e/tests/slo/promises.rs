//! Promises on a real API server, with engines in virtual time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use llm_autoscaler_api::SloStatus;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{
    OpenLoad, Punctuality, RunningLoad,
    engine::{EngineConfig, Page},
    wait,
};
use serde_json::{Value, json};

use crate::explanation::Explanation;

pub(crate) const NAME: &str = "a";
/// The promise: the time to first token, and the mean time between two tokens.
pub(crate) const TTFT: Duration = Duration::from_secs(2);
pub(crate) const ITL: Duration = Duration::from_millis(100);
/// The time in which an engine is learned.
pub(crate) const LEARNED: Duration = Duration::from_mins(3);
/// The time in which a size is reached and kept: a rise is a line through three minutes, which
/// fades for as long after its end.
pub(crate) const REACHED: Duration = Duration::from_mins(4);
const PROMPT_TOKENS: u32 = 400;
const OUTPUT_TOKENS: u32 = 40;

fn spec() -> Value {
    json!({
        "minReplicas": 1, "maxReplicas": 24, "metrics": null,
        // Pages are set more often than this even on a busy machine.
        "sources": [{"scrape": {"intervalSeconds": 4}}],
        "slo": {
            "timeToFirstTokenMilliseconds": TTFT.as_millis() as u32,
            "interTokenLatencyMilliseconds": ITL.as_millis() as u32,
        },
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 10}},
    })
}

/// A target under load.
struct Scene<'a> {
    stage: &'a Stage,
    load: RunningLoad,
    engine: EngineConfig,
}

impl<'a> Scene<'a> {
    /// Creates a target with this many replicas and an autoscaler with a promise.
    async fn start(stage: &'a Stage, speed: u32, replicas: u32, more: &Value) -> Result<Self> {
        stage.engine(NAME, replicas).await?;
        let engine = EngineConfig::of_speed(speed);
        let load = OpenLoad {
            engine: engine.clone(),
            prompt_tokens: PROMPT_TOKENS,
            output_tokens: OUTPUT_TOKENS,
        };
        let labels = format!("app={NAME}");
        let script = stage.script.clone();
        let load = load.start(stage.client(), &stage.namespace, &labels, script, [TTFT, ITL]);
        let mut spec = spec();
        for (field, value) in more.as_object().context("a spec is an object")? {
            spec[field] = value.clone();
        }
        stage.autoscaler(NAME, spec).await?;
        Ok(Self { stage, load, engine })
    }

    async fn until_active(&self, status: &str, reason: &str) -> Result<Condition> {
        let what = format!("SLOActive to be {status}/{reason}");
        wait::until(&what, LEARNED, async || {
            let conditions = self.stage.status(NAME).await?.conditions;
            Ok(conditions
                .into_iter()
                .find(|it| it.type_ == "SLOActive" && it.status == status && it.reason == reason))
        })
        .await
    }

    async fn slo(&self) -> Result<SloStatus> {
        let status = self.stage.status(NAME).await?;
        let target = status.targets.into_iter().next().context("the status has no target")?;
        target.slo.as_deref().cloned().context("the target has no slo")
    }

    /// Waits until the target has the size that the promise needs, for two statuses in a row, and
    /// at least this one. Returns the size.
    async fn until_sized(&self, least: i32) -> Result<i32> {
        wait::until("the size that the promise needs", REACHED, async || {
            let (needed, replicas) =
                (self.slo().await?.needed_replicas, self.stage.replicas(NAME).await?);
            if needed != Some(replicas) || replicas < least {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_secs(16)).await;
            let again = self.slo().await?.needed_replicas;
            Ok((again == needed && self.stage.replicas(NAME).await? == replicas)
                .then_some(replicas))
        })
        .await
    }

    /// Checks that the learned engine is the one that runs, as far as its prediction tells once a
    /// rise of the load is over.
    async fn agrees(&self) -> Result<String> {
        let steady = wait::until("the reason of a size for a steady load", REACHED, async || {
            let reason = self.slo().await?.reason.context("there is no reason")?;
            Ok(Some(Explanation::read(&reason)?).filter(Explanation::is_steady))
        });
        steady.await?.agrees_with(&self.engine)
    }
}

pub(crate) async fn a_slow_engine_is_learned_and_the_promise_is_kept(
    stage: &Stage,
) -> Result<String> {
    learned_and_kept(stage, 1).await
}

pub(crate) async fn a_fast_engine_is_learned_and_the_promise_is_kept(
    stage: &Stage,
) -> Result<String> {
    learned_and_kept(stage, 2).await
}

/// An engine of this speed is learned; under a load that doubles, the promise is kept, and by then
/// it is known within a tenth; and an operator that is killed has not forgotten.
async fn learned_and_kept(stage: &Stage, speed: u32) -> Result<String> {
    let mut slo = spec()["slo"].clone();
    slo["requestsPerReplica"] = json!(12);
    let scene = Scene::start(stage, speed, 6, &json!({"slo": slo})).await?;
    // Enough for five replicas or more, so that one replica fewer is no other load.
    let rate = if speed == 1 { 12.0 } else { 45.0 };
    scene.load.set_rate(rate);
    let learning = scene.until_active("False", "LearningEngine").await?;
    ensure!(learning.message.contains("12 running and waiting requests"), "{learning:?}");
    scene.until_active("True", "SizedByPromise").await?;
    let before = scene.until_sized(1).await?;
    let summary = stage.status(NAME).await?.summary.unwrap_or_default();
    ensure!(summary.starts_with("ttft ") && summary.contains("/2 s, itl "), "{summary}");

    let explained = stage.run_binary(&["explain", "--namespace", &stage.namespace, NAME]).await?;
    ensure!(explained.contains("\nslo        n="), "{explained}");

    // The load doubles within three minutes.
    scene.load.take_punctuality();
    for step in 1..=30 {
        scene.load.set_rate(rate * (1.0 + f64::from(step) / 30.0));
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    let after = scene.until_sized(before + 1).await?;
    let agreed = scene.agrees().await?;
    let Punctuality { finished, late } = scene.load.take_punctuality();
    ensure!(finished > 500 && late * 50 <= finished, "{late} of {finished} requests were late");

    // A killed operator goes on with what it had learned.
    stage.operator.kill();
    scene.load.set_rate(rate);
    stage.operator.start()?;
    let kept = scene.until_sized(1).await?;
    let status = stage.status(NAME).await?;
    let active = status.conditions.iter().find(|it| it.type_ == "SLOActive");
    let active = active.context("there is no SLOActive")?;
    ensure!(active.reason == "SizedByPromise", "{active:?}");
    ensure!(kept < after, "{kept} replicas for half of the load of {after}");
    let again = scene.agrees().await?;
    Ok(format!("{agreed}; {before} -> {after}, {late} of {finished} late; killed: {again}"))
}

/// Pages that lose a series leave the size to the requests in flight, which remove nothing.
pub(crate) async fn series_that_vanish_remove_nothing(stage: &Stage) -> Result<String> {
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    let scene = Scene::start(stage, 1, 5, &json!({"behavior": behavior})).await?;
    scene.load.set_rate(24.0);
    scene.until_active("True", "SizedByPromise").await?;
    let size = scene.until_sized(1).await?;
    scene.load.set_lacking(Some("vllm:iteration_tokens_total"));
    let missing = scene.until_active("False", "SeriesMissing").await?;
    ensure!(
        missing.message.contains("vllm:iteration_tokens_total_count")
            && missing.message.contains("nothing is removed"),
        "{missing:?}"
    );
    scene.load.set_rate(2.0);
    stage.stays(NAME, size, Duration::from_secs(25)).await?;
    // The requests in flight may add replicas meanwhile.
    scene.load.set_lacking(None);
    scene.until_active("True", "SizedByPromise").await?;
    stage.until_replicas(NAME, 1, REACHED * 2).await?;
    Ok(format!("{size} replicas stayed without the series, 1 with it"))
}

/// A promise is recommended: nothing is written.
pub(crate) async fn a_promise_may_be_recommended(stage: &Stage) -> Result<String> {
    let scene = Scene::start(stage, 1, 3, &json!({"mode": "Recommend"})).await?;
    scene.load.set_rate(20.0);
    scene.until_active("True", "SizedByPromise").await?;
    let recommended = wait::until("a larger size to be recommended", REACHED, async || {
        let desired = stage.status(NAME).await?.desired_replicas;
        Ok(desired.filter(|desired| *desired > 3))
    })
    .await?;
    stage.stays(NAME, 3, Duration::from_secs(3)).await?;
    let reason = scene.slo().await?.reason.unwrap_or_default();
    Ok(format!("3 replicas, {recommended} recommended: {reason}"))
}

/// Requests that a gateway holds have arrived, although no replica has them: they bring replicas
/// before they are let through.
pub(crate) async fn requests_that_a_gateway_holds_bring_replicas(stage: &Stage) -> Result<String> {
    stage.engine("gateway", 1).await?;
    let hold = |requests: f64| {
        let page = format!("smg_admission_inflight 40\nsmg_admission_queue_depth {requests:.0}\n");
        stage.page("gateway", &Page::text(page));
    };
    hold(0.0);
    let gateway = json!({
        "podSelector": {"matchLabels": {"app": "gateway"}}, "gateway": "SMG", "port": "http",
        "intervalSeconds": 1,
    });
    let sources = json!([{"scrape": {"intervalSeconds": 4}}, {"scrape": gateway}]);
    let scene = Scene::start(stage, 1, 6, &json!({"sources": sources})).await?;
    scene.load.set_rate(12.0);
    scene.until_active("True", "SizedByPromise").await?;
    let before = scene.until_sized(1).await?;
    // Six requests per second more than the gateway lets through: half of the load.
    let begun = Instant::now();
    ensure!(stage.replicas(NAME).await? == before, "an empty queue brings none");
    let grown = wait::until("replicas for the held requests", REACHED, async || {
        hold(6.0 * begun.elapsed().as_secs_f64());
        let replicas = stage.replicas(NAME).await?;
        Ok((replicas > before + 1).then_some(replicas))
    })
    .await?;
    let took = begun.elapsed().as_secs();
    let reason = scene.slo().await?.reason.unwrap_or_default();
    Ok(format!("{before} -> {grown} after {took} s of 6 requests/s in the queue: {reason}"))
}

/// A promise that the engine's histograms cannot measure is refused with words, and so is one that
/// no API server should accept.
pub(crate) async fn promises_that_cannot_be_kept_are_refused(stage: &Stage) -> Result<String> {
    let promise = |ttft: u32, itl: u32| json!({"timeToFirstTokenMilliseconds": ttft, "interTokenLatencyMilliseconds": itl});
    let more = json!({"slo": promise(100, 100)});
    let scene = Scene::start(stage, 1, 2, &more).await?;
    scene.load.set_rate(8.0);
    let refused = scene.until_active("False", "TargetNotMeasurable").await?;
    ensure!(refused.message.contains("set it to 400 or more"), "{refused:?}");
    stage.autoscaler(NAME, json!({"metrics": null, "slo": promise(2000, 30)})).await?;
    let below = scene.until_active("False", "TargetBelowEngine").await?;
    ensure!(below.message.contains("slo.interTokenLatencyMilliseconds"), "{below:?}");
    for (spec, expected) in [
        (json!({"metrics": null, "slo": promise(2000, 1)}), "interTokenLatencyMilliseconds"),
        (json!({"engine": "Custom", "metrics": null, "slo": promise(2000, 100)}), "engine Custom"),
        (json!({"metrics": null}), "set metrics or slo"),
        (
            json!({
                "metrics": null, "slo": promise(2000, 100),
                "sources": [{"prometheus": {"url": "http://p.example"}}],
            }),
            "slo needs the pages",
        ),
    ] {
        let refused = stage.autoscaler("b", spec.clone()).await;
        let error = refused.err().with_context(|| format!("accepted: {spec}"))?;
        ensure!(format!("{error:#}").contains(expected), "{spec}: {error:#}");
    }
    Ok(format!("{}; {}", refused.message, below.message))
}
