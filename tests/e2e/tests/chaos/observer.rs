//! Looks at all targets, their statuses and both copies, all the time.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{ResourceExt, api::ListParams};
use llm_autoscaler_api::{LLMAutoscaler, LLMAutoscalerStatus};
use llm_autoscaler_e2e::Stage;

use crate::{
    evidence::{Look, StatusSeen},
    recorder::Recorder,
    world::World,
};

/// The time between two looks at targets.
const TARGETS: Duration = Duration::from_millis(250);
/// The time between two looks at copies.
const COPIES: Duration = Duration::from_secs(1);
/// The time that the API server may take; while it is in trouble, nothing is seen.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks until it is dropped.
pub(crate) async fn observe(world: &World, recorder: &Recorder) {
    let targets = async {
        loop {
            for stage in world.judged_stages() {
                let looks = tokio::time::timeout(PATIENCE, look(stage, recorder)).await;
                if let Ok(Ok(looks)) = looks {
                    recorder.lock().looks.extend(looks);
                }
            }
            tokio::time::sleep(TARGETS).await;
        }
    };
    let copies = async {
        loop {
            let looks = world.copies.look(recorder.now()).await;
            recorder.lock().copies.extend(looks);
            tokio::time::sleep(COPIES).await;
        }
    };
    tokio::join!(targets, copies);
}

/// Looks at the targets of a namespace.
async fn look(stage: &Stage, recorder: &Recorder) -> Result<Vec<Look>> {
    let all = ListParams::default();
    let autoscalers = stage.api::<LLMAutoscaler>().list(&all).await?;
    let sets = stage.api::<StatefulSet>().list(&all).await?;
    let at = recorder.now();
    let sizes: HashMap<_, _> = sets
        .into_iter()
        .map(|set| (set.name_any(), set.spec.and_then(|spec| spec.replicas)))
        .collect();
    let look = |autoscaler: LLMAutoscaler| {
        let name = autoscaler.name_any();
        Ok(Look {
            target: format!("{}/{name}", stage.namespace),
            at,
            size: sizes.get(&name).copied().flatten().context("the target is not there")?,
            generation: autoscaler.metadata.generation.unwrap_or_default(),
            status: seen(autoscaler.status.unwrap_or_default()),
        })
    };
    autoscalers.into_iter().map(look).collect()
}

fn seen(status: LLMAutoscalerStatus) -> StatusSeen {
    let conditions = status.conditions.into_iter();
    StatusSeen {
        observed_generation: status.observed_generation,
        desired: status.desired_replicas,
        current: status.current_replicas,
        conditions: conditions.map(|condition| (condition.type_, condition.status)).collect(),
    }
}
