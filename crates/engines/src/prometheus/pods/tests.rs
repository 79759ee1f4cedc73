use super::*;
use crate::{
    engine::Engine,
    kind::Kind,
    prometheus::{Bucket, Histogram},
    recipe::Recipe,
    signal::Signal,
};

fn series(name: &str, labels: &[(&str, &str)], samples: &[(f64, f64)]) -> Series {
    let own = [("namespace", "models"), ("pod", "a-0")];
    let labels = own.iter().chain(labels).map(|(name, value)| ((*name).into(), (*value).into()));
    Series {
        name: name.into(),
        labels: labels.collect(),
        samples: samples.to_vec(),
        ..Series::default()
    }
}

fn measure(kind: Kind, name: &str, window: u64) -> Measure {
    Measure { recipe: Recipe::series(kind, name, []), window: Duration::from_secs(window) }
}

fn reading(series: &[Series], measure: &Measure) -> Option<PodReading> {
    let replicas = ["replica".to_owned(), "prometheus_replica".to_owned()].into();
    let labels = PodLabels { namespace: "namespace".to_owned(), pod: "pod".to_owned(), replicas };
    let pods = group_by_pod(series.to_vec(), &labels);
    let key = ("models".into(), "a-0".into());
    pods.get(&key)?.reading(measure, Duration::from_secs(30), &mut Scratch::default())
}

#[test]
fn engines_of_one_scrape_add_up() {
    let found = [
        series("q", &[("engine", "0")], &[(100.0, 1.0), (115.0, 3.0)]),
        series("q", &[("engine", "1")], &[(100.0, 1.0), (115.0, 4.0)]),
        series("other", &[], &[(116.0, 9.0)]),
    ];
    let reading = reading(&found, &measure(Kind::Gauge, "q", 0)).unwrap();
    assert_eq!((reading.value, reading.at, reading.scrapes), (Value::Number(7.0), 115.0, 1));
}

#[test]
fn scrapes_of_one_pod_do_not_add_up() {
    let found = [
        series("q", &[("job", "a")], &[(100.0, 5.0), (115.0, 6.0)]),
        series("q", &[("job", "b")], &[(104.0, 5.0), (119.0, 7.0)]),
    ];
    let reading = reading(&found, &measure(Kind::Gauge, "q", 0)).unwrap();
    assert_eq!((reading.value, reading.at, reading.scrapes), (Value::Number(7.0), 119.0, 2));
    assert_eq!(reading.addresses, 1);

    let found = [
        series("q", &[("instance", "10.0.0.1:8000")], &[(115.0, 6.0)]),
        series("q", &[("instance", "10.0.0.1:8001")], &[(119.0, 7.0)]),
    ];
    let reading = super::tests::reading(&found, &measure(Kind::Gauge, "q", 0)).unwrap();
    assert_eq!(reading.addresses, 2, "parts of one value, or one value twice");
}

#[test]
fn windows_are_made_of_the_samples() {
    let samples: Vec<_> = (0..8).map(|n| (f64::from(n) * 15.0, f64::from(n) * 30.0)).collect();
    let found = [series("t_total", &[], &samples)];
    let reading = reading(&found, &measure(Kind::Counter, "t_total", 60)).unwrap();
    assert_eq!(reading.value, Value::Number(2.0));
    assert_eq!(super::tests::reading(&found, &measure(Kind::Counter, "x", 60)), None);

    let bucket =
        |le: &str, last: f64| series("t_bucket", &[("le", le)], &[(1.0, 0.0), (16.0, last)]);
    let found = [bucket("0.5", 4.0), bucket("+Inf", 10.0)];
    let reading = super::tests::reading(&found, &measure(Kind::Histogram, "t", 60)).unwrap();
    let Value::Buckets(buckets) = reading.value else { panic!("{reading:?}") };
    assert_eq!(buckets.counts(), [4.0, 10.0]);
}

