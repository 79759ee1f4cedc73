//! Other autoscalers of the cluster: HorizontalPodAutoscalers, ScaledObjects and PodAutoscalers.
//!
//! A target that one of them names is left alone. They are listed every 30 s, once for all
//! LLMAutoscalers, and at once when an LLMAutoscaler begins to scale a target beside which it only
//! recommended, or another target. A kind that is not installed is no obstacle. Neither is one that
//! the operator may not list, which is logged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use llm_autoscaler_api::{
    ScaleTargetRef,
    workloads::{self, AUTOSCALER_KINDS, AutoscalerKind, keda},
};
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tracing::{debug, warn};

use crate::kube_api::{CallError, DEADLINE, pages::Pages, scoped_dynamic};

/// The time between two listings.
const PERIOD: Duration = Duration::from_secs(30);
/// The time between two listings until every kind has been listed once, or while a step waits for a
/// listing in which no kind fails.
const FIRST_PERIOD: Duration = Duration::from_secs(2);
/// The shortest time between two listings, however many are asked for.
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);

/// The longest name, kind or `apiVersion` of an object that exists, in bytes, and more.
const LONGEST: usize = 512;

/// The other autoscalers have not been listed yet, or not since a change of the mode or of the
/// target, so one of them may scale it.
#[derive(Debug, thiserror::Error)]
#[error(
    "HorizontalPodAutoscalers and other autoscalers could not be listed yet, and one of them may \
     scale the target"
)]
pub(crate) struct Unlisted;

/// Another autoscaler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OtherAutoscaler {
    /// The kind of the autoscaler.
    pub kind: &'static str,
    /// The namespace of the autoscaler, and of its target.
    namespace: String,
    /// The name of the autoscaler.
    pub name: String,
    target: ScaleTargetRef,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    scale_target_ref: Reference,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    api_version: Option<String>,
    kind: Option<String>,
    name: String,
}

impl OtherAutoscaler {
    /// Parses an object of one of the kinds. Returns `None` for a ScaledObject that has stopped,
    /// and if the object names no target that could exist: the API server does not limit the length
    /// of these names.
    fn parse(kind: &AutoscalerKind, object: &DynamicObject) -> Option<Self> {
        let is_scaled_object = kind.kind == "ScaledObject";
        if is_scaled_object && keda::has_stopped(object.annotations(), object.data.get("status")) {
            return None;
        }
        let Spec { scale_target_ref } = Spec::deserialize(object.data.get("spec")?).ok()?;
        let (api_version, target_kind) = kind.default_target;
        let target = ScaleTargetRef {
            api_version: or_default(scale_target_ref.api_version, api_version),
            kind: or_default(scale_target_ref.kind, target_kind),
            name: scale_target_ref.name,
            role: None,
        };
        if [&target.api_version, &target.kind, &target.name].iter().any(|it| it.len() > LONGEST) {
            return None;
        }
        Some(Self {
            kind: kind.kind,
            namespace: object.namespace()?,
            name: object.name_any(),
            target,
        })
    }

    /// Returns whether the autoscaler scales one of these objects of a namespace.
    fn scales(&self, namespace: &str, targets: &[ScaleTargetRef]) -> bool {
        self.namespace == namespace
            && targets.iter().any(|target| workloads::is_same_object(&self.target, target))
    }
}

