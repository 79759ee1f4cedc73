//! The `ownerReferences` of a target: an owner may be a controller that sets the target's size. Its
//! `managedFields` are read with them: a tool may be the only owner of the size.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use llm_autoscaler_api::{
    ScaleTargetRef,
    workloads::{self, ScalingOwner},
};
use llm_autoscaler_core::Monotonic;

use crate::{
    ownership::{adoption, authors, refusal::Refusal, size_change::SizeChange},
    scale::{
        client::ScaleClient,
        metadata,
        view::{ScaleLocation, ScaleView},
    },
};

/// The age at which owners are read again. An object seldom gets an owner after its creation.
const MAX_AGE: Duration = Duration::from_mins(1);

/// The owners of one target, as they were last read.
#[derive(Default)]
pub(crate) struct OwnerReferences {
    latest: Option<Reading>,
    /// The owner of an unknown kind that has undone what was written, and its latest change.
    undoing: Option<Box<(OwnerReference, SizeChange)>>,
}

struct Reading {
    /// The UID of the target.
    uid: String,
    /// The version of the object, if its metadata could be read.
    version: Option<String>,
    at: Monotonic,
    owner: Option<Box<Controller>>,
    /// The manager that could remove the size by its next manifest.
    endangering: Option<String>,
}

/// The controller that owns a target, unless it is known to leave the size to others.
#[derive(Clone, Debug, PartialEq)]
enum Controller {
    /// It is known to drive the size.
    Driving(OwnerReference, &'static ScalingOwner),
    /// Nothing is known of its kind.
    Unknown(OwnerReference),
}

impl OwnerReferences {
    /// Returns why the target is left to its owner, if it is. An answer is kept for a minute, or
    /// for as long as the object is known to be as it was.
    pub(crate) async fn refusal(
        &mut self,
        client: &ScaleClient,
        namespace: &str,
        target: &ScaleTargetRef,
        view: &ScaleView,
        now: Monotonic,
    ) -> Option<Refusal> {
        let is_current = |reading: &Reading| {
            let version = reading.version.as_deref();
            client.is_current(namespace, target, &view.location, version)
        };
        let is_valid = |reading: &Reading| {
            reading.uid == view.uid && (now.since(reading.at) < MAX_AGE || is_current(reading))
        };
        if !self.latest.as_ref().is_some_and(is_valid) {
            self.latest = Some(read_owners(client, namespace, target, view, now).await);
        }
        self.refusal_by_owner()
    }

    /// Returns why the target is left to its owner, by what was last read.
    fn refusal_by_owner(&self) -> Option<Refusal> {
        match self.latest.as_ref()?.owner.as_deref()? {
            Controller::Driving(owner, kind) => Some(Refusal::Owner { owner: owner.clone(), kind }),
            Controller::Unknown(owner) => {
                let (undoing, change) = self.undoing.as_deref()?;
                let is_undoing = undoing.uid == owner.uid;
                is_undoing
                    .then(|| Refusal::UndoingOwner { owner: owner.clone(), change: change.clone() })
            }
        }
    }

    /// Returns the controller that owns the target and of which nothing is known.
    pub(crate) fn unknown(&self) -> Option<&OwnerReference> {
        match self.latest.as_ref()?.owner.as_deref()? {
            Controller::Unknown(owner) => Some(owner),
            Controller::Driving(..) => None,
        }
    }

    /// Returns the manager that could remove the size by its next manifest, once for each reading
    /// of the target.
    pub(crate) fn take_endangering(&mut self) -> Option<String> {
        let latest = self.latest.as_mut()?;
        let endangering = latest.endangering.take();
        if endangering.is_some() {
            // An adoption that fails is tried again, though nothing has changed.
            latest.version = None;
        }
        endangering
    }

    /// Records a change in a contest. Returns why the target is left to its owner from now on, if
    /// it has one of an unknown kind that may have made the change. People and tools that apply
    /// manifests are no owners.
    pub(crate) fn record_contest(&mut self, change: &SizeChange) -> Option<Refusal> {
        let owner = self.unknown()?.clone();
        if change.by.as_deref().is_some_and(authors::is_deployment_tool) {
            return None;
        }
        self.undoing = Some(Box::new((owner, change.clone())));
        self.refusal_by_owner()
    }