#[test]
fn a_sum_that_overflows_is_absent() {
    let absent = |kind, series: &[Series], name| {
        let reading = reading(series, &measure(kind, name, 60)).unwrap();
        assert_eq!(reading.value, Value::Absent, "{name}");
    };
    absent(Kind::Gauge, &[series("q", &[], &[(1.0, f64::MAX), (16.0, f64::MAX)])], "q");
    absent(
        Kind::Counter,
        &[series("t_total", &[], &[(1.0, f64::MIN), (16.0, f64::MAX)])],
        "t_total",
    );
    let samples = [(1.0, 0.0), (16.0, f64::MAX), (31.0, 0.0), (46.0, f64::MAX)];
    let found = [
        series("h_bucket", &[("le", "1")], &samples),
        series("h_bucket", &[("le", "+Inf")], &samples),
    ];
    absent(Kind::Histogram, &found, "h");
}

#[test]
fn a_server_may_report_any_time() {
    let found = [series("q", &[], &[(1.0, 3.0), (1.2e19, 5.0)])];
    let reading = reading(&found, &measure(Kind::Gauge, "q", 60)).unwrap();
    assert_eq!((reading.at, reading.is_young), (1.2e19, false));
}

#[test]
fn series_without_a_pod_are_left_out() {
    let mut stray = series("q", &[], &[(1.0, 1.0)]);
    stray.labels.retain(|(name, _)| &**name != "pod");
    assert_eq!(reading(&[stray], &measure(Kind::Gauge, "q", 0)), None);
}

/// Returns the samples of a gauge every 15 s, up to this time.
fn every_15_s(until: f64, value: f64) -> Vec<(f64, f64)> {
    (0..4).rev().map(|n| (until - f64::from(n) * 15.0, value)).collect()
}

/// Returns the value, the scrapes, the addresses, and the label of a conflict.
fn facts(series: &[Series]) -> (Value, usize, usize, Option<String>) {
    let reading = reading(series, &measure(Kind::Gauge, "q", 0)).unwrap();
    let label = reading.conflict.map(|conflict| conflict.label);
    (reading.value, reading.scrapes, reading.addresses, label)
}

#[test]
fn the_spacing_is_that_of_the_latest_samples() {
    let table: &[(&[f64], Option<f64>)] = &[
        (&[], None),
        (&[100.0], None),
        (&[100.0, 115.0], Some(15.0)),
        (&[100.0, 100.0], None),
        // One failed scrape.
        (&[100.0, 115.0, 145.0, 160.0], Some(15.0)),
        (&[100.0, 130.0, 145.0], Some(15.0)),
        // Two servers in turn.
        (&[100.0, 102.0, 115.0, 117.0, 130.0], Some(13.0)),
        // The interval has been changed.
        (&[0.0, 60.0, 120.0, 125.0, 130.0, 135.0, 140.0], Some(5.0)),
        (&[100.0, f64::NAN, 130.0], None),
    ];
    for (times, expected) in table {
        let samples: Vec<_> = times.iter().map(|at| (*at, 1.0)).collect();
        let reading = reading(&[series("q", &[], &samples)], &measure(Kind::Gauge, "q", 0));
        assert_eq!(reading.unwrap().spacing, *expected, "{times:?}");
    }
}

