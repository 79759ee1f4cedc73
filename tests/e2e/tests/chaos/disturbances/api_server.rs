//! The API server is killed, slow, or refuses.

use std::time::Duration;

use anyhow::Result;
use llm_autoscaler_testbed::api_proxy::{ApiFault, Rule};
use tokio::time::Instant;

use crate::{plan::Kind, world::World};

/// The time for which etcd stands still, and then goes on, again and again.
const STALL: Duration = Duration::from_millis(400);
const GO_ON: Duration = Duration::from_millis(200);
/// The delay of an answer that is slow.
const SLOW: Duration = Duration::from_millis(700);

/// Kills the API server, and starts it again after a time.
pub(crate) async fn kill(world: &World, lasts: Duration) -> Result<()> {
    let control_plane = world.disturbed.control_plane();
    control_plane.kill_api_server();
    tokio::time::sleep(lasts).await;
    control_plane.restart_api_server().await
}

/// Stalls etcd again and again.
pub(crate) async fn stall_etcd(world: &World, lasts: Duration) -> Result<()> {
    let (control_plane, end) = (world.disturbed.control_plane(), Instant::now() + lasts);
    while Instant::now() < end {
        control_plane.pause_etcd()?;
        tokio::time::sleep(STALL).await;
        control_plane.resume_etcd()?;
        tokio::time::sleep(GO_ON).await;
    }
    Ok(())
}

/// Breaks requests of both copies for a time.
pub(crate) async fn break_requests(world: &World, kind: Kind, lasts: Duration) -> Result<()> {
    let rule = |method: &'static str, path: &str, is_watch: bool, fault: ApiFault| Rule {
        method,
        path: path.to_owned(),
        is_watch,
        fault,
    };
    let all = |methods: &[&'static str], fault: ApiFault| -> Vec<Rule> {
        methods.iter().map(|method| rule(method, "", false, fault)).collect()
    };
    let rules = match kind {
        Kind::Conflicts => ["/scale", "/status"]
            .map(|path| rule("PATCH", path, false, ApiFault::Refused(409)))
            .to_vec(),
        Kind::TooManyRequests => all(&["GET", "PATCH", "POST", "PUT"], ApiFault::Refused(429)),
        Kind::WatchesExpire => vec![rule("GET", "", true, ApiFault::Expired)],
        Kind::SlowAnswers => all(&["GET", "PATCH", "POST", "PUT"], ApiFault::Slow(SLOW)),
        _ => all(&["PATCH", "PUT"], ApiFault::Lost),
    };
    for copy in [0, 1] {
        world.copies.break_requests(copy, kind, rules.clone());
    }
    tokio::time::sleep(lasts).await;
    world.copies.repair_requests(kind);
    Ok(())
}
