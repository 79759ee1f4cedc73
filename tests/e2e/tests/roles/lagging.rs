//! A role that cannot grow, because its pods find no node.

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{
    Stage,
    groups::{Groups, scalable, standalone},
};
use llm_autoscaler_testbed::{engine::Page, rbg::Kind};
use serde_json::Value;

use crate::{
    record::{Record, Sizes, story},
    rules,
    spec::{self, NAME},
};

/// The largest ratio of prefill to decode.
const MOST: i64 = 2;
/// The size that prefill's load requires, and decode's by the ratio.
const NEEDED: Sizes = Sizes::new(8, 4);
const A_MINUTE: Duration = Duration::from_mins(1);
/// A time in which the operator finds out that the requested replicas do not start.
const UNTIL_IT_LAGS: Duration = Duration::from_secs(12);
/// The time that a size must stay. It exceeds the period after which another step is allowed: 15 s.
const A_WHILE: Duration = Duration::from_secs(20);

/// Decode requests four replicas and has a node for one. When prefill's load grows later, prefill
/// grows as far as the ratio allows with that one. When nodes are free, both go on.
pub(crate) async fn unschedulable_role_holds_the_other(stage: &Stage) -> Result<String> {
    let (_groups, record) = without_room(stage).await?;
    set_running(stage, "decode", 100);
    let wanted = format!("decode to request {}", NEEDED.decode);
    record.until(&wanted, A_MINUTE, |now| now.requested.decode == NEEDED.decode).await?;
    tokio::time::sleep(UNTIL_IT_LAGS).await;

    set_running(stage, "prefill", 100);
    let held = Sizes::new(MOST, NEEDED.decode);
    record.until(&format!("{held} to be requested"), A_MINUTE, |now| now.requested == held).await?;
    record.stays(held, A_WHILE).await?;
    let took = room_comes(stage, &record).await?;
    let ahead = format!("more than {MOST} prefill for each decode that serves");
    rules::never_for_long(&record, &ahead, |now| now.requested.prefill > MOST * now.ready.decode)?;
    Ok(format!("{held} while there was no room; {NEEDED} {took:.0} s after it came"))
}

/// Prefill's load grows, and decode must grow with it: the first step of both is one decision. Then
/// decode lags, and prefill takes no further step until nodes are free.
pub(crate) async fn lagging_role_holds_the_next_step(stage: &Stage) -> Result<String> {
    let (_groups, record) = without_room(stage).await?;
    set_running(stage, "prefill", 100);
    record
        .until("a step", A_MINUTE, |now| now.requested.prefill > 1 && now.requested.decode > 1)
        .await?;
    tokio::time::sleep(UNTIL_IT_LAGS).await;
    let step = record.now()?.requested;
    ensure!(
        step.prefill < NEEDED.prefill,
        "there is nothing left to hold back:\n{}",
        story(&record.all())
    );
    record.stays(step, A_WHILE).await?;
    let took = room_comes(stage, &record).await?;
    Ok(format!("{step} while there was no room; {NEEDED} {took:.0} s after it came"))
}

/// Creates one idle replica of each role, and leaves further pods of decode pending.
async fn without_room(stage: &Stage) -> Result<(Groups<'_>, Record)> {
    later().for_each(|pod| stage.leave_pending(&pod));
    for role in ["prefill", "decode"] {
        set_running(stage, role, 5);
    }
    let groups = Groups::start(stage).await?;
    let role = |name| scalable(standalone(stage, name, 1));
    groups.group(NAME, &[role("prefill"), role("decode")]).await?;
    let record = Record::start(stage, &Kind::Adapter.resource()).await?;
    spec::apply(stage, NAME, &spec()).await?;
    record.stays(Sizes::new(1, 1), Duration::from_secs(3)).await?;
    Ok((groups, record))
}

/// Gives decode its nodes, and waits until both roles have the needed size. Returns the seconds
/// that it took.
async fn room_comes(stage: &Stage, record: &Record) -> Result<f64> {
    let began = record.time();
    later().for_each(|pod| stage.make_room(&pod));
    record.until(&format!("{NEEDED} to serve"), A_MINUTE, |now| now.ready == NEEDED).await?;
    let took = record.time().saturating_sub(began);
    record.stays(NEEDED, Duration::from_secs(5)).await?;
    rules::in_range(record, 0.25, MOST as f64)?;
    Ok(took.as_secs_f64())
}

/// Returns the names of the pods of decode that are left pending.
fn later() -> impl Iterator<Item = String> {
    (1..NEEDED.decode).map(|ordinal| format!("{NAME}-decode-{ordinal}"))
}

fn spec() -> Value {
    let roles =
        [spec::role("prefill", NEEDED.prefill, 10), spec::role("decode", NEEDED.decode, 10)];
    spec::of_group(16, &roles, ["250m", &MOST.to_string()])
}

/// Makes each pod of a role, including future ones, report this many running requests.
fn set_running(stage: &Stage, role: &str, running: u64) {
    stage.page(&format!("{NAME}-{role}"), &Page::Vllm { running, waiting: 0, kv: 0.1 });
}
