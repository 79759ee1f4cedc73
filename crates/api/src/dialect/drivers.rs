//! Who else drives the size of a target, as data: other autoscalers, and kinds of owners.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::ScaleTargetRef;

/// A kind of object that scales another one, which it names in `spec.scaleTargetRef`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaler {
    /// Its API group.
    pub group: &'static str,
    /// The version that is read.
    pub version: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// Its plural, as in paths.
    pub plural: &'static str,
    /// The `apiVersion` and `kind` of the target where the reference leaves them out.
    pub default_target: (&'static str, &'static str),
}

/// The kinds that scale others. KEDA's comes first: the HPA that it makes is its own, and of no use to name.
pub const SCALERS: [Scaler; 2] = [
    Scaler {
        group: "keda.sh",
        version: "v1alpha1",
        kind: "ScaledObject",
        plural: "scaledobjects",
        default_target: ("apps/v1", "Deployment"),
    },
    Scaler {
        group: "autoscaling",
        version: "v2",
        kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers",
        default_target: ("", ""),
    },
];

/// A kind of owner that undoes whatever is written to the size of what it owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    group: &'static str,
    kind: &'static str,
    /// The only kind whose size it drives; all if absent.
    of: Option<&'static str>,
    /// What to scale instead; `NAME` stands for the owner's name.
    pub instead: &'static str,
}

/// Owners that are not here, such as the resource of a model server, leave the size to others.
const PARENTS: [Parent; 7] = [
    Parent {
        group: "apps",
        kind: "Deployment",
        of: Some("ReplicaSet"),
        instead: "the Deployment NAME",
    },
    Parent {
        group: "leaderworkerset.x-k8s.io",
        kind: "LeaderWorkerSet",
        of: Some("StatefulSet"),
        instead: "the LeaderWorkerSet NAME",
    },
    // The workers of one group of a LeaderWorkerSet belong to its leader.
    Parent {
        group: "",
        kind: "Pod",
        of: Some("StatefulSet"),
        instead: "the LeaderWorkerSet of the pod NAME",
    },
    Parent {
        group: "workloads.x-k8s.io",
        kind: "RoleBasedGroup",
        of: None,
        instead: "its role: kind RoleBasedGroup, name NAME, and the role",
    },
    Parent {
        group: "workloads.x-k8s.io",
        kind: "RoleBasedGroupSet",
        of: None,
        instead: "the RoleBasedGroupSet NAME",
    },
    Parent {
        group: "workloads.x-k8s.io",
        kind: "RoleInstanceSet",
        of: None,
        instead: "the RoleInstanceSet NAME, or where a RoleBasedGroup owns that, its role",
    },
    Parent {
        group: "grove.io",
        kind: "PodCliqueScalingGroup",
        of: Some("PodClique"),
        instead: "the PodCliqueScalingGroup NAME",
    },
];

/// The owner that drives the size of an object of this kind, if one does.
pub fn parent<'a>(
    kind: &str,
    owners: &'a [OwnerReference],
) -> Option<(&'a OwnerReference, &'static Parent)> {
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    let is_it = |parent: &&Parent| {
        parent.group == group(&owner.api_version)
            && parent.kind == owner.kind
            && parent.of.is_none_or(|of| of == kind)
    };
    Some((owner, PARENTS.iter().find(is_it)?))
}

/// Whether two references name the same object; versions of a group are views of one object.
pub fn is_same(one: &ScaleTargetRef, other: &ScaleTargetRef) -> bool {
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
            ("PodClique", owner("grove.io/v1alpha1", "PodCliqueScalingGroup", true), true),
            ("PodClique", owner("grove.io/v1alpha1", "PodCliqueSet", true), false),
            ("ReplicaSet", owner("apps/v1", "Deployment", true), true),
            ("Deployment", owner("serving.example.com/v1", "ModelService", true), false),
            ("StatefulSet", owner("example.com/v1", "RoleBasedGroup", true), false),
        ];
        for (kind, owner, expected) in table {
            let owners = [owner];
            assert_eq!(parent(kind, &owners).is_some(), expected, "{kind} of {owners:?}");
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
        assert!(is_same(&deployment, &reference("apps/v1beta1", "Deployment")));
        assert!(!is_same(&deployment, &reference("apps/v1", "StatefulSet")));
        assert!(!is_same(&deployment, &reference("v1", "Deployment")));
    }
}