    /// Has a target tried again that is left to an owner of an unknown kind.
    pub(crate) fn forget_contest(&mut self) {
        self.undoing = None;
    }
}

/// Finds the controller that owns the target, and the manager that could remove its size by the
/// next manifest. Metadata that cannot be read is no obstacle.
async fn read_owners(
    client: &ScaleClient,
    namespace: &str,
    target: &ScaleTargetRef,
    view: &ScaleView,
    now: Monotonic,
) -> Reading {
    let (uid, at) = (view.uid.clone(), now);
    let unowned = Reading { uid, version: None, at, owner: None, endangering: None };
    // The group owns the adapter of a role, and leaves the size to it.
    if matches!(view.location, ScaleLocation::Adapter(_)) {
        return unowned;
    }
    if client.is_plain(namespace, target, view).await {
        return Reading { version: view.resource_version.clone(), ..unowned };
    }
    let metadata = match client.get_metadata(namespace, target, view).await {
        Ok(metadata) => metadata,
        Err(error) => {
            client.log_refusal(namespace, &target.name, &error);
            return unowned;
        }
    };
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let has_controller = owners.iter().any(|owner| owner.controller == Some(true));
    let endangering = match view.location {
        ScaleLocation::Subresource => metadata::size_owners(&metadata),
        ScaleLocation::Adapter(_) | ScaleLocation::Role(_) => Vec::new(),
    };
    Reading {
        owner: controller(&target.kind, owners).map(Box::new),
        endangering: adoption::endangering(&endangering, has_controller).map(str::to_owned),
        version: metadata.resource_version,
        ..unowned
    }
}

/// Returns whether nothing of an object's metadata matters to its autoscaler: it has no owner, and
/// no tool could remove its size.
pub(crate) fn is_plain(metadata: &ObjectMeta) -> bool {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.is_empty() && adoption::endangering(&metadata::size_owners(metadata), false).is_none()
}

/// Finds the controller among the owners of an object of this kind.
fn controller(kind: &str, owners: &[OwnerReference]) -> Option<Controller> {
    let driving = workloads::scaling_owner(kind, owners);
    let driving = driving.map(|(owner, kind)| Controller::Driving(owner.clone(), kind));
    let unknown = || workloads::unknown_controller(kind, owners).cloned();
    driving.or_else(|| unknown().map(Controller::Unknown))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;

    use super::*;

    fn owner(api_version: &str, kind: &str, uid: &str) -> OwnerReference {
        OwnerReference {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: "o".to_owned(),
            uid: uid.to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        }
    }

    fn owned_by(owner: OwnerReference) -> OwnerReferences {
        let owner = controller("StatefulSet", &[owner]);
        let (uid, at) = ("t".to_owned(), Monotonic::default());
        let owner = owner.map(Box::new);
        let latest = Some(Reading { uid, version: None, at, owner, endangering: None });
        OwnerReferences { latest, undoing: None }
    }

    fn change(by: Option<&str>) -> SizeChange {
        SizeChange { from: 5, to: 2, by: by.map(str::to_owned), at: DateTime::UNIX_EPOCH }
    }

    #[test]
    fn metadata_is_plain_without_owners_and_without_a_tool_that_could_remove_the_size() {
        let of = |manager: &str, operation: &str, field: &str| {
            json!({"managedFields": [{
                "manager": manager, "operation": operation, "fieldsV1": {"f:spec": {field: {}}},
            }]})
        };
        let owned = json!({"ownerReferences": [owner("apps/v1", "ReplicaSet", "u")]});
        // metadata; whether nothing of it has to be read
        let table = [
            (json!({}), true),
            (owned, false),
            (of("helm", "Update", "f:replicas"), false),
            (of("ci", "Apply", "f:replicas"), false),
            (of("ci", "Update", "f:replicas"), true),
            (of("helm", "Update", "f:template"), true),
        ];
        for (metadata, expected) in table {
            let metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();
            assert_eq!(is_plain(&metadata), expected, "{metadata:?}");
        }
    }

    #[test]
    fn an_owner_of_an_unknown_kind_is_no_obstacle_until_it_undoes_what_is_written() {
        let model = || owner("serving.example.com/v1", "ModelService", "1");
        // the writer in a contest; whether the target is left to its owner
        let table = [
            (Some("model-operator"), true),
            (None, true),
            (Some("kubectl-scale"), false),
            (Some("helm"), false),
            (Some("argocd-controller"), false),
        ];
        for (by, expected) in table {
            let mut owners = owned_by(model());
            assert_eq!(owners.refusal_by_owner(), None);
            assert!(owners.unknown().is_some());
            let refused = owners.record_contest(&change(by));
            assert_eq!(refused.is_some(), expected, "{by:?}");
            assert_eq!(owners.refusal_by_owner(), refused);
            owners.forget_contest();
            assert_eq!(owners.refusal_by_owner(), None);
        }
        // Another owner has undone nothing so far.
        let mut owners = owned_by(model());
        owners.record_contest(&change(Some("model-operator")));
        owners.latest = owned_by(owner("serving.example.com/v1", "ModelService", "2")).latest;
        assert_eq!(owners.refusal_by_owner(), None);
    }

    #[test]
    fn an_owner_that_is_known_to_drive_the_size_is_refused_at_once() {
        let mut owners = owned_by(owner("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "1"));
        assert!(matches!(owners.refusal_by_owner(), Some(Refusal::Owner { .. })));
        assert_eq!(owners.unknown(), None);
        assert_eq!(owners.record_contest(&change(None)), None);
    }
}
