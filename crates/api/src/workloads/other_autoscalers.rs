//! Other objects that drive the size of a target, as data: other autoscalers, and kinds of owners.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::{DISAGGREGATED_GROUP, ROLE_SCALER};
use crate::spec::ScaleTargetRef;

/// A kind of autoscaler. Its objects name the object that they scale in `spec.scaleTargetRef`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoscalerKind {
    /// The API group.
    pub group: &'static str,
    /// The version that is listed.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// The plural, as in the paths of the API.
    pub plural: &'static str,
    /// The `apiVersion` and `kind` of the target where the reference leaves them out.
    pub default_target: (&'static str, &'static str),
}

/// The kinds of other autoscalers. KEDA's comes first: it creates an HPA of its own for each
/// ScaledObject, and a message should name what the user has created.
pub const AUTOSCALER_KINDS: [AutoscalerKind; 3] = [
    AutoscalerKind {
        group: "keda.sh",
        version: "v1alpha1",
        kind: "ScaledObject",
        plural: "scaledobjects",
        default_target: ("apps/v1", "Deployment"),
    },
    // AIBrix's may create an HPA too.
    AutoscalerKind {
        group: "autoscaling.aibrix.ai",
        version: "v1alpha1",
        kind: "PodAutoscaler",
        plural: "podautoscalers",
        default_target: ("", ""),
    },
    AutoscalerKind {
        group: "autoscaling",
        version: "v2",
        kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers",
        default_target: ("", ""),
    },
];

/// A kind of owner that undoes every change of the size of the objects it owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalingOwner {
    group: &'static str,
    kind: &'static str,
    /// The only kind of object that it drives; all kinds if `None`.
    of: Option<&'static str>,
    /// Names the object to scale instead; `NAME` stands for the owner's name.
    pub instead: &'static str,
}

/// The kinds of owners that drive a size.
const SCALING_OWNERS: [ScalingOwner; 8] = [
    ScalingOwner {
        group: "apps",
        kind: "Deployment",
        of: Some("ReplicaSet"),
        instead: "the Deployment NAME",
    },
    ScalingOwner {
        group: "leaderworkerset.x-k8s.io",
        kind: "LeaderWorkerSet",
        of: Some("StatefulSet"),
        instead: "the LeaderWorkerSet NAME",
    },
    // The leader pod of a LeaderWorkerSet's group owns the StatefulSet of the group's workers.
    ScalingOwner {
        group: "",
        kind: "Pod",
        of: Some("StatefulSet"),
        instead: "the LeaderWorkerSet of the pod NAME",
    },
    // The name of such a LeaderWorkerSet has a revision in it, so a rollout ends it.
    ScalingOwner {
        group: DISAGGREGATED_GROUP,
        kind: "DisaggregatedSet",
        of: Some("LeaderWorkerSet"),
        instead: "the DisaggregatedSetRoleScaler NAME-ROLE (LeaderWorkerSet v0.10, for a role with \
                  scaling.mode External)",
    },
    ScalingOwner {
        group: "workloads.x-k8s.io",
        kind: "RoleBasedGroup",
        of: None,
        instead: "its role: kind RoleBasedGroup, name NAME, and the role",
    },
    ScalingOwner {
        group: "workloads.x-k8s.io",
        kind: "RoleBasedGroupSet",
        of: None,
        instead: "a role of a group that is in no set",
    },
    ScalingOwner {
        group: "workloads.x-k8s.io",
        kind: "RoleInstanceSet",
        of: None,
        instead: "the RoleInstanceSet NAME, or where a RoleBasedGroup owns that, its role",
    },
    ScalingOwner {
        group: "grove.io",
        kind: "PodCliqueScalingGroup",
        of: Some("PodClique"),
        instead: "the PodCliqueScalingGroup NAME",
    },
];

/// The kinds of owners that leave a size to autoscalers: group, kind, and the kind of the object.
const LEAVING_OWNERS: [(&str, &str, &str); 4] = [
    ("nvidia.com", "DynamoGraphDeployment", "DynamoGraphDeploymentScalingAdapter"),
    (DISAGGREGATED_GROUP, "DisaggregatedSet", ROLE_SCALER),
    ("grove.io", "PodCliqueSet", "PodClique"),
    ("grove.io", "PodCliqueSet", "PodCliqueScalingGroup"),
];

/// Finds the controller that owns an object of this kind, if nothing is known of the controller:
/// it may drive the size, or leave it to autoscalers.
pub fn unknown_controller<'a>(
    kind: &str,
    owners: &'a [OwnerReference],
) -> Option<&'a OwnerReference> {
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    let drives = SCALING_OWNERS.iter().any(|known| known.matches(kind, owner));
    let leaves = LEAVING_OWNERS.contains(&(group(&owner.api_version), owner.kind.as_str(), kind));
    (!drives && !leaves).then_some(owner)
}

