//! Draining replicas as tables.

use std::sync::Arc;

use llm_autoscaler_api::workloads;

use super::*;
use crate::pod::{Pod, service::ServiceState, tests::pod};

/// Returns a replica of one pod.
fn group(name: &str, change: impl Fn(&mut Pod)) -> ReplicaPods {
    let mut pod = pod(name, "a");
    change(&mut pod);
    let members = Arc::new([(name.to_owned(), Arc::new(pod))].into_iter().collect());
    Replicas::of(&members, &workloads::known_groupings()).list.remove(0)
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
}

#[test]
fn ordinals_are_parsed_if_the_kind_has_them() {
    let lws = Victims::LabelOrdinals("leaderworkerset.sigs.k8s.io/group-index");
    let labelled = group("pd-7-1", |pod| {
        Arc::make_mut(&mut pod.labels)
            .insert("leaderworkerset.sigs.k8s.io/group-index".to_owned(), "7".to_owned());
    });
    let table = [
        (group("eng-12", |_| {}), Victims::PodOrdinals, Some(12)),
        (group("eng-x7k2p", |_| {}), Victims::PodOrdinals, None),
        (group("eng-x7k2p", |_| {}), Victims::DeletionCost, Some(0)),
        (labelled, lws, Some(7)),
        (group("pd-3", |_| {}), lws, Some(3)),
    ];
    for (group, order, expected) in table {
        assert_eq!(ordinal(&group, order), expected, "{order:?} {}", name(&group));
    }
}

#[test]
fn a_replica_is_empty_by_a_sample_after_requests_have_ceased() {
    let requests = |count, second| Some(Requests { count, at: at(second) });
    let closed = |serves| {
        group("a-0", move |pod| {
            pod.service.gate = Gate::Closed { since: at(0) };
            pod.service.serves = serves;
        })
    };
    let begun = DrainingReplica::new(at(0));

    let mut leaving = begun;
    leaving.observe(true, &closed(true), at(1));
    assert!(!leaving.is_empty(true, requests(0, 10)), "requests are still sent to it");
    leaving.observe(true, &closed(false), at(5));
    leaving.observe(true, &closed(false), at(9));
    assert!(!leaving.is_empty(true, requests(0, 6)), "requests may be on their way");
    assert!(!leaving.is_empty(true, requests(1, 8)));
    assert!(!leaving.is_empty(true, None), "a missing sample is not empty");
    assert!(leaving.is_empty(true, requests(0, 7)));

    let mut ungated = begun;
    ungated.observe(false, &group("a-0", |_| {}), at(5));
    assert!(ungated.is_empty(false, requests(0, 0)), "it is never out of service");
}

/// Returns a pod that is in service and can be taken out of it.
fn gated(name: &str) -> Pod {
    let mut pod = pod(name, "a");
    pod.service = ServiceState { gate: Gate::Open, serves: true, ..ServiceState::default() };
    pod
}

/// Returns a pod that was taken out of service at a second.
fn closed(name: &str, second: i64) -> Pod {
    let mut pod = gated(name);
    pod.service = ServiceState { gate: Gate::Closed { since: at(second) }, ..pod.service };
    pod.service.serves = false;
    pod
}

fn replicas(pods: impl IntoIterator<Item = Pod>) -> Replicas {
    let pods = pods.into_iter().map(|pod| (pod.name.clone(), Arc::new(pod)));
    Replicas::of(&Arc::new(pods.collect()), &[])
}

fn stateful_set() -> ScaleTargetRef {
    target("apps/v1", "StatefulSet")
}

fn target(api_version: &str, kind: &str) -> ScaleTargetRef {
    ScaleTargetRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: "a".to_owned(),
        role: None,
    }
}

fn known(count: u64, second: i64) -> Requests {
    Requests { count, at: at(second) }
}

/// Returns the candidates by pod ordinals, where the operator may patch the gates.
fn candidates(
    memory: &DrainMemory,
    replicas: &Replicas,
    requests: &[Option<Requests>],
) -> Option<Vec<(usize, Candidate)>> {
    memory.candidates(Victims::PodOrdinals, replicas, requests, GatePermission::Granted)
}

