//! Other autoscalers of the cluster: HorizontalPodAutoscalers, ScaledObjects and PodAutoscalers.
//!
//! A target that one of them names is left alone. They are listed every 30 s, once for all
//! LLMAutoscalers. A kind that is not installed is no obstacle. Neither is one that the operator
//! may not list, which is logged.

use std::{sync::Arc, time::Duration};

use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use llm_autoscaler_api::{
    ScaleTargetRef,
    workloads::{self, AUTOSCALER_KINDS, AutoscalerKind, keda},
};
use serde::Deserialize;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::kube_api::{CallError, DEADLINE, pages::Pages, scoped_dynamic};

/// The time between two listings.
const PERIOD: Duration = Duration::from_secs(30);
/// The time between two listings until every kind has been listed once.
const FIRST_PERIOD: Duration = Duration::from_secs(2);

/// The longest name, kind or `apiVersion` of an object that exists, in bytes, and more.
const LONGEST: usize = 512;

/// The other autoscalers have not been listed yet, so one of them may scale the target.
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

/// All other autoscalers of the cluster, as of the latest listing; cheap to clone.
#[derive(Clone)]
pub(crate) struct OtherAutoscalers {
    client: Client,
    /// The only namespace that the operator serves; all if absent.
    namespace: Option<String>,
    /// The latest listing; `None` before the first one.
    latest: watch::Sender<Option<Arc<[OtherAutoscaler]>>>,
}

impl OtherAutoscalers {
    /// Creates the list, which is empty until [`watch`](Self::watch) fills it.
    pub(crate) fn new(client: Client, namespace: Option<String>) -> Self {
        Self { client, namespace, latest: watch::Sender::new(None) }
    }

    /// Lists the other autoscalers again and again, for the life of the process.
    pub(crate) async fn watch(self) {
        let mut all: [Known; AUTOSCALER_KINDS.len()] = std::array::from_fn(|_| Known::default());
        loop {
            for (kind, known) in AUTOSCALER_KINDS.iter().zip(&mut all) {
                self.list(kind, known).await;
            }
            let all_listed = all.iter().all(|known| known.is_listed);
            if all_listed {
                let autoscalers = all.iter().flat_map(|known| known.autoscalers.clone());
                self.latest.send_replace(Some(autoscalers.collect()));
            }
            tokio::time::sleep(if all_listed { PERIOD } else { FIRST_PERIOD }).await;
        }
    }

    /// Updates what is known of one kind. While the kind cannot be listed its autoscalers are kept:
    /// one that cannot be seen may still scale its target.
    async fn list(&self, kind: &AutoscalerKind, known: &mut Known) {
        let gvk = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural);
        let api = scoped_dynamic(&self.client, self.namespace.as_deref(), &resource);
        match list(kind, api).await {
            Ok(listed) => {
                *known = Known::listed(listed);
            }
            Err(error) if error.status() == Some(404) => {
                debug!(kind = kind.kind, "the kind is not installed");
                *known = Known::listed(Vec::new());
            }
            Err(error) => {
                if known.is_new(&error.to_string()) {
                    warn!(
                        kind = kind.kind, %error,
                        "other autoscalers cannot be listed, so their targets are not left alone"
                    );
                }
                known.is_listed |= error.status() == Some(403);
            }
        }
    }

    /// Returns another autoscaler that scales one of these objects of a namespace. Waits for the
    /// first listing, for at most twice the usual deadline.
    ///
    /// # Errors
    /// There is no first listing yet.
    pub(crate) async fn find(
        &self,
        namespace: &str,
        targets: &[ScaleTargetRef],
    ) -> Result<Option<OtherAutoscaler>, Unlisted> {
        let mut latest = self.latest.subscribe();
        let listed = tokio::time::timeout(2 * DEADLINE, latest.wait_for(Option::is_some)).await;
        let listed = listed.map_err(|_| Unlisted)?.map_err(|_| Unlisted)?;
        let all = listed.clone().ok_or(Unlisted)?;
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
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(namespace: &str, name: &str, reference: &Value) -> DynamicObject {
        let object = json!({
            "apiVersion": "x/v1", "kind": "X", "metadata": {"namespace": namespace, "name": name},
            "spec": {"scaleTargetRef": reference},
        });
        serde_json::from_value(object).unwrap()
    }

    fn target(api_version: &str, kind: &str, name: &str) -> ScaleTargetRef {
        ScaleTargetRef {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            role: None,
        }
    }

    #[test]
    fn an_error_of_a_listing_is_logged_once() {
        let mut known = Known::default();
        let found = ["403", "403", "500", "403"].map(|error| known.is_new(error));
        assert_eq!(found, [true, false, true, true]);
        known = Known::listed(Vec::new());
        assert!(known.is_new("403"), "it was listed in between");
    }

    #[test]
    fn a_scaled_object_that_has_stopped_scales_nothing() {
        let [scaled_object, _, hpa] = &AUTOSCALER_KINDS;
        let mut paused = object("ns", "so", &json!({"name": "a"}));
        paused.annotations_mut().insert(keda::PAUSED.to_owned(), "true".to_owned());
        assert!(OtherAutoscaler::parse(scaled_object, &paused).is_some(), "KEDA has not acted yet");
        paused.data["status"] = json!({"conditions": [{"type": "Paused", "status": "True"}]});
        assert!(OtherAutoscaler::parse(scaled_object, &paused).is_none());
        assert!(OtherAutoscaler::parse(hpa, &paused).is_some(), "it is no ScaledObject");
    }

    #[test]
    fn an_autoscaler_scales_the_target_that_it_names() {
        let [keda, _, hpa] = &AUTOSCALER_KINDS;
        let full =
            |name: &str| json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name});
        let objects = [
            (keda, object("ns", "bare", &json!({"name": "bare"}))),
            (keda, object("ns", "empty", &json!({"apiVersion": "", "kind": "", "name": "empty"}))),
            (keda, object("ns", "by-keda", &full("a"))),
            (hpa, object("ns", "keda-hpa-by-keda", &full("a"))),
            (hpa, object("ns", "by-hpa", &full("b"))),
            (hpa, object("ns", "nothing", &json!({}))),
            (hpa, object("elsewhere", "by-hpa", &full("c"))),
            (hpa, object("ns", "large", &full(&"x".repeat(1 << 20)))),
        ];
        let all: Vec<OtherAutoscaler> = objects
            .iter()
            .filter_map(|(kind, object)| OtherAutoscaler::parse(kind, object))
            .collect();
        assert!(all.iter().all(|autoscaler| autoscaler.name != "large"), "it is not kept");
        let find = |targets: &[ScaleTargetRef]| {
            all.iter().find(|autoscaler| autoscaler.scales("ns", targets))
        };
        // target; the autoscaler that scales it
        let table = [
            (target("apps/v1", "StatefulSet", "a"), Some("by-keda")),
            (target("apps/v1", "StatefulSet", "b"), Some("by-hpa")),
            (target("apps/v1", "Deployment", "b"), None),
            (target("apps/v1", "StatefulSet", "c"), None),
            (target("apps/v1", "Deployment", "bare"), Some("bare")),
            (target("apps/v1", "Deployment", "empty"), Some("empty")),
        ];
        for (target, expected) in table {
            let found = find(std::slice::from_ref(&target));
            assert_eq!(found.map(|found| &*found.name), expected, "{target:?}");
        }
        let adapter = target("apps/v1", "StatefulSet", "b");
        let both = [target("apps/v1", "Deployment", "x"), adapter];
        assert_eq!(find(&both).map(|found| found.kind), Some(hpa.kind));
    }
}
