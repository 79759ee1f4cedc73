//! Metrics that are queries of the spec.

use super::*;

fn queried(type_: &str) -> Target {
    let field = if type_ == "Value" { "value" } else { "averageValue" };
    let metric = json!({
        "name": "queue", "query": "sum(queue)", "target": {"type": type_, field: "10"},
    });
    let spec = json!([metric]);
    target(&spec, pods(1))
}

fn numbers(numbers: &[f64]) -> QueryLookup {
    QueryLookup::Numbers {
        numbers: numbers.to_vec(),
        age: Duration::from_secs(4),
        warning: None,
        complete: true,
    }
}

#[test]
fn the_series_of_a_query_are_summed_for_an_average_only() {
    const VALUE: &str = "Value";
    const AVERAGE: &str = "AverageValue";
    let several = "the query gives 2 series, and a target of type Value needs one: aggregate them";
    // type of the target, numbers; value or problem
    let table = [
        (VALUE, &[5.0][..], Ok(5)),
        (AVERAGE, &[5.0], Ok(5)),
        (VALUE, &[5.0, 6.0], Err(several)),
        (AVERAGE, &[5.0, 6.0], Ok(11)),
        (VALUE, &[0.0], Ok(0)),
        (VALUE, &[], Err("the query gives nothing, which is not zero")),
        (AVERAGE, &[], Err("the query gives nothing, which is not zero")),
        (AVERAGE, &[5.0, f64::NAN], Err("the query gives NaN")),
        (VALUE, &[f64::INFINITY], Err("the query gives +Inf")),
    ];
    for (type_, answer, expected) in table {
        let found = queried(type_).query("http://p", numbers(answer)).observe().usable;
        let (reading, problems) = match expected {
            Ok(value) => (total(value, true), Vec::new()),
            Err(problem) => (Reading::Failed, vec![format!("queue: http://p: {problem}")]),
        };
        assert_eq!((found.reading(), found.problems()), (&reading, problems), "{answer:?}");
        let answered = u32::from(expected.is_ok());
        assert_eq!(found.origin().samples, [answered]);
        assert_eq!(found.origin().age, Duration::from_secs(4) * answered);
    }
}

#[test]
fn the_first_server_with_an_answer_counts() {
    let target = queried("Value")
        .source(SourceKind::OwnPods, Vec::new())
        .query("http://first", QueryLookup::Missing("http://first: timeout".to_owned()))
        .query("http://second", numbers(&[]))
        .query("http://third", numbers(&[8.0]))
        .query("http://fourth", numbers(&[9.0]));
    let found = target.observe().usable;
    assert_eq!(found.reading(), &total(8, true));
    assert_eq!(found.origin().samples, [0, 0, 0, 1, 0]);
    assert_eq!(found.origin().why.as_deref(), Some("http://first: timeout"));
    assert_eq!(found.problems(), [""; 0]);
    assert_eq!(found.findings.needed_sources, [false; 5], "servers with a query are always active");
}

#[test]
fn an_answer_with_a_warning_is_incomplete() {
    let warned = QueryLookup::Numbers {
        numbers: vec![8.0],
        age: Duration::ZERO,
        warning: Some("one store is down".to_owned()),
        complete: false,
    };
    let found = queried("Value").query("http://p", warned).observe().usable;
    assert_eq!(found.reading(), &total(8, false));
    let advice: Vec<_> = found.findings.advice.iter().map(|advice| &*advice.text).collect();
    assert_eq!(advice, ["http://p warns: one store is down"]);
}

#[test]
fn a_pending_answer_is_no_problem() {
    let found = queried("Value").query("http://p", QueryLookup::Pending).observe().usable;
    assert_eq!((found.reading(), found.problems()), (&Reading::Failed, Vec::new()));
    assert!(found.findings.warming_up);
    let inactive = queried("Value").inactive_source(prometheus("http://p")).observe().usable;
    assert!(inactive.findings.warming_up, "a server is queried from the next step on");
}

#[test]
fn pods_have_no_answer_to_a_query() {
    let target = queried("Value").source(SourceKind::OwnPods, vec![sample(5.0)]);
    let found = target.observe().usable;
    assert_eq!((found.reading(), found.problems()), (&Reading::Failed, Vec::new()));
    assert!(!found.findings.warming_up);
}