#[test]
fn an_address_that_has_gone_is_none() {
    let at = |address: &str, samples: &[(f64, f64)]| series("q", &[("instance", address)], samples);
    let old = at("10.0.0.1:8000", &every_15_s(100.0, 9.0));
    // time of the new pod's latest sample, its samples, addresses
    let table = [(137.0, 1, 2), (137.0, 3, 2), (138.0, 1, 1), (138.0, 2, 1), (160.0, 4, 1)];
    for (until, count, addresses) in table {
        let samples = every_15_s(until, 2.0);
        let new = at("10.0.0.2:8000", &samples[4 - count..]);
        let (value, scrapes, found, _) = facts(&[old.clone(), new]);
        assert_eq!((value, found), (Value::Number(2.0), addresses), "{until} {count}");
        assert_eq!(scrapes, addresses);
    }
    // Some stores end a series with NaN, at a later time than the new pod's first sample.
    let mut ended = every_15_s(100.0, 9.0);
    ended.push((115.0, f64::NAN));
    let new = at("10.0.0.2:8000", &[(112.0, 2.0)]);
    assert_eq!(facts(&[at("10.0.0.1:8000", &ended), new]), (Value::Number(2.0), 1, 1, None));
    // The job of a scrape has been renamed.
    let job = |job: &str, until| series("q", &[("job", job)], &every_15_s(until, until));
    let found = facts(&[job("old", 100.0), job("new", 160.0)]);
    assert_eq!(found, (Value::Number(160.0), 1, 1, None));
}

#[test]
fn an_address_that_follows_another_is_no_other_pod() {
    let at = |address: &str, samples: &[(f64, f64)]| series("q", &[("instance", address)], samples);
    let old = at("10.0.0.1:8000", &every_15_s(100.0, 9.0));
    let found = facts(&[old.clone(), at("10.0.0.2:8000", &[(107.0, 2.0)])]);
    assert_eq!(found, (Value::Number(2.0), 2, 2, None));
    let found = facts(&[old, at("10.0.0.1:8001", &every_15_s(107.0, 2.0))]);
    assert_eq!(found, (Value::Number(2.0), 2, 2, None), "two ports of one pod");
}

#[test]
fn pods_of_several_clusters_do_not_add_up() {
    let at = |labels: &[(&str, &str)], until| series("q", labels, &every_15_s(until, 20.0));
    let a = [("cluster", "a"), ("instance", "10.0.0.1:8000")];
    let b = [("cluster", "b"), ("instance", "10.0.0.1:8000")];
    let table = [
        (vec![at(&a, 100.0), at(&b, 100.0)], Some("cluster")),
        (vec![at(&a, 100.0), at(&b, 107.3)], Some("cluster")),
        (vec![at(&a[..1], 100.0), at(&b[1..], 100.0)], Some("cluster")),
        (vec![at(&[("k8s_cluster_name", "a")], 100.0), at(&[], 100.0)], Some("k8s_cluster_name")),
        // The clusters differ in a label that is nowhere listed, or in nothing but the address.
        (vec![at(&[("estate", "a")], 100.0), at(&[("estate", "b")], 107.3)], Some("estate")),
        (vec![at(&[], 100.0), at(&[("estate", "b")], 107.3)], Some("estate")),
        (
            vec![
                at(&[("instance", "10.0.0.1:1"), ("estate", "a")], 100.0),
                at(&[("instance", "10.9.9.9:1"), ("estate", "b")], 100.0),
            ],
            Some("estate"),
        ),
        (vec![at(&a[1..], 100.0), at(&[("instance", "x:8000")], 104.0)], Some("instance")),
        (
            vec![
                at(&[("instance", "x:1"), ("job", "a")], 100.0),
                at(&[("instance", "y:1"), ("job", "b")], 104.0),
            ],
            Some("job"),
        ),
        // One of the clusters' pods has died, or a cluster has got its label.
        (vec![at(&a, 100.0), at(&b, 140.0)], Some("cluster")),
        (vec![at(&a, 100.0), at(&b, 160.0)], None),
        (vec![at(&a[1..], 100.0), at(&[("instance", "x:8000")], 140.0)], Some("instance")),
    ];
    for (found, expected) in table {
        let (_, _, _, label) = facts(&found);
        assert_eq!(label.as_deref(), expected, "{found:?}");
    }
    let found = [at(&a, 100.0), at(&b, 100.0)];
    let conflict = reading(&found, &measure(Kind::Gauge, "q", 0)).unwrap().conflict.unwrap();
    assert_eq!(conflict.values, ["a", "b"]);
    // A metric may select the cluster.
    let label = [("cluster".to_owned(), "a".to_owned())];
    let recipe = Recipe::series(Kind::Gauge, "q", label);
    let reading = reading(&found, &Measure { recipe, window: Duration::ZERO }).unwrap();
    assert_eq!((reading.value, reading.conflict), (Value::Number(20.0), None));
}

