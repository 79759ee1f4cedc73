//! Carries out the disturbances of a plan, and takes down when each began and ended.

pub(crate) mod admission;
mod api_server;
mod clocks;
mod holders;
pub(crate) mod tenant;
mod unreachable;

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;

use crate::{
    evidence::Disturbed,
    plan::{Disturbance, Kind, Plan},
    recorder::Recorder,
    world::World,
};

/// Carries out all disturbances of a plan.
pub(crate) async fn play(world: &World, recorder: &Recorder, plan: &Plan) -> Result<()> {
    let all = plan.disturbances.iter().map(|it| async move {
        let at = recorder.began() + Duration::from_secs_f64(it.at);
        tokio::time::sleep_until(at).await;
        let from = recorder.now();
        let what = it.kind.name();
        let index = {
            let mut record = recorder.lock();
            let until = from + it.lasts;
            record.disturbed.push(Disturbed {
                what: what.to_owned(),
                reach: it.kind.reach(),
                recovery: it.kind.recovery(),
                from,
                until,
            });
            record.disturbed.len() - 1
        };
        disturb(world, it).await.with_context(|| format!("{what} at {from:.1} s"))?;
        recorder.lock().disturbed[index].until = recorder.now();
        anyhow::Ok(())
    });
    try_join_all(all).await.map(drop)
}

/// Disturbs for as long as the disturbance lasts, and repairs.
async fn disturb(world: &World, it: &Disturbance) -> Result<()> {
    let lasts = Duration::from_secs_f64(it.lasts);
    match it.kind {
        Kind::ApiServerKilled => api_server::kill(world, lasts).await,
        Kind::EtcdStalls => api_server::stall_etcd(world, lasts).await,
        Kind::Conflicts
        | Kind::TooManyRequests
        | Kind::WatchesExpire
        | Kind::SlowAnswers
        | Kind::LostAnswers => api_server::break_requests(world, it.kind, lasts).await,
        Kind::SizesRefused => admission::refuse_sizes(&world.disturbed, lasts).await,
        Kind::StatusesRefused => admission::refuse_statuses(world, lasts).await,
        Kind::HalfUnreachable | Kind::AllUnreachable => unreachable::play(world, it, lasts).await,
        Kind::HolderKilled
        | Kind::HolderTerminated
        | Kind::HolderPaused
        | Kind::HolderCutOff
        | Kind::RenewalsHang
        | Kind::StandbyKilled
        | Kind::StandbyPaused => holders::play(world, it.kind, lasts).await,
        Kind::ClockForward | Kind::ClockBack => clocks::step(world, it, lasts).await,
        Kind::EndlessPages | Kind::SwingingPages => tenant::attack(world, it.kind, lasts).await,
    }
}
