//! A copy of the operator is killed, terminated, paused or cut off.

use std::time::Duration;

use anyhow::Result;
use llm_autoscaler_e2e::SOON;
use llm_autoscaler_testbed::{
    api_proxy::{ApiFault, Rule},
    wait,
};

use crate::{plan::Kind, world::World};

/// The ends of the paths of the Lease, and of its watch.
const LEASES: &[&str] = &["/leases/llm-autoscaler", "/leases"];

/// Disturbs the copy that holds the Lease, or the other one.
pub(crate) async fn play(world: &World, kind: Kind, lasts: Duration) -> Result<()> {
    let copies = &world.copies;
    // For a moment there may be no holder, while the API server is in trouble too.
    let holder = wait::until("a copy to serve", SOON, async || Ok(copies.holder().await)).await?;
    let is_standby = matches!(kind, Kind::StandbyKilled | Kind::StandbyPaused);
    let copy = if is_standby { 1 - holder } else { holder };
    match kind {
        Kind::HolderKilled | Kind::StandbyKilled => copies.kill(copy),
        Kind::HolderTerminated => copies.terminate(copy)?,
        Kind::HolderPaused | Kind::StandbyPaused => copies.pause(copy)?,
        Kind::RenewalsHang => copies.break_requests(copy, kind, silence(LEASES)),
        _ => copies.break_requests(copy, kind, silence(&[""])),
    }
    tokio::time::sleep(lasts).await;
    match kind {
        Kind::HolderKilled | Kind::StandbyKilled | Kind::HolderTerminated => copies.run(copy)?,
        Kind::HolderPaused | Kind::StandbyPaused => copies.resume(copy)?,
        _ => copies.repair_requests(kind),
    }
    Ok(())
}

/// No request of a path with one of these ends is answered.
fn silence(ends: &[&str]) -> Vec<Rule> {
    ends.iter().flat_map(|end| silence_of(end)).collect()
}

fn silence_of(end: &str) -> Vec<Rule> {
    let rule =
        |method, is_watch| Rule { method, path: end.to_owned(), is_watch, fault: ApiFault::Hang };
    let mut rules: Vec<_> =
        ["GET", "PATCH", "POST", "PUT", "DELETE"].map(|method| rule(method, false)).to_vec();
    rules.push(rule("GET", true));
    rules
}
