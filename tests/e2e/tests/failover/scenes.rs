//! The ways in which a holder ends, and what the next one goes on with.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use chrono::Utc;
use llm_autoscaler_e2e::{SOON, Stage, copies::Copies, gated};
use llm_autoscaler_testbed::{http_client, wait};
use serde_json::json;

/// The time for which a Lease lasts, in seconds.
const LEASE: u64 = 5;

/// Removes the window of scale-downs.
fn without_window() -> serde_json::Value {
    json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}})
}

/// A holder that is terminated, as by a rolling update, gives its Lease away.
pub(crate) async fn holder_is_terminated(stage: &Stage) -> Result<String> {
    stage.engine("a", 1).await?;
    stage.autoscaler("a", without_window()).await?;
    let copies = Copies::start(stage, 15).await?;
    let mut longest = Duration::ZERO;
    for round in 0..4 {
        let (holder, _) = copies.holder().await?;
        stage.waiting("a", if round % 2 == 0 { 11 } else { 0 });
        let terminated = Utc::now();
        copies.operator(holder).terminate()?;
        longest = longest.max(copies.gap(holder.other(), terminated).await?);
        stage.until_replicas("a", if round % 2 == 0 { 3 } else { 1 }, SOON).await?;
        wait::until("the holder to end", SOON, async || {
            Ok(copies.operator(holder).pid().is_none().then_some(()))
        })
        .await?;
        copies.run(holder)?;
        copies.until_ready(holder).await?;
    }
    let writes = copies.ensure_one_writer()?;
    let text = format!("longest gap {:.2} s, {writes} writes", longest.as_secs_f64());
    ensure!(longest <= Duration::from_secs(1), "{text}");
    Ok(text)
}

/// A holder that is paused for longer than its Lease lasts, and wakes up, writes nothing: neither
/// what it was about to write nor anything else.
pub(crate) async fn holder_is_paused(stage: &Stage) -> Result<String> {
    stage.engine("a", 1).await?;
    stage.autoscaler("a", without_window()).await?;
    let copies = Copies::start(stage, LEASE).await?;
    let mut resumed_writes = 0;
    for round in 0..3 {
        let (holder, process) = copies.holder().await?;
        // The load changes just before, so that a write is on its way as often as possible.
        stage.waiting("a", if round % 2 == 0 { 11 } else { 0 });
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..1500))).await;
        copies.operator(holder).pause()?;
        let paused = Utc::now();
        copies.until_held_by(holder.other()).await?;
        stage.until_replicas("a", if round % 2 == 0 { 3 } else { 1 }, SOON).await?;
        let left = Duration::from_secs(8).saturating_sub((Utc::now() - paused).to_std()?);
        tokio::time::sleep(left).await;
        stage.waiting("a", if round % 2 == 0 { 0 } else { 11 });
        copies.operator(holder).resume()?;
        let resumed = Utc::now();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let requests = copies.requests()?;
        let after = requests.iter().filter(|request| {
            process.starts_with(&request.process)
                && request.received > resumed
                && request.is_attempt()
        });
        resumed_writes += after.count();
        ensure!(resumed_writes == 0, "a copy that woke up wrote: {:#?}", requests.last());
        copies.until_ready(holder).await?;
    }
    let writes = copies.ensure_one_writer()?;
    Ok(format!("3 pauses of 8 s, {writes} writes, none by a copy that woke up"))
}

