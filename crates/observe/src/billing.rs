//! The replicas of a target as the bill takes them: their identities, times and GPUs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{GpuResources, workloads::Grouping};
use llm_autoscaler_core::{
    ReplicaReason,
    bill::{BilledReplica, EndedReplica},
};

use crate::{
    pod::Pod,
    replicas::{ReplicaPods, Replicas},
};

/// A pod that has gone.
#[derive(Clone, Debug)]
pub struct DepartedPod {
    /// The pod, as it was last seen.
    pub pod: Arc<Pod>,
    /// The time at which it was gone.
    pub at: DateTime<Utc>,
}

/// The GPUs that are allocated to ResourceClaims of a namespace, by the claims' names. A claim that
/// is not known has none.
pub type ClaimedGpus = BTreeMap<String, u32>;

/// The rule that counts the GPUs of a replica.
#[derive(Clone, Copy, Debug)]
pub struct GpuCount<'a> {
    /// The number of the spec, which applies if it is there.
    pub per_replica: Option<u32>,
    /// The resources of pods that are GPUs, which are summed otherwise.
    pub resources: &'a GpuResources,
    /// The GPUs of the pods' ResourceClaims, which are added.
    pub claims: &'a ClaimedGpus,
}

impl GpuCount<'_> {
    /// Returns the GPUs of a replica's pods. A claim in `counted` is that of an earlier replica.
    fn of<'p>(self, pods: &'p [Arc<Pod>], counted: &mut BTreeSet<&'p str>) -> u32 {
        if let Some(gpus) = self.per_replica {
            return gpus;
        }
        let living = || pods.iter().filter(|pod| !pod.replica.has_ended());
        let resources = living().flat_map(|pod| pod.extended_resources.iter());
        let requested = resources.filter(|(name, _)| self.resources.has(name));
        let sum = requested.fold(0_u32, |sum, (_, count)| sum.saturating_add(*count));
        let claims = living().flat_map(|pod| &pod.claims).filter(|claim| counted.insert(claim));
        let claimed = claims.filter_map(|claim| self.claims.get(claim));
        claimed.fold(sum, |sum, count| sum.saturating_add(*count))
    }
}

/// Returns the replicas that exist. `reasons` are in the order of the list.
pub fn billed(
    replicas: &Replicas,
    reasons: &[ReplicaReason],
    gpus: GpuCount<'_>,
) -> Vec<BilledReplica> {
    let all = replicas.list.iter().zip(reasons);
    let mut counted = BTreeSet::new();
    let billed = all.filter_map(|(group, reason)| {
        let living = || group.pods.iter().filter(|pod| !pod.replica.has_ended());
        Some(BilledReplica {
            key: group.key().to_owned(),
            start: living().map(|pod| pod.start()).min()?,
            deadline: living().map(|pod| pod.lifetime.deadline).max().flatten(),
            gpus: gpus.of(&group.pods, &mut counted),
            reason: *reason,
        })
    });
    billed.collect()
}