#[test]
fn the_object_and_else_the_kind_define_the_order_of_removal() {
    let workload = |victims, is_ordered| Workload { victims, is_ordered, ..Workload::default() };
    let unread = None;
    let costs = Some(Victims::DeletionCost);
    let table = [
        (stateful_set(), unread.clone(), Some(Removal::HighestOrdinals)),
        (stateful_set(), Some(workload(None, false)), Some(Removal::HighestOrdinals)),
        (stateful_set(), Some(workload(None, true)), Some(Removal::OrderedReady)),
        (stateful_set(), Some(workload(costs, true)), Some(Removal::Marked)),
        (target("apps/v1", "Deployment"), unread.clone(), Some(Removal::Marked)),
        (target("example.org/v1", "Other"), unread, None),
        (target("example.org/v1", "Other"), Some(workload(costs, false)), Some(Removal::Marked)),
    ];
    for (target, workload, expected) in table {
        let read = workload.clone().map(Box::new);
        let memory = DrainMemory { workload: read, ..DrainMemory::default() };
        assert_eq!(memory.removal(&target), expected, "{} {workload:?}", target.kind);
    }
}

#[test]
fn candidates_are_the_replicas_that_are_alive() {
    let mut deleted = gated("a-1");
    deleted.replica.deleting = true;
    let mut starting = gated("a-2");
    starting.replica.ready = false;
    let replicas = replicas([gated("a-0"), deleted, starting]);
    let found = candidates(
        &DrainMemory::default(),
        &replicas,
        &[Some(known(4, 9)), Some(known(3, 9)), None],
    );
    let candidate =
        |ordinal, requests, ready| Candidate { ordinal, requests, ready, draining: None };
    let expected = [(0, candidate(0, Some(4), true)), (2, candidate(2, None, false))];
    assert_eq!(found.unwrap(), expected);
}

#[test]
fn ordinals_are_counted_from_the_first_one() {
    let ordinals = |first_ordinal, names: &[&str], order| {
        let workload = Workload { first_ordinal, ..Workload::default() };
        let memory = DrainMemory { workload: Some(Box::new(workload)), ..DrainMemory::default() };
        let replicas = replicas(names.iter().map(|name| gated(name)));
        let found = memory.candidates(order, &replicas, &[], GatePermission::Granted)?;
        Some(found.into_iter().map(|(_, candidate)| candidate.ordinal).collect::<Vec<_>>())
    };
    let (by_name, by_cost) = (Victims::PodOrdinals, Victims::DeletionCost);
    // first ordinal of the object, pods, order; ordinals
    let table = [
        (None, &["a-0", "a-1"][..], by_name, Some(vec![0, 1])),
        (None, &["a-5", "a-6"], by_name, Some(vec![0, 1])),
        (Some(4), &["a-5", "a-6"], by_name, Some(vec![1, 2])),
        (None, &["a-5", "a-x"], by_name, None),
        (None, &["a-5", "a-x"], by_cost, Some(vec![0, 0])),
        (None, &[], by_name, Some(vec![])),
        (Some(4), &["a-5"], Victims::LabelOrdinals("absent"), Some(vec![5])),
    ];
    for (first, names, order, expected) in table {
        assert_eq!(ordinals(first, names, order), expected, "{first:?} {names:?} {order:?}");
    }
}

#[test]
fn a_restart_resumes_the_drains_of_closed_gates() {
    let mut memory = DrainMemory::default();
    let replicas = replicas([gated("a-0"), closed("a-1", 40), closed("a-2", 130)]);
    memory.observe(&replicas, GatePermission::Granted, at(100));
    let found = candidates(
        &memory,
        &replicas,
        &[Some(known(0, 103)), Some(known(0, 103)), Some(known(1, 103))],
    );
    let draining: Vec<_> =
        found.unwrap().into_iter().map(|(_, candidate)| candidate.draining).collect();
    let since =
        |second, is_empty| Some(Draining { since: at(second), is_empty, is_written: false });
    // A gate that was closed in the future, by another clock, counts from now on.
    assert_eq!(draining, [None, since(40, true), since(100, false)]);
    let groups: Vec<&ReplicaPods> = replicas.list.iter().collect();
    assert_eq!(memory.seconds(&groups, at(100)), 60);
    let deadline = TimeDelta::seconds(60);
    assert!(!memory.is_overdue(deadline, at(99)) && memory.is_overdue(deadline, at(100)));
}

