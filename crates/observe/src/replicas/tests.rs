//! Pods as replicas.

use llm_autoscaler_api::workloads::{self, GroupSize, ReportingPods};

use super::*;
use crate::pod::{Trouble, tests::pod};

const LWS: &str = "leaderworkerset.sigs.k8s.io";

/// Returns a pod of a group of two, by its group, its place in the group and its state.
fn member(group: u32, index: u32, replica: Replica) -> (String, Arc<Pod>) {
    let name = format!("pd-{group}-{index}");
    let mut pod = Pod { replica, ..pod(&name, "pd") };
    Arc::make_mut(&mut pod.labels).insert(format!("{LWS}/group-index"), group.to_string());
    Arc::make_mut(&mut pod.labels).insert(format!("{LWS}/worker-index"), index.to_string());
    pod.annotations.insert(format!("{LWS}/size"), "2".to_owned());
    (name, Arc::new(pod))
}

fn replicas(pods: impl IntoIterator<Item = (String, Arc<Pod>)>) -> Replicas {
    Replicas::of(&Arc::new(pods.into_iter().collect()), &workloads::known_groupings())
}

#[test]
fn a_pod_by_itself_is_a_replica() {
    let pods = ["a-0", "a-1"].map(|name| (name.to_owned(), Arc::new(pod(name, "a"))));
    let members: Members = Arc::new(pods.into_iter().collect());
    let replicas = Replicas::of(&members, &workloads::known_groupings());
    assert_eq!(replicas.list.len(), 2);
    assert!(Arc::ptr_eq(&replicas.reporting_pods, &members), "nothing is copied");
    assert_eq!(replicas.replica_of_reporting_pod, [0, 1]);
}

#[test]
fn the_leader_reports_for_its_group() {
    let all = [(0, 0), (0, 1), (1, 0), (1, 1)];
    let replicas = replicas(all.map(|(group, index)| member(group, index, Replica::READY)));
    assert_eq!(replicas.list.iter().map(|group| group.pods.len()).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(replicas.reporting_pods.keys().collect::<Vec<_>>(), ["pd-0-0", "pd-1-0"]);
    assert_eq!(replicas.replica_of_reporting_pod, [0, 1]);
    assert_eq!(replicas.alive(), 2);
}

#[test]
fn groups_of_several_sets_differ_by_their_keys() {
    let of_set = |set: &str, index| {
        let (name, pod) = member(0, index, Replica::READY);
        let mut pod = Pod::clone(&pod);
        Arc::make_mut(&mut pod.labels)
            .insert(format!("{LWS}/group-key"), format!("key of {set}-0"));
        (format!("{set}-{name}"), Arc::new(pod))
    };
    let replicas = replicas([of_set("a", 0), of_set("a", 1), of_set("b", 0), of_set("b", 1)]);
    assert_eq!(replicas.list.iter().map(|group| group.pods.len()).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(replicas.alive(), 2);
}

#[test]
fn a_group_is_as_ready_as_its_least_ready_pod() {
    const READY: Replica = Replica::READY;
    const LOADING: Replica = Replica { ready: false, ..READY };
    const DELETING: Replica = Replica { deleting: true, ..READY };
    const FAILED: Replica = Replica { phase: Phase::Failed, ..LOADING };
    let table = [
        (vec![READY, READY], READY),
        (vec![READY, LOADING], LOADING),
        (vec![READY, Replica::PENDING], Replica::PENDING),
        // The worker has not been created yet.
        (vec![READY], Replica::PENDING),
        (vec![READY, DELETING], Replica { ready: false, ..DELETING }),
        (vec![READY, FAILED], Replica::PENDING),
        (vec![FAILED, FAILED], FAILED),
    ];
    for (pods, expected) in table {
        let pods = pods.iter().zip(0..).map(|(replica, index)| member(0, index, *replica));
        assert_eq!(
            replicas(pods.clone()).list[0].state(),
            expected,
            "{:?}",
            pods.collect::<Vec<_>>()
        );
    }
}

#[test]
fn replicas_are_counted_by_their_state() {
    type Change = fn(&mut Pod);
    let one = |change: Change| {
        let mut pod = pod("a-0", "a");
        change(&mut pod);
        let of = replicas([("a-0".to_owned(), Arc::new(pod))]);
        let counts =
            of.counts(&of.states_without_samples(DateTime::UNIX_EPOCH, TimeDelta::minutes(10)));
        (counts.existing(0), counts.existing(1), counts.coming)
    };
    let crashes = |pod: &mut Pod| {
        pod.trouble = Some(Trouble { kind: TroubleKind::Crashing, since: DateTime::UNIX_EPOCH });
    };
    let loads = |pod: &mut Pod| {
        pod.trouble = Some(Trouble { kind: TroubleKind::NotReady, since: DateTime::UNIX_EPOCH });
    };
    // change of the pod; existing replicas if none is requested and if one is; coming replicas
    let table: [(Change, (i32, i32, i32)); 6] = [
        (|_| {}, (1, 1, 1)),
        (loads, (1, 1, 1)),
        (crashes, (1, 1, 0)),
        (|pod| pod.is_scheduled = false, (1, 1, 0)),
        // A pod that is about to be created takes its place.
        (|pod| pod.replica.deleting = true, (1, 2, 0)),
        (|pod| pod.replica.phase = Phase::Failed, (0, 1, 0)),
    ];
    for (row, (change, expected)) in table.into_iter().enumerate() {
        assert_eq!(one(change), expected, "row {row}");
    }
}

#[test]
fn an_instance_of_a_role_lacks_pods_by_its_labels() {
    const RBG: &str = "rbg.workloads.x-k8s.io";
    let member = |instance: u32, index: u32| {
        let name = format!("pd-{instance}-{index}");
        let mut pod = pod(&name, "pd");
        for (key, value) in [
            ("role-instance-name", format!("pd-{instance}")),
            ("component-index", index.to_string()),
            ("component-size", "2".to_owned()),
        ] {
            Arc::make_mut(&mut pod.labels).insert(format!("{RBG}/{key}"), value);
        }
        (name, Arc::new(pod))
    };
    let replicas = replicas([member(0, 0), member(0, 1), member(1, 0)]);
    let states: Vec<Replica> = replicas.list.iter().map(ReplicaPods::state).collect();
    assert_eq!(states, [Replica::READY, Replica::PENDING]);
}

#[test]
fn the_spec_can_define_a_replica() {
    let grouping = Grouping {
        label: "app".to_owned(),
        reporting: ReportingPods::All,
        size: GroupSize::Fixed(3),
    };
    let pods = ["a-0", "a-1"].map(|name| (name.to_owned(), Arc::new(pod(name, "a"))));
    let replicas = Replicas::of(&Arc::new(pods.into_iter().collect()), &[grouping]);
    assert_eq!((replicas.list.len(), replicas.list[0].reporting_pods), (1, 2));
    assert_eq!(replicas.list[0].state(), Replica::PENDING, "two of three");
}
