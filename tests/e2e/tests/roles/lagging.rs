//! A role that cannot grow.

use std::time::Duration;

use anyhow::{Context, Result};
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

/// So many replicas of prefill for each of decode, at most.
const MOST: i64 = 2;
/// What prefill's load needs, and decode's with it.
const NEEDED: Sizes = Sizes::new(8, 4);
const A_MINUTE: Duration = Duration::from_mins(1);

/// There is no room for more than one replica of decode, which prefill's load does not change: prefill grows as far as the ratio
/// allows with that one. When room comes, both go on.
pub async fn a_role_without_room_holds_the_other(stage: &Stage) -> Result<String> {
    let later = 1..NEEDED.decode;
    later.clone().for_each(|ordinal| stage.leave_pending(&format!("{NAME}-decode-{ordinal}")));
    say(stage, "decode", 5);
    let groups = Groups::start(stage).await?;
    let role = |name| scalable(standalone(stage, name, 1));
    groups.group(NAME, &[role("prefill"), role("decode")]).await?;
    let record = Record::start(stage, &Kind::Adapter.resource()).await?;
    spec::apply(stage, NAME, &spec()).await?;

    say(stage, "prefill", 100);
    let held = Sizes::new(MOST, NEEDED.decode);
    let waits = |asked: Sizes| asked.prefill == held.prefill && asked.decode > 1;
    record.until("prefill to grow as far as it may", A_MINUTE, |now| waits(now.asked)).await?;
    // Twice as long as it takes to be allowed another step.
    let held_from = record.time();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let now = record.now()?;
    let alone = now.ready.decode == 1 && waits(now.asked);
    alone
        .then_some(())
        .with_context(|| format!("prefill was to wait:\n{}", story(&record.since(held_from))))?;

    let room = record.time();
    later.for_each(|ordinal| stage.make_room(&format!("{NAME}-decode-{ordinal}")));
    record.until(&format!("{NEEDED} to serve"), A_MINUTE, |now| now.ready == NEEDED).await?;
    let took = record.time().saturating_sub(room);
    record.stays(NEEDED, Duration::from_secs(5)).await?;

    let ahead = format!("more than {MOST} prefill for each decode that serves");
    rules::never_for_long(&record, &ahead, |now| now.asked.prefill > MOST * now.ready.decode)?;
    rules::in_range(&record, 0.25, MOST as f64)?;
    Ok(format!("{} while there was no room; {NEEDED} {:.0} s after it came", now.asked, took.as_secs_f64()))
}

fn spec() -> Value {
    let roles = [spec::role("prefill", NEEDED.prefill, 10), spec::role("decode", 8, 10)];
    spec::of_group(16, &roles, ["250m", &MOST.to_string()])
}

/// Makes each pod of a role say that so many requests run, those to come too.
fn say(stage: &Stage, role: &str, running: u64) {
    stage.page(&format!("{NAME}-{role}"), &Page::Vllm { running, waiting: 0, kv: 0.1 });
}