/// Returns the default for an absent or empty field.
fn or_default(field: Option<String>, default: &str) -> String {
    field.filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

/// The autoscalers of one kind, as of its latest listing that succeeded.
#[derive(Default)]
struct Known {
    autoscalers: Vec<OtherAutoscaler>,
    /// The API server has answered.
    is_listed: bool,
    /// The error of the latest listing, if it failed.
    error: Option<String>,
}

impl Known {
    fn listed(autoscalers: Vec<OtherAutoscaler>) -> Self {
        Self { autoscalers, is_listed: true, error: None }
    }

    /// Records the error of a listing. Returns false for a repetition, which is not logged again.
    fn is_new(&mut self, error: &str) -> bool {
        let is_new = self.error.as_deref() != Some(error);
        self.error = Some(error.to_owned());
        is_new
    }
}

/// The number of a listing, counted from 1. Zero is before all listings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listing(u64);

/// What the listings have found.
#[derive(Clone, Default)]
struct Latest {
    /// The latest listing in which no kind failed.
    listing: Listing,
    /// The other autoscalers; `None` until every kind has been listed once.
    all: Option<Arc<[OtherAutoscaler]>>,
}

/// All other autoscalers of the cluster, as of the latest listing; cheap to clone.
#[derive(Clone)]
pub(crate) struct OtherAutoscalers {
    client: Client,
    /// The only namespace that the operator serves; all if absent.
    namespace: Option<String>,
    latest: watch::Sender<Latest>,
    /// The number of listings that have begun.
    begun: Arc<AtomicU64>,
    /// Asks for a listing before its time.
    asked: Arc<Notify>,
}

impl OtherAutoscalers {
    /// Creates the list, which is empty until [`watch`](Self::watch) fills it.
    pub(crate) fn new(client: Client, namespace: Option<String>) -> Self {
        let (latest, begun, asked) = (watch::Sender::default(), Arc::default(), Arc::default());
        Self { client, namespace, latest, begun, asked }
    }

    /// Asks for a listing that begins after this call, and returns it for [`find`](Self::find).
    pub(crate) fn ask(&self) -> Listing {
        let next = Listing(self.begun.load(Ordering::SeqCst) + 1);
        self.asked.notify_one();
        next
    }

    /// Lists the other autoscalers again and again, for the life of the process.
    pub(crate) async fn watch(self) {
        let mut all: [Known; AUTOSCALER_KINDS.len()] = std::array::from_fn(|_| Known::default());
        loop {
            let listing = Listing(self.begun.fetch_add(1, Ordering::SeqCst) + 1);
            let mut is_complete = true;
            for (kind, known) in AUTOSCALER_KINDS.iter().zip(&mut all) {
                is_complete &= self.list(kind, known).await;
            }
            let all_listed = all.iter().all(|known| known.is_listed);
            if all_listed {
                let autoscalers = all.iter().flat_map(|known| known.autoscalers.clone());
                let found = Some(autoscalers.collect());
                self.latest.send_modify(|latest| {
                    latest.all = found;
                    latest.listing = if is_complete { listing } else { latest.listing };
                });
            }
            let is_awaited = !is_complete && self.latest.receiver_count() > 0;
            let is_settled = all_listed && !is_awaited;
            self.wait(if is_settled { PERIOD } else { FIRST_PERIOD }).await;
        }
    }

    /// Waits for the time of the next listing, or until one is asked for.
    async fn wait(&self, period: Duration) {
        tokio::time::sleep(SHORTEST_PERIOD).await;
        // Either way the next listing is due.
        let _ = tokio::time::timeout(period.saturating_sub(SHORTEST_PERIOD), self.asked.notified())
            .await;
    }

    /// Updates what is known of one kind. While the kind cannot be listed its autoscalers are kept:
    /// one that cannot be seen may still scale its target. Returns false then, unless the operator
    /// may not list it.
    async fn list(&self, kind: &AutoscalerKind, known: &mut Known) -> bool {
        let gvk = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural);
        let api = scoped_dynamic(&self.client, self.namespace.as_deref(), &resource);
        match list(kind, api).await {
            Ok(listed) => {
                *known = Known::listed(listed);
                true
            }
            Err(error) if error.status() == Some(404) => {
                debug!(kind = kind.kind, "the kind is not installed");
                *known = Known::listed(Vec::new());
                true
            }
            Err(error) => {
                if known.is_new(&error.to_string()) {
                    warn!(
                        kind = kind.kind, %error,
                        "other autoscalers cannot be listed, so their targets are not left alone"
                    );
                }
                let is_forbidden = error.status() == Some(403);
                known.is_listed |= is_forbidden;
                is_forbidden
            }
        }
    }

    /// Returns another autoscaler that scales one of these objects of a namespace. Waits for every
    /// kind to be listed, and for the listing `since`, for at most twice the usual deadline.
    ///
    /// # Errors
    /// There is no such listing yet.
    pub(crate) async fn find(
        &self,
        namespace: &str,
        targets: &[ScaleTargetRef],
        since: Listing,
    ) -> Result<Option<OtherAutoscaler>, Unlisted> {
        let mut latest = self.latest.subscribe();
        let is_due = |latest: &Latest| latest.all.is_some() && latest.listing >= since;
        let listed = tokio::time::timeout(2 * DEADLINE, latest.wait_for(is_due)).await;
        let listed = listed.map_err(|_| Unlisted)?.map_err(|_| Unlisted)?;
        let all = listed.all.clone().ok_or(Unlisted)?;
        Ok(all.iter().find(|autoscaler| autoscaler.scales(namespace, targets)).cloned())
    }
}

/// Lists the autoscalers of one kind, page by page. Only what names their targets is kept.
async fn list(
    kind: &AutoscalerKind,
    api: Api<DynamicObject>,
) -> Result<Vec<OtherAutoscaler>, CallError> {
    let (mut pages, mut all) = (Pages::new(api, DEADLINE), Vec::new());
    while let Some(page) = pages.next().await? {
        all.extend(page.items.iter().filter_map(|object| OtherAutoscaler::parse(kind, object)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
