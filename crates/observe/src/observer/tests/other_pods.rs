//! Pods that report for the target as a whole, such as a gateway.

use super::*;

fn others(pods: impl IntoIterator<Item = Pod>) -> SourceKind {
    SourceKind::OtherPods(members(pods))
}

fn gateway(name: &str) -> Pod {
    Pod::serving(name, "gateway")
}

fn deleted(pod: Pod) -> Pod {
    let mut pod = pod;
    pod.replica.deleting = true;
    pod
}

/// Other pods and their answers; the reading and the problems.
type Row = (Vec<Pod>, Vec<Lookup>, Reading, Vec<&'static str>);

#[test]
fn values_of_other_pods_are_summed() {
    let stuck = || unready(gateway("g-1"));
    let two = || vec![gateway("g-0"), gateway("g-1")];
    let none = "sources[0]: no running pod that podSelector selects has a sample";
    let table: Vec<Row> = vec![
        (two(), vec![sample(20.0), sample(5.0)], total(25, true), vec![]),
        (two(), vec![sample(20.0), doubtful(5.0)], total(25, false), vec![]),
        (two(), vec![sample(20.0), missing("refused")], total(20, false), vec![]),
        // The first answer of a pod is due: no problem yet, and no whole total either.
        (two(), vec![sample(20.0), pending()], total(20, false), vec![]),
        // A terminating pod may still process requests.
        (
            vec![gateway("g-0"), deleted(gateway("g-1"))],
            vec![sample(20.0), sample(5.0)],
            total(20, false),
            vec![],
        ),
        (vec![gateway("g-0"), stuck()], vec![sample(20.0), missing("x")], total(20, true), vec![]),
        // A stuck pod that answers counts.
        (vec![gateway("g-0"), stuck()], vec![sample(20.0), sample(5.0)], total(25, true), vec![]),
        (two(), vec![missing("x"), missing("y")], Reading::Failed, vec!["g-0: x", "g-1: y", none]),
        (vec![], vec![], Reading::Failed, vec![none]),
        (vec![deleted(gateway("g-0"))], vec![sample(1.0)], Reading::Failed, vec![none]),
    ];
    for (row, (pods_of_gateway, answers, reading, problems)) in table.into_iter().enumerate() {
        let target = waiting(pods(2)).source(others(pods_of_gateway), answers);
        let observed = target.observe_at(24 * 3600);
        let found = &observed.usable;
        assert_eq!(
            (found.reading(), found.problems()),
            (&reading, strings(&problems)),
            "row {row}"
        );
        assert!(observed.beyond_doubt.is_none(), "an incomplete total never scales down: {row}");
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_share_has_no_total() {
    let target = target(&json!([average("KVCacheUsage", 1)]), pods(1))
        .source(others([gateway("g-0")]), vec![sample(0.5)]);
    let found = target.observe().usable;
    assert_eq!(found.reading(), &Reading::Failed);
    let name = &target.config.metrics[0].name;
    let expected = format!("sources[0]: {name} is a share, and shares of other pods are no total");
    assert_eq!(found.problems(), [expected]);
}

#[test]
fn other_pods_count_only_if_no_pod_of_the_target_has_a_sample() {
    // answers of the own pods; reading, samples by source, the reason for the second source
    let table = [
        (vec![sample(1.0), sample(2.0)], per_replica(&[Some(1), Some(2)]), [2, 0], None),
        (vec![sample(1.0), missing("x")], per_replica(&[Some(1), None]), [1, 0], None),
        (vec![missing("x"), missing("y")], total(20, true), [0, 1], Some("a-0: x")),
    ];
    for (answers, reading, samples, why) in table {
        let target = waiting(pods(2))
            .source(SourceKind::OwnPods, answers)
            .source(others([gateway("g-0")]), vec![sample(20.0)]);
        let found = target.observe().usable;
        assert_eq!(found.reading(), &reading);
        assert_eq!(
            (&found.origin().samples[..], found.origin().why.as_deref()),
            (&samples[..], why)
        );
    }
}

#[test]
fn own_pods_are_read_where_other_pods_have_nothing() {
    let target = waiting(pods(1))
        .source(others([gateway("g-0")]), vec![missing("refused")])
        .source(SourceKind::OwnPods, vec![sample(4.0)]);
    let found = target.observe().usable;
    assert_eq!(found.reading(), &per_replica(&[Some(4)]));
    assert_eq!(found.origin().why.as_deref(), Some("g-0: refused"));
    assert_eq!(found.problems(), [""; 0]);
}

#[test]
fn a_target_without_replicas_is_measured_by_other_pods() {
    let target = waiting([])
        .source(SourceKind::OwnPods, Vec::new())
        .source(others([gateway("g-0")]), vec![sample(7.0)]);
    assert_eq!(target.observe().usable.reading(), &total(7, true));
}

#[test]
fn percentiles_of_other_pods_are_of_all_their_events() {
    let two = || others([gateway("g-0"), gateway("g-1")]);
    let p90 =
        |complete| Reading::Total { value: Milli(1_900), precision: Precision::Exact, complete };
    // answers; reading
    let table = [
        (vec![events(60.0), events(40.0)], p90(true)),
        (vec![events(60.0), missing("x")], p90(false)),
        (
            vec![events(1.0), events(1.0)],
            Reading::Pooled { value: None, precision: Precision::Exact, reported: vec![true; 3] },
        ),
        (vec![events(1.0), missing("x")], Reading::Failed),
    ];
    for (answers, expected) in table {
        let target = ttft(pods(3)).source(two(), answers);
        assert_eq!(target.observe().usable.reading(), &expected);
    }
}
