//! Other autoscalers of the cluster: HorizontalPodAutoscalers and ScaledObjects, listed now and then for everybody.
//!
//! Whatever they name as their target is theirs. A kind that is not installed, or that the operator may not list, stops nothing.

use std::{sync::Arc, time::Duration};

use kube::{
    Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use llm_autoscaler_api::{
    ScaleTargetRef,
    workloads::{self, AUTOSCALER_KINDS, AutoscalerKind},
};
use serde::Deserialize;
use tokio::sync::watch;
use tracing::debug;

use crate::kube_api::{DEADLINE, scoped_dynamic, within};

/// How often they are listed.
const EVERY: Duration = Duration::from_secs(30);

/// Another autoscaler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherAutoscaler {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace, and its target's.
    namespace: String,
    /// Its name.
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
    /// `None` for one that nobody could act on.
    fn of(scaler: &AutoscalerKind, object: &DynamicObject) -> Option<Self> {
        let Spec { scale_target_ref } = Spec::deserialize(object.data.get("spec")?).ok()?;
        let given = |value: Option<String>, default: &str| {
            value.filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        let (api_version, kind) = scaler.default_target;
        let target = ScaleTargetRef {
            api_version: given(scale_target_ref.api_version, api_version),
            kind: given(scale_target_ref.kind, kind),
            name: scale_target_ref.name,
            role: None,
        };
        Some(Self {
            kind: scaler.kind,
            namespace: object.namespace()?,
            name: object.name_any(),
            target,
        })
    }
}

/// Which of them scales one of these objects of a namespace.
fn find_by_target<'a>(
    drivers: &'a [OtherAutoscaler],
    namespace: &str,
    targets: &[ScaleTargetRef],
) -> Option<&'a OtherAutoscaler> {
    let names = |driver: &OtherAutoscaler| {
        targets.iter().any(|target| workloads::is_same_object(&driver.target, target))
    };
    drivers.iter().find(|driver| driver.namespace == namespace && names(driver))
}

/// All of them, as they were half a minute ago at the earliest. Cheap to clone.
#[derive(Clone)]
pub struct OtherAutoscalers {
    client: Client,
    /// The only namespace that may be looked at.
    namespace: Option<String>,
    /// `None` before the first listing.
    latest: watch::Sender<Option<Arc<[OtherAutoscaler]>>>,
}

impl OtherAutoscalers {
    /// Nothing has been listed yet.
    pub fn new(client: Client, namespace: Option<String>) -> Self {
        Self { client, namespace, latest: watch::Sender::new(None) }
    }

    /// Lists them again and again, for ever.
    pub async fn watch(self) {
        let mut known: [Vec<OtherAutoscaler>; AUTOSCALER_KINDS.len()] =
            std::array::from_fn(|_| Vec::new());
        loop {
            for (scaler, known) in AUTOSCALER_KINDS.iter().zip(&mut known) {
                self.list(scaler, known).await;
            }
            self.latest.send_replace(Some(known.concat().into()));
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Brings what is known of a kind up to date. What cannot be listed is as it was: it is not gone because nobody can see it.
    async fn list(&self, scaler: &AutoscalerKind, known: &mut Vec<OtherAutoscaler>) {
        let gvk = GroupVersionKind::gvk(scaler.group, scaler.version, scaler.kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, scaler.plural);
        let api = scoped_dynamic(&self.client, self.namespace.as_deref(), &resource);
        // Out of the API server's cache: they are looked at every half minute anyway.
        let params = ListParams::default().match_any();
        match within(DEADLINE, api.list(&params)).await {
            Ok(list) => {
                *known = list
                    .items
                    .iter()
                    .filter_map(|object| OtherAutoscaler::of(scaler, object))
                    .collect();
            }
            Err(error) if error.status() == Some(404) => {
                debug!(kind = scaler.kind, "the kind is not installed");
                known.clear();
            }
            Err(error) => debug!(kind = scaler.kind, %error, "cannot list other autoscalers"),
        }
    }

    /// Which of them scales one of these objects of a namespace. Waits for the first listing, for a while.
    pub async fn find(
        &self,
        namespace: &str,
        targets: &[ScaleTargetRef],
    ) -> Option<OtherAutoscaler> {
        let mut latest = self.latest.subscribe();
        let listed = tokio::time::timeout(2 * DEADLINE, latest.wait_for(Option::is_some)).await;
        let drivers = listed.ok()?.ok()?.clone()?;
        find_by_target(&drivers, namespace, targets).cloned()
    }
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
    fn whoever_names_a_target_drives_it() {
        let [keda, hpa] = &AUTOSCALER_KINDS;
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
        ];
        let drivers: Vec<OtherAutoscaler> = objects
            .iter()
            .filter_map(|(scaler, object)| OtherAutoscaler::of(scaler, object))
            .collect();
        let table = [
            (target("apps/v1", "StatefulSet", "a"), Some("by-keda")),
            (target("apps/v1", "StatefulSet", "b"), Some("by-hpa")),
            (target("apps/v1", "Deployment", "b"), None),
            (target("apps/v1", "StatefulSet", "c"), None),
            (target("apps/v1", "Deployment", "bare"), Some("bare")),
            (target("apps/v1", "Deployment", "empty"), Some("empty")),
        ];
        for (target, expected) in table {
            let driver = find_by_target(&drivers, "ns", std::slice::from_ref(&target));
            assert_eq!(driver.map(|driver| &*driver.name), expected, "{target:?}");
        }
        let adapter = target("apps/v1", "StatefulSet", "b");
        let both = [target("apps/v1", "Deployment", "x"), adapter];
        assert_eq!(find_by_target(&drivers, "ns", &both).map(|driver| driver.kind), Some(hpa.kind));
    }
}
