use super::{warnings::MOST_WARNINGS, *};

fn series(name: &str, labels: &[(&str, &str)], samples: &[(f64, f64)]) -> Series {
    let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Series { name: name.into(), labels, samples: samples.to_vec(), ..Series::default() }
}

#[test]
fn matrices_vectors_and_scalars_are_parsed() {
    let table = [
        (
            r#"{"status":"success","data":{"resultType":"matrix","result":[
                {"metric":{"__name__":"a","pod":"x"},"values":[[1.5,"2"],[3,"NaN"]]},
                {"metric":{},"values":[]}]}}"#,
            QueryData::Series(vec![
                series("a", &[("pod", "x")], &[(1.5, 2.0), (3.0, f64::NAN)]),
                Series::default(),
            ]),
        ),
        (
            r#"{"data":{"result":[{"value":[7,"+Inf"],"metric":{"l":"é\n"}}],"resultType":"vector"},"status":"success","infos":["x"]}"#,
            QueryData::Series(vec![series("", &[("l", "é\n")], &[(7.0, f64::INFINITY)])]),
        ),
        (
            r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":null}"#,
            QueryData::default(),
        ),
        (
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"4e1"]}}"#,
            QueryData::Scalar(40.0),
        ),
    ];
    for (body, expected) in table {
        let response = QueryResponse::parse(body.as_bytes()).unwrap();
        assert_eq!(format!("{:?}", response.data), format!("{expected:?}"), "{body}");
        assert!(response.warnings.is_empty());
    }
}

#[test]
fn native_histograms_are_parsed_and_no_result_of_an_expression() {
    let body = |kind, field, histograms| {
        let histogram = r#"{"count":"172","sum":"708.92","buckets":[[0,"2.5","5","172"]]}"#;
        let histograms = str::replace(histograms, "H", histogram);
        let series = format!(r#"{{"metric":{{"__name__":"t"}},"{field}":{histograms}}}"#);
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":[{series}]}}}}"#)
    };
    let raw = body("matrix", "histograms", "[[1.5,H],[6.5,H]]");
    let QueryData::Series(series) = QueryResponse::parse(raw.as_bytes()).unwrap().data else {
        panic!("a scalar")
    };
    assert_eq!(series[0].times().collect::<Vec<_>>(), [1.5, 6.5]);
    assert_eq!(series[0].histograms[1].1.buckets.len(), 1);
    let computed = body("vector", "histogram", "[1.5,H]");
    let error = QueryResponse::parse(computed.as_bytes()).unwrap_err();
    assert_eq!(error, ResponseError::Histogram);
}

#[test]
fn a_partial_response_has_warnings() {
    let body = r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["store a is\ndown"]}"#;
    assert_eq!(QueryResponse::parse(body.as_bytes()).unwrap().warnings, ["store a is down"]);
}

#[test]
fn a_partial_response_of_victoriametrics_has_a_warning() {
    let table = [
        (r#""isPartial":true,"#, &[PARTIAL][..]),
        (r#""isPartial":true,"warnings":["a"],"#, &["a", PARTIAL]),
        (r#""isPartial":false,"#, &[]),
        (r#""isPartial":null,"#, &[]),
    ];
    // As vmselect sends it, with one of two storage nodes down.
    let data = r#""data":{"resultType":"vector","result":[{"metric":{},"value":[1795828825,"15"]}]},"stats":{"seriesFetched":"2"}"#;
    for (partial, expected) in table {
        let body = format!(r#"{{"status":"success",{partial}{data}}}"#);
        let response = QueryResponse::parse(body.as_bytes()).unwrap();
        assert_eq!(response.warnings, expected, "{partial}");
        assert_ne!(response.data, QueryData::default(), "{partial}: the numbers stay");
    }
    let range =
        r#"{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}"#;
    assert_eq!(QueryResponse::parse(range.as_bytes()).unwrap().warnings, [PARTIAL]);
}

#[test]
fn a_response_without_numbers_is_an_error() {
    let table = [
        (
            r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
            "the server rejected the query: bad_data: parse error",
        ),
        ("<html>", "this is not a response of Prometheus's API"),
        ("", "this is not a response of Prometheus's API"),
        ("[]", "this is not a response of Prometheus's API"),
        (r#"{"status":"success"}"#, "it has no data"),
        (
            r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#,
            "the query returns a string, not numbers",
        ),
        (
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}}"#,
            "a sample's value is not a number",
        ),
        (
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"#,
            "this is not a response of Prometheus's API",
        ),
    ];
    for (body, expected) in table {
        let error = QueryResponse::parse(body.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{body}: {error}");
    }
}

/// Returns a matrix of pods with this many samples each, as a server writes them.
fn matrix(pods: usize, samples: usize) -> String {
    let sample = |number: usize| format!(r#"[{}.123,"11"]"#, 1_700_000_000 + number);
    let samples: Vec<_> = (0..samples).map(sample).collect();
    let series = |pod: usize| {
        let labels = format!(r#""__name__":"q","namespace":"ns","pod":"engine-7d9f-{pod:05}""#);
        format!(r#"{{"metric":{{{labels}}},"values":[{}]}}"#, samples.join(","))
    };
    let all: Vec<_> = (0..pods).map(series).collect();
    let all = all.join(",");
    format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{all}]}}}}"#)
}

/// A window of an hour over a single pod used to be refused as too large, and so were a thousand
/// pods with few labels.
#[test]
fn a_usual_response_takes_little_memory_for_its_bytes() {
    // pods and samples of each; the memory for each byte, at least 64 KiB in all
    for (pods, samples, per_byte) in
        [(1, 1, 3), (1, 720, 3), (1, 3600, 4), (40, 15, 4), (1000, 1, 5)]
    {
        let body = matrix(pods, samples);
        let most = (per_byte * body.len()).max(64 << 10);
        let parsed = QueryResponse::parse_within(body.as_bytes(), most);
        let QueryData::Series(series) = parsed.unwrap().data else { panic!("a scalar") };
        assert_eq!((series.len(), series[0].samples.len()), (pods, samples));
    }
}

#[test]
fn a_response_that_takes_too_much_memory_is_refused_before_it_has_taken_it() {
    let body = matrix(100, 10);
    let refused = |most| QueryResponse::parse_within(body.as_bytes(), most);
    assert_eq!(refused(10_000).unwrap_err(), ResponseError::TooLarge(10_000));
    let size = refused(usize::MAX).unwrap().size();
    assert!(refused(size).is_err(), "parsing takes more than the result");
}

/// A server may send millions of them.
#[test]
fn the_first_warnings_are_kept() {
    let warnings = vec![r#""a""#; 3 * MOST_WARNINGS].join(",");
    let data = r#""data":{"resultType":"vector","result":[]}"#;
    let body = format!(r#"{{"status":"success","warnings":[{warnings}],{data}}}"#);
    let response = QueryResponse::parse(body.as_bytes()).unwrap();
    assert_eq!(response.warnings, ["a"; MOST_WARNINGS]);
}
