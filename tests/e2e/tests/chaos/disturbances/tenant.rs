//! A tenant that attacks with its pages.

use std::time::Duration;

use anyhow::Result;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::Page;
use serde_json::json;
use tokio::time::Instant;

use crate::{plan::Kind, world::World};

/// The tenant's target, and the number of its pods.
const NAME: &str = "attack";
const PODS: u32 = 6;
/// The size of a page that does not end: a little less than a page may have.
const ENDLESS: usize = (4 << 20) - 100;
/// The time between two loads of pages that swing.
const SWING: Duration = Duration::from_millis(500);

/// Creates the tenant's target. Without a window each sample may change its size.
pub(crate) async fn install(stage: &Stage) -> Result<()> {
    stage.create_engine(NAME, PODS).await?;
    stage.script.set_all(&Page::waiting(5));
    let rules = json!({
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Pods", "value": 10, "periodSeconds": 1}],
    });
    let spec = json!({
        "minReplicas": PODS - 1,
        "maxReplicas": PODS + 1,
        "behavior": {"scaleUp": rules, "scaleDown": rules},
    });
    stage.autoscaler(NAME, spec).await
}

/// Attacks for a time.
pub(crate) async fn attack(world: &World, kind: Kind, lasts: Duration) -> Result<()> {
    let (script, end) = (&world.tenant.script, Instant::now() + lasts);
    if kind == Kind::EndlessPages {
        script.set_all(&Page::Unfinished(ENDLESS));
        tokio::time::sleep_until(end).await;
    }
    let mut loads = [9, 1].into_iter().cycle();
    while Instant::now() < end {
        script.set_all(&Page::waiting(loads.next().unwrap_or_default()));
        tokio::time::sleep(SWING).await;
    }
    script.set_all(&Page::waiting(5));
    Ok(())
}
