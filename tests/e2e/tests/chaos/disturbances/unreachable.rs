//! Pages of pods that cannot be read.

use std::time::Duration;

use anyhow::Result;
use llm_autoscaler_testbed::Page;

use crate::{
    pages::Pods,
    plan::{Disturbance, Kind},
    world::{World, targets},
};

/// Breaks the pages of half of the pods of the first target in the namespace that is disturbed, and
/// of every other one from there on; or of all pods of the others.
pub(crate) async fn play(world: &World, it: &Disturbance, lasts: Duration) -> Result<()> {
    let page = match it.variant % 4 {
        0 => Page::Refuse,
        1 => Page::Hang,
        2 => Page::Reset,
        _ => Page::Raw {
            status: 500,
            content_type: "text/plain".to_owned(),
            body: "the engine is not well".to_owned(),
        },
    };
    let [even, odd]: [Pods; 2] = [|it| it % 2 == 0, |it| it % 2 == 1];
    let mut broken = Vec::new();
    for (index, target) in targets().into_iter().filter(|it| !it.is_neighbour).enumerate() {
        let pods: Pods = match (it.kind, index % 2) {
            (Kind::HalfUnreachable, 0) if (it.variant / 4).is_multiple_of(2) => even,
            (Kind::HalfUnreachable, 0) => odd,
            (Kind::AllUnreachable, 1) => |_| true,
            _ => continue,
        };
        world.pages.break_pods(&target.name, &page, pods);
        broken.push(target.name);
    }
    tokio::time::sleep(lasts).await;
    for target in broken {
        world.pages.repair(&target);
    }
    Ok(())
}