#[test]
fn histograms_and_counters_of_several_clusters_do_not_add_up() {
    let buckets = |cluster: &str| {
        let bucket = |le: &str, count: f64| {
            let labels = [("cluster", cluster), ("le", le)];
            series("t_bucket", &labels, &[(100.0, 0.0), (115.0, count)])
        };
        [bucket("0.5", 4.0), bucket("+Inf", 10.0)]
    };
    let found = [buckets("a"), buckets("b")].concat();
    let reading =
        |found: &[Series]| super::tests::reading(found, &measure(Kind::Histogram, "t", 60));
    assert!(reading(&found).unwrap().conflict.is_some());
    assert_eq!(reading(&buckets("a")).unwrap().conflict, None);
}

#[test]
fn series_of_one_page_add_up_whatever_their_labels() {
    let engine = |signal| Engine::Vllm.profile().recipe(signal).unwrap();
    let all = |name: &str, labels: &[&[(&str, &str)]]| -> Vec<Series> {
        let one = |labels: &&[(&str, &str)]| series(name, labels, &every_15_s(100.0, 3.0));
        labels.iter().map(one).collect()
    };
    let (running, waiting) = ("vllm:num_requests_running", "vllm:num_requests_waiting");
    let found = [running, waiting].map(|name| {
        all(
            name,
            &[
                &[("engine", "0"), ("model_name", "a"), ("instance", "x:1")],
                &[("engine", "1"), ("model_name", "a"), ("instance", "x:1")],
                &[("engine", "1"), ("model_name", "b"), ("instance", "x:1")],
            ],
        )
    });
    let recipe = engine(Signal::InFlightRequests);
    let found = reading(&found.concat(), &Measure { recipe, window: Duration::ZERO }).unwrap();
    assert_eq!((found.value, found.scrapes), (Value::Number(18.0), 1));
    assert_eq!(found.conflict, None);

    // Labels that no table has: parts of one page have the times of one page.
    let found = all("q", &[&[("tier", "a"), ("lora", "")], &[("tier", "b"), ("lora", "x")]]);
    assert_eq!(facts(&found), (Value::Number(6.0), 1, 1, None));

    // A model has been replaced by another: their times do not overlap.
    let found = [
        series("q", &[("model_name", "a")], &every_15_s(100.0, 3.0)),
        series("q", &[("model_name", "b")], &[(115.0, 4.0)]),
    ];
    assert_eq!(facts(&found), (Value::Number(4.0), 1, 1, None));
}

#[test]
fn replicas_of_a_server_repeat_a_series() {
    let at = |label: &str, value: &str, rank: &str, until| {
        series("q", &[(label, value), ("engine", rank)], &every_15_s(until, 4.0))
    };
    for label in ["replica", "prometheus_replica"] {
        for shift in [0.0, 7.3] {
            let found = [
                at(label, "a", "0", 100.0),
                at(label, "a", "1", 100.0),
                at(label, "b", "0", 100.0 + shift),
                at(label, "b", "1", 100.0 + shift),
            ];
            assert_eq!(facts(&found), (Value::Number(8.0), 1, 1, None), "{label} {shift}");
        }
    }
    // Copies that a store makes under other usual names count once too.
    let found = [at("receive_replica", "a", "0", 100.0), at("receive_replica", "b", "0", 100.0)];
    assert_eq!(facts(&found), (Value::Number(4.0), 2, 1, None));
    // One of them has lost the target: the other goes on.
    let found = [at("replica", "a", "0", 60.0), at("replica", "b", "0", 100.0)];
    assert_eq!(facts(&found), (Value::Number(4.0), 1, 1, None));
}

