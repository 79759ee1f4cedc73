//! The P/D run: load shifts from long prompts to long answers, and ends.
//!
//! 40 clients send requests to a front that forwards each to a pod of prefill and then to one of
//! decode. A prompt of some 1000 tokens takes a pod of prefill half a second; an answer of some 40
//! tokens takes a pod of decode four seconds, however many it generates at a time. So at first
//! nearly all of the 40 requests are in flight at prefill, later at decode, whatever the sizes; at
//! 4 per replica, ten replicas would be needed.

use std::{fmt::Write, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use llm_autoscaler_e2e::{
    Stage, billing,
    groups::{Groups, PREFIX, scalable, standalone},
};
use llm_autoscaler_testbed::{
    Disaggregated, Emulated, Engine, PodTimes, engine::EngineConfig, rbg::Kind,
};
use serde_json::{Value, json};

use crate::{
    load::{Clients, Outcome},
    record::{Record, Sizes},
    rules::{self, Ceiling},
    spec::{self, NAME},
};

const CLIENTS: u32 = 40;
/// The target value: requests in flight per replica.
const TARGET: u32 = 4;
/// The maximum number of replicas of a role.
const MOST: i64 = 8;
/// The limit on replicas stops prefill, the limit on GPUs stops decode.
const CEILING: Ceiling = Ceiling { replicas: 10, gpus: 32, gpus_per_replica: Sizes::new(2, 4) };
const RATIO: [f64; 2] = [0.25, 4.0];

/// The sizes under long prompts: prefill has its maximum, and decode the number that the ratio
/// requires.
const LONG_PROMPTS: Sizes = Sizes::new(8, 2);
/// The sizes under long answers: decode has as many replicas as there are GPUs for, and prefill the
/// number that the ratio requires.
const LONG_ANSWERS: Sizes = Sizes::new(2, 7);
const IDLE: Sizes = Sizes::new(1, 1);

/// The time to reach the sizes of a phase. A role may grow by 4 replicas in 15 s.
const TIMEOUT: Duration = Duration::from_secs(90);
/// The time for which the sizes of a phase must last.
const HOLD: Duration = Duration::from_secs(20);
/// The time that replicas take to load and to end, which is long enough to matter for the ceilings.
const LOADING: Duration = Duration::from_secs(3);
const ENDING: Duration = Duration::from_secs(3);

/// A row of the table.
struct Phase {
    name: &'static str,
    sizes: Sizes,
    took: Duration,
    /// The largest number of pods and of GPUs at any moment.
    peak: (i64, i64),
    requests: Outcome,
}

/// The roles follow the load within the ratio, and under both limits at every moment. The operator
/// is killed in the second phase, and the bills of both add up to the times of their pods.
pub(crate) async fn from_long_prompts_to_long_answers(stage: &Stage) -> Result<String> {
    let groups = Groups::start(stage).await?;
    let front = serve(stage, &groups).await?;
    spec::apply(stage, NAME, &spec()).await?;
    let times = |role| {
        let labels = format!("{PREFIX}/group-name={NAME},{PREFIX}/role-name={role}");
        async move { PodTimes::watch(stage.client(), &stage.namespace, &labels).await }
    };
    let times = (times("prefill").await?, times("decode").await?);
    let record = Record::start(stage, &Kind::Adapter.resource()).await?;
    let phases = run(stage, &record, &front.url()).await;
    // A broken rule explains more than a size that was not reached, so rules are checked first.
    CEILING.holds(&record)?;
    rules::in_range(&record, RATIO[0], RATIO[1])?;
    let phases = phases?;
    let table = table(&phases);
    if let Some(failure) = phases.iter().find_map(|phase| phase.requests.first_failure.as_ref()) {
        bail!("a request was not answered: {failure}{table}");
    }
    let bills = [("prefill", &times.0), ("decode", &times.1)];
    Ok(table + &billing::adds_up(stage, NAME, &bills).await?)
}

/// Runs the three phases. Each begins with the sizes of the previous one.
async fn run(stage: &Stage, record: &Record, url: &str) -> Result<[Phase; 3]> {
    let prompts = Clients::start(url, CLIENTS, 1000, 1);
    let first = phase(record, "long prompts", LONG_PROMPTS).await?;
    // The limit on replicas is reached: from here on a role can grow only after the other has
    // shrunk.
    ensure!(first.peak.0 == CEILING.replicas, "the peak was {} replicas", first.peak.0);
    prompts.stop();
    let answers = Clients::start(url, CLIENTS, 10, 40);
    let second = phase(record, "long answers", LONG_ANSWERS);
    let (second, ()) = tokio::try_join!(second, restart(stage))?;
    answers.stop();
    let third = phase(record, "idle", IDLE).await?;
    Ok([
        Phase { requests: prompts.end().await?, ..first },
        Phase { requests: answers.end().await?, ..second },
        third,
    ])
}

/// Kills the operator while sizes change, and starts it again.
async fn restart(stage: &Stage) -> Result<()> {
    tokio::time::sleep(Duration::from_secs(5)).await;
    stage.operator.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.operator.start()
}

/// Waits until the sizes are as expected and all pods are ready, and checks that this lasts.
async fn phase(record: &Record, name: &'static str, sizes: Sizes) -> Result<Phase> {
    let from = record.time();
    record
        .until(&format!("{name}: {sizes}"), TIMEOUT, |now| {
            (now.requested, now.pods, now.ready) == (sizes, sizes, sizes)
        })
        .await?;
    let took = record.time().saturating_sub(from);
    record.stays(sizes, HOLD).await.context(name)?;
    let moments = record.since(from);
    let most =
        |of: &dyn Fn(Sizes) -> i64| moments.iter().map(|moment| of(moment.pods)).max().unwrap_or(0);
    let peak = (most(&Sizes::sum), most(&|pods| CEILING.gpus_of(pods)));
    Ok(Phase { name, sizes, took, peak, requests: Outcome::default() })
}

/// Creates a group with one replica of each role, and the front before it.
async fn serve(stage: &Stage, groups: &Groups<'_>) -> Result<Disaggregated> {
    let config = EngineConfig { max_num_seqs: 64, ..EngineConfig::default() };
    // Prompts are computed one after the other, so that they arrive at decode one after the other.
    let prefill = EngineConfig {
        prefill_tokens_per_second: 2000.0,
        max_batched_tokens: 1000,
        ..config.clone()
    };
    let decode = EngineConfig { step_base: Duration::from_millis(100), ..config };
    for (role, config) in [("prefill", prefill), ("decode", decode)] {
        let engine = Emulated { config, loading: LOADING, ending: ENDING, ..Emulated::default() };
        stage.assign(&format!("{NAME}-{role}"), Engine::Emulated(engine));
    }
    let role = |name| scalable(standalone(stage, name, 1));
    groups.group(NAME, &[role("prefill"), role("decode")]).await?;
    let labels = |role| format!("{PREFIX}/group-name={NAME},{PREFIX}/role-name={role}");
    Disaggregated::start(stage.client(), &stage.namespace, &labels("prefill"), &labels("decode"))
        .await
}

fn spec() -> Value {
    let role =
        |name, gpus| spec::with(spec::role(name, MOST, TARGET), "gpusPerReplica", json!(gpus));
    let gpus = CEILING.gpus_per_replica;
    let roles = [role("prefill", gpus.prefill), role("decode", gpus.decode)];
    let spec = spec::of_group(CEILING.replicas, &roles, ["250m", "4"]);
    spec::with(spec, "maxGPUs", json!(CEILING.gpus))
}

fn table(phases: &[Phase]) -> String {
    let mut table = String::from(
        "\n    | phase        | prefill + decode | reached after | most pods of 10 | most GPUs of 32 | answered | failed |\
         \n    |---|---|---|---|---|---|---|\n",
    );
    for Phase { name, sizes, took, peak, requests } in phases {
        let _ = writeln!(
            table,
            "    | {name:<12} | {:>16} | {:>11.0} s | {:>15} | {:>15} | {:>8} | {:>6} |",
            sizes.to_string(),
            took.as_secs_f64(),
            peak.0,
            peak.1,
            requests.answered,
            requests.failed
        );
    }
    table
}