#[test]
fn a_cancelled_drain_is_cancelled_once() {
    let mut memory = DrainMemory::default();
    let (open, shut) = (replicas([gated("a-0")]), replicas([closed("a-0", 40)]));
    let drains = |memory: &DrainMemory, replicas| {
        let found = candidates(memory, replicas, &[None]).unwrap();
        found[0].1.draining.is_some()
    };
    memory.begin(&open.list[0], at(40));
    memory.observe(&shut, GatePermission::Granted, at(41));
    assert!(memory.cancel(&shut.list[0]));
    // The gate has been opened, and the watch does not show it yet.
    memory.observe(&shut, GatePermission::Granted, at(42));
    assert!(!drains(&memory, &shut) && !memory.cancel(&shut.list[0]));
    // It is shown; a gate that is closed after that drains.
    memory.observe(&open, GatePermission::Granted, at(43));
    memory.observe(&shut, GatePermission::Granted, at(44));
    assert!(drains(&memory, &shut));
    // So does a victim that is chosen again at once.
    assert!(memory.cancel(&shut.list[0]));
    memory.begin(&shut.list[0], at(45));
    memory.observe(&shut, GatePermission::Granted, at(46));
    assert!(drains(&memory, &shut) && memory.cancel(&shut.list[0]));
}

#[test]
fn a_drain_without_permission_is_as_one_without_a_gate() {
    let mut memory = DrainMemory::default();
    let replicas = replicas([gated("a-0")]);
    memory.begin(&replicas.list[0], at(10));
    memory.observe(&replicas, GatePermission::Denied, at(11));
    let empty = |permission, second| {
        let requests = [Some(known(0, second))];
        let found = memory.candidates(Victims::PodOrdinals, &replicas, &requests, permission);
        found.unwrap()[0].1.draining.unwrap().is_empty
    };
    assert!(!empty(GatePermission::Denied, 9), "a sample of before the drain");
    assert!(empty(GatePermission::Denied, 10));
    assert!(!empty(GatePermission::Granted, 11), "senders have two seconds to learn of it");
    assert!(empty(GatePermission::Granted, 12));
}

#[test]
fn a_replica_that_is_gone_or_stays_is_forgotten() {
    let both = replicas([gated("a-0"), gated("a-1")]);
    let mut memory = DrainMemory::default();
    both.list.iter().for_each(|group| memory.begin(group, at(0)));
    memory.observe(&replicas([gated("a-0")]), GatePermission::Granted, at(1));
    assert!(!memory.cancel(&both.list[1]), "a-1 is gone");
    assert!(memory.cancel(&both.list[0]), "a-0 was not written");
    assert!(!memory.is_overdue(TimeDelta::zero(), at(100)), "both are forgotten");
}

#[test]
fn a_removal_that_does_not_happen_within_a_minute_is_forgotten() {
    let replicas = replicas([gated("a-0")]);
    let group = &replicas.list[0];
    let mut memory = DrainMemory::default();
    memory.begin(group, at(0));
    memory.record_write(key(group), at(10));
    let written = |memory: &DrainMemory| {
        candidates(memory, &replicas, &[None]).unwrap()[0].1.draining.map(|it| it.is_written)
    };
    memory.observe(&replicas, GatePermission::Granted, at(69));
    assert_eq!(written(&memory), Some(true));
    assert!(!memory.clone().cancel(group), "its removal was written");
    memory.observe(&replicas, GatePermission::Granted, at(70));
    assert_eq!(written(&memory), None);
}
