//! Failover between sources that have one value per pod.

use llm_autoscaler_core::Basis;

use super::*;

#[test]
fn each_pod_is_read_from_the_first_source_that_has_a_sample() {
    const NONE: &[&str] = &[];
    let refused = || missing("refused");
    let absent = || missing("no series");
    let both = ["a-0: no series; refused", "a-1: no series; refused"];
    // answers of the metrics pages, of the server; reading, samples by source, reason for the
    // server, problems
    let table = [
        (
            [sample(1.0), sample(2.0)],
            [sample(7.0), sample(8.0)],
            [Some(1), Some(2)],
            [2, 0],
            None,
            NONE,
        ),
        (
            [sample(1.0), refused()],
            [sample(7.0), sample(8.0)],
            [Some(1), Some(8)],
            [1, 1],
            Some("a-1: refused"),
            NONE,
        ),
        // A pending pod is not looked up in the server by itself.
        ([sample(1.0), pending()], [sample(7.0), sample(8.0)], [Some(1), None], [1, 0], None, NONE),
        (
            [sample(1.0), refused()],
            [sample(7.0), absent()],
            [Some(1), None],
            [1, 0],
            None,
            &["a-1: no series; refused"],
        ),
        ([refused(), refused()], [absent(), absent()], [None, None], [0, 0], None, &both),
    ];
    for (row, (pages, server, values, samples, why, problems)) in table.into_iter().enumerate() {
        let needs_server = pages.iter().any(|answer| matches!(answer, Lookup::Missing(_)));
        let target = waiting(pods(2))
            .source(SourceKind::OwnPods, pages.to_vec())
            .source(prometheus("http://prometheus"), server.to_vec());
        let found = target.observe().usable;
        let reading = if values == [None, None] { Reading::Failed } else { per_replica(&values) };
        assert_eq!(found.reading(), &reading, "row {row}");
        assert_eq!(found.origin().samples, samples, "row {row}");
        assert_eq!(found.origin().why.as_deref(), why, "row {row}");
        assert_eq!(found.findings.needed_sources, [false, needs_server], "row {row}");
        assert_eq!(found.problems(), problems, "row {row}");
    }
}

#[test]
fn a_pending_pod_of_a_needed_source_does_not_warm_up_the_first() {
    let target = waiting(pods(2))
        .source(SourceKind::OwnPods, vec![sample(1.0), missing("refused")])
        .source(prometheus("http://prometheus"), vec![pending(), pending()]);
    let found = target.observe().usable;
    assert!(found.findings.warming_up, "the answer of the server is still due");
    assert_eq!(found.problems(), ["a-1: refused"]);
}

#[test]
fn an_inactive_source_is_needed_and_ends_the_search() {
    let target = waiting(pods(1))
        .source(SourceKind::OwnPods, vec![missing("refused")])
        .inactive_source(prometheus("http://first"))
        .source(prometheus("http://second"), vec![sample(1.0)]);
    let found = target.observe().usable;
    assert_eq!(found.findings.needed_sources, [false, true, false]);
    assert_eq!(found.reading(), &Reading::Failed);
    assert!(!found.findings.warming_up);
}

#[test]
fn a_sample_in_doubt_needs_another_source_beyond_doubt_only() {
    let target = waiting(pods(2))
        .source(SourceKind::OwnPods, vec![sample(1.0), doubtful(2.0)])
        .source(prometheus("http://prometheus"), vec![sample(7.0), sample(3.0)]);
    let observed = target.observe();
    assert_eq!(observed.usable.findings.needed_sources, [false, false]);
    let strict = observed.beyond_doubt.as_ref().unwrap();
    assert_eq!(strict.findings.needed_sources, [false, true]);
    assert_eq!(strict.reading(), &per_replica(&[Some(1), Some(3)]));
    assert_eq!(strict.origin().why.as_deref(), Some("a-1: connection refused"));
    // The source is needed only where the decision was made again without the sample in doubt.
    let needed = |basis| observed.without_doubt(basis).map(|it| &it.findings.needed_sources[..]);
    assert_eq!(needed(Basis::Usable), None);
    assert_eq!(needed(Basis::BeyondDoubt), Some(&[false, true][..]));
    assert_eq!(needed(Basis::InDoubt), Some(&[false, true][..]));
}

#[test]
fn all_pods_of_no_replica_are_answered() {
    // Without a replica the sources are searched to the end, and there is nothing to report.
    let target = waiting([])
        .source(SourceKind::OwnPods, Vec::new())
        .source(prometheus("http://prometheus"), Vec::new());
    let found = target.observe().usable;
    assert_eq!(found.reading(), &per_replica(&[]));
    assert_eq!(found.findings.needed_sources, [false, true]);
    assert_eq!(found.problems(), [""; 0]);
}

#[test]
fn servers_warn_about_their_clocks_and_answers() {
    let server = |clock_ahead, warning: Option<&str>| SourceKind::Prometheus {
        url: "http://p".to_owned(),
        clock_ahead,
        warning: warning.map(str::to_owned),
    };
    let table = [
        (server(Some(10.0), None), None),
        (server(Some(12.0), None), Some("the clock of http://p is 12 s ahead of the operator's")),
        (server(Some(-11.0), None), Some("the clock of http://p is 11 s behind the operator's")),
        (server(None, Some("partial")), Some("http://p warns: partial")),
    ];
    for (kind, expected) in table {
        let advice =
            waiting(pods(1)).source(kind, vec![sample(1.0)]).observe().usable.findings.advice;
        let texts: Vec<&str> = advice.iter().map(|advice| &*advice.text).collect();
        assert_eq!(texts.len(), usize::from(expected.is_some()), "{texts:?}");
        assert!(expected.is_none_or(|expected| texts[0].starts_with(expected)), "{texts:?}");
    }
}

#[test]
fn a_contradicted_kind_asks_no_other_source() {
    let contradicted = || Lookup::Contradicted("it is a counter".to_owned());
    let server = || prometheus("http://prometheus");
    // answers of the metrics pages; the reading
    let table = [
        ([contradicted(), contradicted()], Reading::Failed),
        ([contradicted(), sample(2.0)], per_replica(&[None, Some(2)])),
        ([contradicted(), missing("refused")], per_replica(&[None, Some(8_000)])),
    ];
    for (pages, expected) in table {
        let target = waiting(pods(2))
            .source(SourceKind::OwnPods, pages.to_vec())
            .source(server(), vec![sample(9_000.0), sample(8_000.0)]);
        let found = target.observe().usable;
        assert_eq!(found.reading(), &expected, "{pages:?}");
        assert!(
            found.problems().iter().any(|text| text == "a-0: it is a counter"),
            "{:?}",
            found.problems()
        );
    }
    let gateway = || SourceKind::OtherPods(members([Pod::serving("g-0", "gateway")]));
    let target = waiting(pods(1))
        .source(SourceKind::OwnPods, vec![contradicted()])
        .source(gateway(), vec![sample(9_000.0)]);
    assert_eq!(target.observe().usable.reading(), &Reading::Failed);
    let target = waiting(pods(1)).source(gateway(), vec![contradicted()]);
    let found = target.observe().usable;
    assert_eq!(found.reading(), &Reading::Failed);
    assert!(
        found.problems().iter().any(|text| text == "g-0: it is a counter"),
        "{:?}",
        found.problems()
    );
}