/// Returns the replicas that have ended: those with pods that are there and have all ended, and
/// those with pods that have gone. A replica of which other pods exist is among the latter too; a
/// bill goes on with it.
pub fn ended(
    replicas: &Replicas,
    departed: &[DepartedPod],
    groupings: &[Grouping],
    gpus: GpuCount<'_>,
) -> Vec<EndedReplica> {
    let end_of = |group: &ReplicaPods, end: Option<DateTime<Utc>>| {
        Some(EndedReplica {
            key: group.key().to_owned(),
            start: group.pods.iter().map(|pod| pod.start()).min()?,
            end: end?,
            gpus: gpus.of(&group.pods, &mut BTreeSet::new()),
        })
    };
    let has_ended = |group: &&ReplicaPods| group.pods.iter().all(|pod| pod.replica.has_ended());
    let left = replicas.list.iter().filter(has_ended).filter_map(|group| {
        end_of(group, group.pods.iter().filter_map(|pod| pod.lifetime.ended).max())
    });
    if departed.is_empty() {
        return left.collect();
    }
    // Several pods of one name may have gone.
    let key = |departed: &DepartedPod| format!("{}/{}", departed.pod.name, departed.pod.uid);
    let times: BTreeMap<&str, DateTime<Utc>> = departed
        .iter()
        .map(|gone| (&*gone.pod.uid, gone.pod.lifetime.ended.unwrap_or(gone.at)))
        .collect();
    let pods = departed.iter().map(|departed| (key(departed), departed.pod.clone())).collect();
    let gone = Replicas::of(&Arc::new(pods), groupings);
    let gone = gone.list.iter().filter_map(|group| {
        end_of(group, group.pods.iter().filter_map(|pod| times.get(&*pod.uid).copied()).max())
    });
    left.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_api::workloads;
    use llm_autoscaler_core::{Phase, Replica, ReplicaReason::Needed};

    use super::*;
    use crate::pod::{Lifetime, tests::pod};

    const LWS: &str = "leaderworkerset.sigs.k8s.io";

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    /// Returns a pod of a group of two that was created at this second and requests four GPUs.
    fn member(group: u32, index: u32, second: i64) -> Pod {
        let name = format!("pd-{group}-{index}");
        let mut pod = Pod { uid: format!("{name} of {second}").into(), ..pod(&name, "pd") };
        Arc::make_mut(&mut pod.labels).insert(format!("{LWS}/group-index"), group.to_string());
        Arc::make_mut(&mut pod.labels).insert(format!("{LWS}/worker-index"), index.to_string());
        pod.extended_resources = [("amd.com/gpu".to_owned(), 4), ("rdma/hca".to_owned(), 9)].into();
        pod.created = at(second);
        pod.lifetime.seen = Some(at(second));
        pod
    }

    fn replicas(pods: &[Pod]) -> Replicas {
        let pods = pods.iter().map(|pod| (pod.name.clone(), Arc::new(pod.clone())));
        Replicas::of(&Arc::new(pods.collect()), &workloads::known_groupings())
    }

    fn gone(pod: Pod, second: i64) -> DepartedPod {
        DepartedPod { pod: Arc::new(pod), at: at(second) }
    }

    #[test]
    fn a_group_exists_from_its_first_pod_on_and_its_gpus_are_summed() {
        let resources = GpuResources::default();
        let (ending, mut ended) = (member(1, 0, 3), member(1, 1, 1));
        let lifetime = Lifetime { deadline: Some(at(40)), ..ending.lifetime };
        ended.replica = Replica { phase: Phase::Failed, ..Replica::READY };
        let all = replicas(&[
            member(0, 0, 5),
            member(0, 1, 7),
            Pod { lifetime, ..ending },
            ended,
            pod("alone", "pd"),
        ]);
        let claims = ClaimedGpus::default();
        let count = GpuCount { per_replica: None, resources: &resources, claims: &claims };
        let found = billed(&all, &[Needed; 3], count);
        let rows: Vec<_> =
            found.iter().map(|it| (&*it.key, it.start, it.gpus, it.deadline)).collect();
        let group = |index: u32| format!("{LWS}/group-index={index}");
        let alone = pod("alone", "pd");
        assert_eq!(
            rows,
            [
                ("alone", alone.start(), 0, None),
                (&group(0), at(5), 8, None),
                (&group(1), at(3), 4, Some(at(40))),
            ]
        );
        let count = GpuCount { per_replica: Some(1), ..count };
        assert!(billed(&all, &[Needed; 3], count).iter().all(|it| it.gpus == 1));
    }

    #[test]
    fn the_gpus_of_a_claim_are_those_of_one_replica() {
        let named = |name: &str, claims: &[&str]| Pod {
            claims: claims.iter().map(|claim| (*claim).to_owned()).collect(),
            extended_resources: [("nvidia.com/gpu".to_owned(), 1)].into(),
            ..pod(name, "pd")
        };
        let all = replicas(&[
            named("a", &["a-own", "shared"]),
            named("b", &["b-own", "shared"]),
            named("c", &["unknown"]),
        ]);
        let resources = GpuResources::default();
        let claims = [("a-own", 4), ("b-own", 8), ("shared", 2)];
        let claims: ClaimedGpus = claims.map(|(name, gpus)| (name.to_owned(), gpus)).into();
        let gpus = |per_replica| {
            let count = GpuCount { per_replica, resources: &resources, claims: &claims };
            let billed = billed(&all, &[Needed; 3], count);
            billed.iter().map(|it| it.gpus).collect::<Vec<_>>()
        };
        assert_eq!(gpus(None), [1 + 4 + 2, 1 + 8, 1]);
        assert_eq!(gpus(Some(3)), [3, 3, 3]);
    }

    #[test]
    fn a_replica_has_ended_with_its_last_pod() {
        let resources = GpuResources::default();
        let claims = ClaimedGpus::default();
        let count = GpuCount { per_replica: None, resources: &resources, claims: &claims };
        let mut failed = Pod { uid: "f".into(), ..pod("f", "pd") };
        failed.replica = Replica { phase: Phase::Failed, ..Replica::READY };
        failed.lifetime.ended = Some(at(9));
        let all = replicas(&[failed.clone()]);
        assert!(billed(&all, &[Needed], count).is_empty());
        let departed = [
            gone(member(0, 0, 5), 20),
            gone(member(0, 1, 6), 22),
            // The same name, once more.
            gone(Pod { uid: "x".into(), ..pod("a", "pd") }, 30),
            gone(Pod { uid: "y".into(), ..pod("a", "pd") }, 31),
        ];
        let groupings = workloads::known_groupings();
        let mut ends: Vec<_> = ended(&all, &departed, &groupings, count)
            .into_iter()
            .map(|ended| (ended.key, ended.end, ended.gpus))
            .collect();
        ends.sort();
        let group = format!("{LWS}/group-index=0");
        let expected = [("f", 9, 0), (&*group, 22, 8), ("x", 30, 0), ("y", 31, 0)];
        assert_eq!(ends, expected.map(|(key, end, gpus)| (key.to_owned(), at(end), gpus)));
    }
}
