//! The trouble that keeps a pod from serving.

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1 as core;
use llm_autoscaler_api::time;

/// A condition that keeps a pod from serving.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// The kind of trouble.
    pub kind: TroubleKind,
    /// The time at which it began.
    pub since: DateTime<Utc>,
}

/// A kind of [`Trouble`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// A container cannot start, or crashes again and again.
    Crashing,
    /// No node has room for the pod.
    Unschedulable,
    /// The pod runs or is about to run, and is not ready.
    NotReady,
}

impl TroubleKind {
    /// Returns the time after which a pod in this trouble is stuck. The autoscaler of the cluster
    /// may add a node within a few minutes; start-up times are learned.
    pub(super) fn timeout(self, startup_timeout: TimeDelta) -> TimeDelta {
        match self {
            Self::Crashing => TimeDelta::zero(),
            Self::Unschedulable => TimeDelta::minutes(5),
            Self::NotReady => startup_timeout,
        }
    }

    /// Returns its description in conditions.
    pub fn text(self) -> &'static str {
        match self {
            Self::Crashing => "its containers cannot start, or crash again and again",
            Self::Unschedulable => "no node has room for it",
            Self::NotReady => "it does not get ready",
        }
    }
}

/// The reasons of a waiting container that will not start by waiting.
const HOPELESS: [&str; 7] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// Returns the trouble of a pod that is not ready.
pub(super) fn trouble(pod: &core::Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let created =
        pod.metadata.creation_timestamp.as_ref().map(time::from_kubernetes).unwrap_or_default();
    let condition =
        |type_: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == type_);
    let since = |condition: Option<&core::PodCondition>| {
        let transition = condition.and_then(|condition| condition.last_transition_time.as_ref());
        transition.map_or(created, time::from_kubernetes)
    };
    let init = status.init_container_statuses.iter().flatten();
    let hopeless = |container: &core::ContainerStatus| {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        reason.is_some_and(|reason| HOPELESS.contains(&reason))
    };
    if init.chain(status.container_statuses.iter().flatten()).any(hopeless) {
        return Some(Trouble { kind: TroubleKind::Crashing, since: since(condition("Ready")) });
    }
    let scheduled = condition("PodScheduled");
    let unschedulable =
        scheduled.filter(|c| c.status == "False" && c.reason.as_deref() == Some("Unschedulable"));
    if unschedulable.is_some() {
        return Some(Trouble { kind: TroubleKind::Unschedulable, since: since(unschedulable) });
    }
    Some(Trouble { kind: TroubleKind::NotReady, since: since(condition("Ready")) })
}
