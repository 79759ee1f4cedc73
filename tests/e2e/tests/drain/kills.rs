//! The copy of the operator that serves is killed while pods drain under load.

use std::{collections::HashSet, convert::Infallible, time::Duration};

use anyhow::{Result, ensure};
use futures::future::{join_all, try_join_all};
use llm_autoscaler_e2e::{Stage, billing, copies::Copies};
use llm_autoscaler_testbed::{PodTimes, wait};
use serde_json::json;

use crate::{
    clients::{self, Clients, REQUEST},
    gated,
    service_record::ServiceRecord,
};

/// The time for which a Lease lasts, in seconds.
const LEASE: u64 = 5;
/// The targets. Each shrinks from four replicas to one and grows again, all the time.
const SETS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const REPLICAS: u32 = 4;
/// The termination grace period in seconds. A pod that is removed before its drain is over cuts off
/// its requests, but for those with less than this left.
const GRACE: i64 = 1;
/// The deadline of a drain in seconds, which a handover does not exhaust.
const DEADLINE: i32 = 120;
/// The time for a target to shrink or to grow, through some handovers.
const CHANGE: Duration = Duration::from_mins(6);

/// Requests of 30 s are sent all the time, replicas drain, and the copy that serves is killed by
/// SIGKILL in the middle of that, `KILLS` times. Every request is answered, no pod that drains goes
/// back to its Service, and none is removed without a drain. The bills of the targets add up to the
/// times of their pods, across all kills.
pub(crate) async fn holder_is_killed_in_the_middle_of_drains(stage: &Stage) -> Result<String> {
    let kills = std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(3);
    gated::permit(stage).await?;
    for name in SETS {
        stage.assign(name, clients::engine(None));
    }
    let record = ServiceRecord::begin(stage.api());
    let labels = SETS.map(|name| format!("app={name}"));
    let watch = |labels| PodTimes::watch(stage.client(), &stage.namespace, labels);
    let times = try_join_all(labels.iter().map(|labels| watch(labels))).await?;
    let settings = gated::PodSettings { grace: GRACE, gates: &[gated::GATE], ..Default::default() };
    for name in SETS {
        keep(stage, name, REPLICAS).await?;
        gated::create_with(stage, name, REPLICAS, &settings).await?;
    }
    for name in SETS {
        stage.until_ready_within(name, REPLICAS.cast_signed(), CHANGE).await?;
    }
    let copies = Copies::start(stage, LEASE).await?;
    let clients = try_join_all(SETS.map(|name| Clients::start(stage, name))).await?;
    let drains = tokio::select! {
        drains = kill(&copies, &record, kills) => drains,
        failed = try_join_all(SETS.map(|name| swing(stage, name))) => failed.map(|_| 0),
    };
    // Requests in flight are answered, and pods that were removed last exit, which shows in them.
    let ended = join_all(clients.into_iter().map(Clients::stop)).await;
    let answered: usize = ended.iter().map(|(answered, ..)| answered).sum();
    let cut_off: usize = ended.iter().map(|(_, cut_off, _)| cut_off).sum();
    let first = ended.into_iter().find_map(|(.., first)| first).unwrap_or_default();
    let (removed, faults) = (record.removed(), record.faults());
    let text = format!(
        "{kills} kills in the middle of {} drains; {removed} replicas removed, {answered} requests \
         answered, {cut_off} cut off",
        drains?,
    );
    ensure!(cut_off == 0 && faults.is_empty(), "{text}: {first} {faults:#?}\n{}", copies.logs());
    ensure!(removed > 0 && answered > 0, "{text}");
    let bills = SETS.iter().zip(&times).map(|(name, times)| (*name, times));
    let bills = join_all(bills.map(|(name, times)| {
        let targets = [(name, times)];
        async move { billing::adds_up(stage, name, &targets).await }
    }));
    let bills: Result<Vec<String>> = bills.await.into_iter().collect();
    Ok(format!("{text}{}", bills?.concat()))
}

/// Kills the holder while a pod drains, again and again. Returns the number of pods that were
/// draining at a kill.
async fn kill(copies: &Copies<'_>, record: &ServiceRecord, kills: u32) -> Result<usize> {
    let mut interrupted = HashSet::new();
    for _ in 0..kills {
        wait::until("a pod to drain", CHANGE, async || {
            Ok((!record.draining().is_empty()).then_some(()))
        })
        .await?;
        // A drain takes up to 30 s, and the holder may be killed in any part of one.
        tokio::time::sleep(Duration::from_secs(LEASE).mul_f64(fastrand::f64())).await;
        let (holder, _) = copies.holder().await?;
        interrupted.extend(record.draining());
        copies.operator(holder).kill();
        copies.until_held_by(holder.other()).await?;
        copies.run(holder)?;
        copies.until_ready(holder).await?;
    }
    Ok(interrupted.len())
}

/// Shrinks and grows a target. It grows only after its last drain has ended, so that no drain is
/// cancelled.
async fn swing(stage: &Stage, name: &str) -> Result<Infallible> {
    loop {
        // By then the clients have sent requests to all replicas.
        tokio::time::sleep(REQUEST.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        keep(stage, name, 1).await?;
        stage.until_replicas(name, 1, CHANGE).await?;
        stage.until_ready_within(name, 1, CHANGE).await?;
        keep(stage, name, REPLICAS).await?;
        stage.until_ready_within(name, REPLICAS.cast_signed(), CHANGE).await?;
    }
}

/// Applies the autoscaler with a minimum. A replica is enough for all requests. Half of the targets
/// shrink by one replica at a time, the others at once.
async fn keep(stage: &Stage, name: &str, min: u32) -> Result<()> {
    let pods = if SETS[..SETS.len() / 2].contains(&name) { 1 } else { REPLICAS };
    let policy = json!({"type": "Pods", "value": pods, "periodSeconds": 1});
    let down = json!({"stabilizationWindowSeconds": 0, "policies": [policy]});
    let change = json!({
        "minReplicas": min,
        "maxReplicas": REPLICAS,
        "behavior": {"scaleDown": down},
    });
    gated::autoscaler(stage, name, DEADLINE, change).await
}