/// A scale-down that drains goes on where it was: the replica stays out of service, and the size is
/// written when its requests are answered.
pub(crate) async fn drain_goes_on(stage: &Stage) -> Result<String> {
    gated::permit(stage).await?;
    stage.script.set_all(&gated::page(9));
    gated::autoscaler(stage, "a", 60, json!({})).await?;
    gated::create(stage, "a", 3, 30).await?;
    let copies = Copies::start(stage, LEASE).await?;
    stage.until_ready("a", 3).await?;
    stage.script.set_all(&gated::page(5));
    gated::until_in_service(stage, "a-2", false).await?;
    stage.until_condition("a", "Draining", "True", "RequestsInFlight").await?;
    for is_killed in [true, false] {
        let (holder, _) = copies.holder().await?;
        if is_killed {
            copies.operator(holder).kill();
        } else {
            copies.operator(holder).terminate()?;
        }
        let end = Instant::now() + Duration::from_secs(LEASE + 5);
        while Instant::now() < end {
            let gate = gated::condition(stage, "a-2", gated::GATE).await?;
            ensure!(gate.as_deref() == Some("False"), "a-2 was put back: {gate:?}");
            ensure!(stage.replicas("a").await? == 3, "a-2 was removed with its requests");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        copies.until_held_by(holder.other()).await?;
        copies.run(holder)?;
        copies.until_ready(holder).await?;
    }
    for (pod, count) in [("a-0", 8), ("a-1", 7), ("a-2", 0)] {
        gated::running(stage, pod, count);
    }
    stage.until_replicas("a", 2, SOON).await?;
    let drained = stage.until_condition("a", "Draining", "False", "Drained").await?;
    copies.ensure_one_writer()?;
    Ok(format!("after two handovers: {}", drained.message))
}

/// After a handover in the middle of a window the target shrinks no earlier than without it.
pub(crate) async fn window_is_kept(stage: &Stage) -> Result<String> {
    const WINDOW: u64 = 25;
    stage.engine("a", 1).await?;
    stage.waiting("a", 11);
    let window = json!({"scaleDown": {"stabilizationWindowSeconds": WINDOW}});
    stage.autoscaler("a", json!({"behavior": window})).await?;
    let copies = Copies::start(stage, LEASE).await?;
    stage.until_replicas("a", 3, SOON).await?;
    stage.until_ready("a", 3).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.waiting("a", 0);
    let fell = Instant::now();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (holder, _) = copies.holder().await?;
    copies.operator(holder).kill();
    let earliest = fell + Duration::from_secs(WINDOW - 1);
    while Instant::now() < earliest {
        ensure!(
            stage.replicas("a").await? == 3,
            "it shrank {:.1} s after the load fell",
            fell.elapsed().as_secs_f64()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage.until_replicas("a", 1, Duration::from_secs(WINDOW + 15)).await?;
    copies.ensure_one_writer()?;
    let took = fell.elapsed().as_secs_f64();
    Ok(format!("a window of {WINDOW} s: it shrank {took:.1} s after the load fell"))
}

/// A wake call that reaches the copy that stands by wakes the target, and so does one that comes
/// while no copy serves, although that lasts longer than a call keeps the target from zero.
pub(crate) async fn call_to_the_copy_that_stands_by(stage: &Stage) -> Result<String> {
    stage.engine("a", 1).await?;
    stage.waiting("a", 0);
    let mut spec = without_window();
    (spec["minReplicas"], spec["scaleToZero"]) = (json!(0), json!({"afterSeconds": 3}));
    stage.autoscaler("a", spec).await?;
    let copies = Copies::start(stage, LEASE).await?;
    stage.until_replicas("a", 0, SOON).await?;
    let (cluster, namespace) = (stage.control_plane(), stage.namespace.as_str());
    cluster.kubectl(["-n", namespace, "create", "serviceaccount", "gateway"]).await?;
    let (account, role) =
        (format!("--serviceaccount={namespace}:gateway"), "--clusterrole=llm-autoscaler-caller");
    cluster.kubectl(["-n", namespace, "create", "rolebinding", "caller", role, &account]).await?;
    let create = ["-n", namespace, "create", "token", "gateway", "--audience=llm-autoscaler"];
    let token = cluster.kubectl(create).await?;
    let (holder, _) = copies.holder().await?;
    let url = format!("{}/{namespace}/a", copies.operator(holder.other()).wake_url());
    let call = async || {
        let call = http_client().post(&url).bearer_auth(token.trim());
        Ok((call.send().await?.status() == 202).then_some(()))
    };
    wait::until("the call to be taken", SOON, call).await?;
    let called = Instant::now();
    stage.until_replicas("a", 1, SOON).await?;
    let woken = called.elapsed().as_secs_f64();
    copies.ensure_one_writer()?;
    stage.until_replicas("a", 0, SOON).await?;
    stage.until_condition("a", "ScaledToZero", "True", "ScaledToZero").await?;
    copies.operator(holder).pause()?;
    wait::until("the call to be taken", SOON, call).await?;
    let called = Instant::now();
    stage.stays("a", 0, Duration::from_secs(1)).await?;
    stage.until_replicas("a", 1, SOON).await?;
    let late = called.elapsed().as_secs_f64();
    copies.operator(holder).resume()?;
    copies.ensure_one_writer()?;
    Ok(format!(
        "woken {woken:.2} s after a call to the copy that stands by, and {late:.1} s after one \
         without a holder"
    ))
}
