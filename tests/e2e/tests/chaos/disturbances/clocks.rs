//! The wall clocks of the copies are set, and set right again.

use std::time::Duration;

use anyhow::Result;

use crate::{
    plan::{Disturbance, Kind},
    world::World,
};

/// Sets the clocks of both copies, or of one, forward or back by 20 s to 20 minutes.
pub(crate) async fn step(world: &World, it: &Disturbance, lasts: Duration) -> Result<()> {
    let seconds = 20 + i64::try_from(it.variant % 1180).unwrap_or_default();
    let seconds = if it.kind == Kind::ClockForward { seconds } else { -seconds };
    let copies: &[usize] = match it.variant % 3 {
        0 => &[0, 1],
        1 => &[0],
        _ => &[1],
    };
    for copy in copies {
        world.copies.set_clock(*copy, seconds)?;
    }
    tokio::time::sleep(lasts).await;
    for copy in copies {
        world.copies.set_clock(*copy, 0)?;
    }
    Ok(())
}