/// Finds the owner that drives the size of an object of this kind, if there is one.
pub fn scaling_owner<'a>(
    kind: &str,
    owners: &'a [OwnerReference],
) -> Option<(&'a OwnerReference, &'static ScalingOwner)> {
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    let known = SCALING_OWNERS.iter().find(|known| known.matches(kind, owner))?;
    Some((owner, known))
}

impl ScalingOwner {
    fn matches(&self, kind: &str, owner: &OwnerReference) -> bool {
        self.group == group(&owner.api_version)
            && self.kind == owner.kind
            && self.of.is_none_or(|of| of == kind)
    }
}

/// Returns whether two references name the same object. The versions of a group are views of one
/// object, so they are not compared.
pub fn is_same_object(one: &ScaleTargetRef, other: &ScaleTargetRef) -> bool {
    group(&one.api_version) == group(&other.api_version)
        && one.kind == other.kind
        && one.name == other.name
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(api_version: &str, kind: &str, controller: bool) -> OwnerReference {
        OwnerReference {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: "o".to_owned(),
            controller: Some(controller),
            ..OwnerReference::default()
        }
    }

    #[test]
    fn some_owners_drive_the_size() {
        let table = [
            ("StatefulSet", owner("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", true), true),
            ("StatefulSet", owner("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", false), false),
            ("Deployment", owner("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", true), false),
            ("StatefulSet", owner("v1", "Pod", true), true),
            ("StatefulSet", owner("workloads.x-k8s.io/v1alpha2", "RoleBasedGroup", true), true),
            ("RoleInstanceSet", owner("workloads.x-k8s.io/v1alpha2", "RoleBasedGroup", true), true),
            ("LeaderWorkerSet", owner("workloads.x-k8s.io/v1alpha1", "RoleBasedGroup", true), true),
            ("StatefulSet", owner("workloads.x-k8s.io/v1alpha2", "RoleInstanceSet", true), true),
            (
                "RoleBasedGroup",
                owner("workloads.x-k8s.io/v1alpha2", "RoleBasedGroupSet", true),
                true,
            ),
            (
                "LeaderWorkerSet",
                owner("disaggregatedset.x-k8s.io/v1", "DisaggregatedSet", true),
                true,
            ),
            (ROLE_SCALER, owner("disaggregatedset.x-k8s.io/v1", "DisaggregatedSet", true), false),
            ("PodClique", owner("grove.io/v1alpha1", "PodCliqueScalingGroup", true), true),
            ("PodClique", owner("grove.io/v1alpha1", "PodCliqueSet", true), false),
            (ROLE_SCALER, owner("disaggregatedset.x-k8s.io/v1", "DisaggregatedSet", true), false),
            ("ReplicaSet", owner("apps/v1", "Deployment", true), true),
            ("Deployment", owner("serving.example.com/v1", "ModelService", true), false),
            ("StatefulSet", owner("example.com/v1", "RoleBasedGroup", true), false),
        ];
        for (kind, owner, expected) in table {
            let owners = [owner];
            assert_eq!(scaling_owner(kind, &owners).is_some(), expected, "{kind} of {owners:?}");
        }
    }

    #[test]
    fn a_controller_of_another_kind_is_unknown() {
        let adapter = "DynamoGraphDeploymentScalingAdapter";
        let graph = |kind| owner("nvidia.com/v1beta1", kind, true);
        let table = [
            ("Deployment", owner("serving.example.com/v1", "ModelService", true), true),
            ("Deployment", owner("serving.example.com/v1", "ModelService", false), false),
            ("Deployment", graph("DynamoComponentDeployment"), true),
            (adapter, graph("DynamoGraphDeployment"), false),
            ("StatefulSet", graph("DynamoGraphDeployment"), true),
            ("PodClique", owner("grove.io/v1alpha1", "PodCliqueSet", true), false),
            ("ReplicaSet", owner("apps/v1", "Deployment", true), false),
            ("StatefulSet", owner("apps/v1", "Deployment", true), true),
        ];
        for (kind, owner, expected) in table {
            let owners = [owner];
            let found = unknown_controller(kind, &owners);
            assert_eq!(found.is_some(), expected, "{kind} of {owners:?}");
        }
    }

    #[test]
    fn versions_are_views_of_one_object() {
        let reference = |api_version: &str, kind: &str| ScaleTargetRef {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: "a".to_owned(),
            role: None,
        };
        let deployment = reference("apps/v1", "Deployment");
        assert!(is_same_object(&deployment, &reference("apps/v1beta1", "Deployment")));
        assert!(!is_same_object(&deployment, &reference("apps/v1", "StatefulSet")));
        assert!(!is_same_object(&deployment, &reference("v1", "Deployment")));
    }
}
