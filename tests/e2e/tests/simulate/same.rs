//! The run of all three.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{Emulated, Engine, Front, engine::EngineConfig, front::Balance};
use serde_json::{Value, json};

use crate::{
    answers::{by_second, evaluated, simulated, steps},
    load::{self, TARGET},
};

/// The name of the target and of its autoscaler.
const NAME: &str = "llm";
/// The duration of an engine's step, in milliseconds.
const STEP: u64 = 200;
/// The time that a replica takes to load its model.
const LOADING: Duration = Duration::from_secs(3);
/// The fewest writes of the operator in each direction.
const FEWEST: usize = 10;
/// The share of seconds in which the simulated size is at most one off.
const NEAR: f64 = 0.9;

/// The operator and `evaluate` decide the same in every step, and `simulate` nearly so in time.
pub(crate) async fn operator_evaluate_and_simulate_decide_the_same(
    stage: &Stage,
) -> Result<String> {
    let config = EngineConfig {
        max_num_seqs: 64,
        step_base: Duration::from_millis(STEP),
        ..EngineConfig::default()
    };
    let engine = Emulated { config: config.clone(), loading: LOADING, ..Emulated::default() };
    stage.assign(NAME, Engine::Emulated(engine));
    stage.engine(NAME, 1).await?;
    stage.operator.kill();
    let levels = ("RUST_LOG", "info,llm_autoscaler::steps=trace");
    stage.operator.configure(&["--log-format=json"], &[levels]);
    stage.operator.start()?;
    stage.autoscaler(NAME, spec()).await?;
    stage.until_condition(NAME, "Ready", "True", "Scaling").await?;
    let labels = format!("app={NAME}");
    let front = Front::start(stage.client(), &stage.namespace, &labels, Balance::LeastOutstanding);
    let front = front.await?;

    let began = Utc::now();
    let late = load::send(&front.url()).await?;
    // The last step of the load is decided upon.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let steps = steps(&stage.operator.log_tail(usize::MAX))?;
    let object = stage.api::<LLMAutoscaler>().get(NAME).await?;
    let folder = stage.control_plane().dir().join(&stage.namespace);
    std::fs::create_dir_all(&folder)?;
    let spec = serde_json::to_value(&object.spec)?;
    let answers = evaluated(&folder, &spec, &steps).await?;

    let decided: Vec<_> = steps.iter().map(|step| step.decision).collect();
    let equal = decided.iter().zip(&answers).filter(|(one, other)| one == other).count();
    let first = decided.iter().zip(&answers).position(|(one, other)| one != other);
    let difference = first.map(|at| (&steps[at].case, decided[at], answers[at]));
    ensure!(
        equal == decided.len() && answers.len() == decided.len(),
        "evaluate decides {equal} of {} steps as the operator has; the first other one: {difference:?}",
        decided.len()
    );
    let writes: Vec<(i64, i64)> =
        steps.iter().filter_map(|step| Some((step.size()?, step.decision?.1?))).collect();
    let ups = writes.iter().filter(|(from, to)| to > from).count();
    let downs = writes.len() - ups;
    ensure!(ups >= FEWEST && downs >= FEWEST, "{ups} writes up and {downs} down: {writes:?}");

    let seconds = load::length() as usize;
    let changes: Vec<(f64, i64)> = steps
        .iter()
        .filter_map(|step| Some(((step.at - began).as_seconds_f64(), step.decision?.1?)))
        .collect();
    let own = by_second(&changes, seconds);
    let output = simulate(stage, &folder, &config, &object).await?;
    let (other, simulated_writes) = simulated(&output, seconds)?;
    let off = |most: i64| own.iter().zip(&other).filter(|(a, b)| (*a - *b).abs() <= most).count();
    let (same, near) = (off(0), off(1));
    let sizes = || format!("by the operator {own:?}\nsimulated       {other:?}");
    let share = near as f64 / seconds as f64;
    ensure!(share >= NEAR, "within one replica in {near} of {seconds} s:\n{}", sizes());
    Ok(format!(
        "{equal} of {} steps decided the same by evaluate, with {ups} writes up and {downs} down; \
         simulate writes {simulated_writes} times, and has the same size in {same} of {seconds} s, \
         within one replica in {near}; requests were sent up to {} ms late",
        decided.len(),
        late.as_millis()
    ))
}

/// Returns the fields of the spec.
fn spec() -> Value {
    json!({
        "maxReplicas": 8,
        "metrics": [{
            "signal": "InFlightRequests",
            "target": {"type": "AverageValue", "averageValue": TARGET.to_string()},
        }],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 6}},
    })
}

/// Simulates the load with the engine's numbers. Returns the outcome.
async fn simulate(
    stage: &Stage,
    folder: &std::path::Path,
    config: &EngineConfig,
    object: &LLMAutoscaler,
) -> Result<String> {
    let profile = json!({"emulated": {
        "model": "an emulated engine", "accelerator": "none", "gpus": 1,
        "base_ms": STEP,
        "prefill_ms_per_token": 1000.0 / config.prefill_tokens_per_second,
        "sequence_ms": config.step_per_sequence.as_secs_f64() * 1000.0,
        "kv_us_per_token": 0.0,
        "kv_tokens": u64::from(config.usable_blocks()) * u64::from(config.block_size),
        "max_batched_tokens": config.max_batched_tokens,
        "max_num_seqs": config.max_num_seqs,
        "source": "the configuration of this test",
    }});
    let object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {"name": NAME}, "spec": object.spec,
    });
    let files = [
        ("trace.csv", load::trace()),
        ("profiles.json", profile.to_string()),
        ("autoscaler.json", object.to_string()),
    ];
    for (name, text) in files {
        std::fs::write(folder.join(name), text)?;
    }
    let option = |name: &str, file: &str| format!("--{name}={}", folder.join(file).display());
    let files = [
        option("trace", "trace.csv"),
        option("profiles", "profiles.json"),
        option("autoscaler", "autoscaler.json"),
    ];
    // A pod of the testbed is created, bound and started within a fraction of a second.
    let start = format!("--start={}", LOADING.as_secs_f64() + 0.5);
    let mut arguments = vec!["simulate", "-o=json", "--profile=emulated", "--warm-up=0"];
    arguments.extend(["--replicas=1", "--start-sigma=0", "--jitter=0", &start]);
    arguments.extend(files.iter().map(String::as_str));
    stage.run_binary(&arguments).await.context("simulating the load")
}