#[test]
fn a_sample_that_is_no_number_is_called_by_its_name() {
    let measure = measure(Kind::Gauge, "q", 0);
    for (value, name) in [(f64::NAN, "NaN"), (f64::INFINITY, "+Inf"), (f64::NEG_INFINITY, "-Inf")] {
        let found = [series("q", &[], &[(100.0, 1.0), (115.0, value)])];
        let reading = reading(&found, &measure).unwrap();
        assert_eq!(reading.value, Value::Absent, "{name}");
        let text = reading.extract.not_finite.map(|flaw| flaw.describe(&measure.recipe));
        assert_eq!(text, Some(format!("q is {name}, which is no number")));
    }
}

#[test]
fn a_marker_of_the_server_ends_all_series_of_a_pod() {
    let ended = |name| series(name, &[], &[(100.0, 1.0), (115.0, f64::NAN)]);
    let table = [
        (vec![ended("q")], true),
        (vec![ended("q"), ended("other")], true),
        (vec![ended("q"), series("gone", &[], &[(70.0, 1.0)])], true),
        (vec![ended("q"), series("other", &[], &[(100.0, 1.0), (115.0, 2.0)])], false),
        (vec![series("q", &[], &[(115.0, 1.0)])], false),
    ];
    for (found, expected) in table {
        let reading = reading(&found, &measure(Kind::Gauge, "q", 0)).unwrap();
        assert_eq!(reading.is_marked, expected, "{found:?}");
    }
}

/// Prometheus 3 keeps a classic histogram in this form with `convert_classic_histograms_to_nhcb`,
/// and an exponential one with `scrape_native_histograms`.
#[test]
fn a_native_histogram_is_read_as_a_classic_one() {
    let native = |rank: &str, at: &[(f64, f64, f64)]| {
        let histogram = |&(at, fast, slow): &(f64, f64, f64)| {
            let bucket = |lower, upper, count| Bucket { lower, upper, count };
            let buckets = vec![bucket(0.1, 0.25, fast), bucket(2.5, 5.0, slow)];
            (at, Histogram { count: fast + slow, sum: 1.0, buckets })
        };
        let histograms = at.iter().map(histogram).collect();
        Series { histograms, ..series("t", &[("engine", rank)], &[]) }
    };
    let found = [
        native("0", &[(1.0, 5.0, 0.0), (16.0, 9.0, 2.0)]),
        native("1", &[(1.0, 0.0, 7.0), (16.0, 0.0, 10.0)]),
    ];
    let found = super::tests::reading(&found, &measure(Kind::Histogram, "t", 60)).unwrap();
    let Value::Buckets(buckets) = &found.value else { panic!("{found:?}") };
    assert_eq!(buckets.bounds(), [0.1, 0.25, 2.5, 5.0, f64::INFINITY]);
    assert_eq!(buckets.counts(), [0.0, 4.0, 4.0, 9.0, 9.0]);
    assert_eq!((found.at, found.scrapes, found.spacing), (16.0, 1, Some(15.0)));
    assert_eq!(found.conflict, None);

    let counter = [native("0", &[(1.0, 5.0, 0.0), (16.0, 9.0, 11.0)])];
    let rate = reading(&counter, &measure(Kind::Counter, "t_count", 60)).unwrap();
    assert_eq!(rate.value, Value::Number(1.0));
}

#[test]
fn a_gauge_that_came_by_otlp_has_a_suffix() {
    let found = [series("vllm:kv_cache_usage_perc_ratio", &[], &[(100.0, 0.5), (115.0, 0.75)])];
    let recipe = Engine::Vllm.profile().recipe(Signal::KVCacheUsage).unwrap();
    let reading = reading(&found, &Measure { recipe, window: Duration::ZERO }).unwrap();
    assert_eq!((reading.value, reading.extract.alternative), (Value::Number(0.75), None));
}
