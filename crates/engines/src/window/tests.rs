use super::*;

const GAP: Duration = Duration::from_secs(3);

/// The samples, as tenths of a second and the number on the page, and the expected value.
type Case = (&'static [(u64, Option<f64>)], Option<f64>);

fn at(tenths: u64) -> Duration {
    Duration::from_millis(100 * tenths)
}

/// Returns a track that has been fed these numbers; `None` is a page without the quantity.
fn track_of(kind: Kind, window: u64, readings: &[(u64, Option<f64>)]) -> Track {
    let mut track = Track::new(kind, Duration::from_secs(window), GAP);
    for (tenths, number) in readings {
        track.push(at(*tenths), &number.map_or(Value::Absent, Value::Number));
    }
    track
}

fn number(track: &Track) -> Option<f64> {
    match track.value() {
        Value::Number(number) => Some((number * 1e6).round() / 1e6),
        Value::Absent => None,
        Value::Buckets(_) => panic!("buckets"),
    }
}

#[test]
fn any_moment_may_be_claimed() {
    // A Prometheus that is wrong about the time, or lies, ends nothing: 2^64 - 2048 s.
    let late = Duration::from_secs(18_446_744_073_709_549_568);
    for kind in [Kind::Gauge, Kind::Counter] {
        let mut track = Track::new(kind, Duration::from_hours(1), GAP);
        for (at, number) in [(Duration::ZERO, 1.0), (late, 2.0), (Duration::MAX, 3.0)] {
            track.push(at, &Value::Number(number));
            let _ = track.value();
        }
        assert!(!track.is_pending(), "{kind:?}");
    }
}

/// A hundred thousand pages have six of them each.
#[test]
fn a_track_takes_no_memory_for_a_window_that_it_has_not() {
    assert!(size_of::<Track>() <= 48, "{} bytes", size_of::<Track>());
}

#[test]
fn an_emptied_track_keeps_its_window_and_gives_back_the_memory_of_its_past() {
    let readings = [(0, Some(9.0)), (10, Some(2.0)), (70, Some(4.0))];
    let track = track_of(Kind::Gauge, 10, &readings);
    let mut emptied = track.emptied();
    assert!(track.memory() > 0);
    assert_eq!((emptied.memory(), number(&emptied)), (0, None));
    for (tenths, number) in readings {
        emptied.push(at(tenths), &number.map_or(Value::Absent, Value::Number));
    }
    assert_eq!((emptied.memory(), number(&emptied)), (track.memory(), number(&track)));
}

#[test]
fn without_a_window_the_value_is_the_latest_sample() {
    assert_eq!(number(&track_of(Kind::Gauge, 0, &[(0, Some(3.0)), (10, Some(5.0))])), Some(5.0));
    assert_eq!(number(&track_of(Kind::Gauge, 0, &[(0, Some(3.0)), (10, None)])), None);
    assert_eq!(
        number(&track_of(Kind::Gauge, 0, &[(10, Some(3.0)), (5, Some(9.0))])),
        Some(3.0),
        "older"
    );
}

#[test]
fn without_a_window_a_counter_is_what_the_page_has() {
    let counts = |readings| number(&track_of(Kind::Counter, 0, readings));
    assert_eq!(counts(&[(0, Some(40.0))]), Some(40.0));
    assert_eq!(counts(&[(0, Some(40.0)), (10, Some(55.0))]), Some(55.0));
    assert_eq!(counts(&[(0, Some(40.0)), (10, Some(3.0))]), Some(3.0), "a restart");
    assert_eq!(counts(&[(0, Some(40.0)), (10, None)]), None);
    let track = track_of(Kind::Counter, 0, &[(0, Some(40.0))]);
    assert!(!track.is_pending() && !track.is_young());
    let buckets = Value::Buckets(Buckets::new([(1.0, 2.0), (f64::INFINITY, 5.0)]).unwrap());
    let mut track = Track::new(Kind::Histogram, Duration::ZERO, GAP);
    track.push(at(0), &buckets);
    assert_eq!((track.value(), track.memory()), (buckets.clone(), 2 * 2 * size_of::<f64>()));
}

#[test]
fn a_gauges_mean_is_weighted_by_time() {
    let table: [Case; 6] = [
        (&[(0, Some(4.0))], Some(4.0)),
        // Each sample covers the time since the previous one.
        (&[(0, Some(9.0)), (10, Some(2.0)), (20, Some(4.0))], Some(3.0)),
        (&[(0, Some(9.0)), (10, Some(2.0)), (40, Some(4.0))], Some(3.5)),
        // It covers no more than 3 s.
        (&[(0, Some(9.0)), (10, Some(2.0)), (70, Some(4.0))], Some(3.5)),
        // A missing page covers no time.
        (&[(0, Some(9.0)), (10, Some(2.0)), (20, None), (30, Some(2.0))], Some(2.0)),
        (&[(0, Some(9.0)), (10, Some(2.0)), (20, None)], None),
    ];
    for (readings, expected) in table {
        assert_eq!(number(&track_of(Kind::Gauge, 10, readings)), expected, "{readings:?}");
    }
}

#[test]
fn samples_from_before_the_window_do_not_count() {
    let step = |tenths| (tenths, Some(if tenths < 300 { 100.0 } else { 10.0 }));
    let readings: Vec<_> = (0..=600).step_by(10).map(step).collect();
    assert_eq!(number(&track_of(Kind::Gauge, 10, &readings)), Some(10.0));
    let at_40 = number(&track_of(Kind::Gauge, 20, &readings[..41])).unwrap();
    assert!((48.0..58.0).contains(&at_40), "half of the window is the step: {at_40}");
    assert!(
        track_of(Kind::Gauge, 10, &readings).segments().count() <= 18,
        "bounded, however often it is fed"
    );
}

#[test]
fn rates_survive_resets_and_gaps() {
    let table: [Case; 7] = [
        (&[(0, Some(1000.0))], None),
        (&[(0, Some(1000.0)), (10, Some(1010.0))], Some(10.0)),
        (&[(0, Some(1000.0)), (10, Some(1010.0)), (20, Some(1030.0))], Some(15.0)),
        // The process has restarted, so everything that it counts is new.
        (&[(0, Some(1000.0)), (10, Some(1010.0)), (20, Some(4.0))], Some(7.0)),
        // A page that was not scraped loses nothing.
        (&[(0, Some(1000.0)), (40, Some(1040.0))], Some(10.0)),
        (&[(0, Some(1000.0)), (10, None), (20, Some(1040.0))], Some(20.0)),
        // The counter has started between two pages.
        (&[(0, None), (10, None), (20, Some(30.0))], Some(30.0)),
    ];
    for (readings, expected) in table {
        let track = track_of(Kind::Counter, 60, readings);
        assert_eq!(number(&track), expected, "{readings:?}");
        assert_eq!(track.is_pending(), expected.is_none(), "{readings:?}");
    }
}

#[test]
fn a_track_is_young_until_half_of_its_window_is_known() {
    for (window, tenths, young) in [(0, 0, false), (4, 0, true), (4, 19, true), (4, 20, false)] {
        let track = track_of(Kind::Gauge, window, &[(0, Some(1.0)), (tenths, Some(2.0))]);
        assert_eq!(track.is_young(), young, "{window} {tenths}");
    }
}

#[test]
fn a_rate_covers_its_window_only() {
    let readings: Vec<_> = (0..=1200)
        .step_by(10)
        .map(|tenths| (tenths, Some(if tenths < 600 { 0.0 } else { (tenths - 600) as f64 })))
        .collect();
    let rate = number(&track_of(Kind::Counter, 30, &readings)).unwrap();
    assert!((rate - 10.0).abs() < 1e-6, "{rate}");
    assert_eq!(
        number(&track_of(Kind::Counter, 30, &readings[..50])),
        Some(0.0),
        "idle is zero, not absent"
    );
}

#[test]
fn a_histogram_covers_its_window_only() {
    let buckets = |counts: [f64; 3]| {
        Value::Buckets(Buckets::new([1.0, 2.0, f64::INFINITY].into_iter().zip(counts)).unwrap())
    };
    let mut track = Track::new(Kind::Histogram, Duration::from_mins(1), GAP);
    track.push(at(0), &buckets([5.0, 6.0, 7.0]));
    assert!(track.is_pending());
    assert_eq!(track.value(), Value::Absent);
    track.push(at(10), &buckets([5.0, 9.0, 10.0]));
    assert_eq!(track.value(), buckets([0.0, 3.0, 3.0]));
    // The process has restarted.
    track.push(at(20), &buckets([1.0, 1.0, 1.0]));
    assert_eq!(track.value(), buckets([1.0, 4.0, 4.0]));
    // The bounds have changed.
    let finer = Value::Buckets(
        Buckets::new([(0.5, 1.0), (1.0, 1.0), (2.0, 2.0), (f64::INFINITY, 2.0)]).unwrap(),
    );
    track.push(at(30), &finer);
    assert_eq!(track.value(), finer);
    track.push(at(900), &finer);
    let Value::Buckets(idle) = track.value() else { panic!("gone") };
    assert!(idle.events() < 3.0);
}

/// Such as -1 as an unsigned number, for one scrape. It used to leave 0 behind, for ever.
#[test]
fn an_absurd_sample_leaves_the_window_without_a_trace() {
    for spike in [1.8e19, 1e300] {
        let gauge = |tenths| (tenths, Some(if tenths == 100 { spike } else { 10.0 }));
        let readings: Vec<_> = (0..=1000).step_by(10).map(gauge).collect();
        let within = number(&track_of(Kind::Gauge, 30, &readings[..20])).unwrap();
        assert!(within > spike / 100.0, "{within}");
        for end in 45..=100 {
            let after = number(&track_of(Kind::Gauge, 30, &readings[..end]));
            assert_eq!(after, Some(10.0), "after {spike}, at {end} s");
        }
        let counter = |tenths| (tenths, Some(if tenths == 100 { spike } else { tenths as f64 }));
        let readings: Vec<_> = (0..=1000).step_by(10).map(counter).collect();
        let after = number(&track_of(Kind::Counter, 30, &readings)).unwrap();
        assert!((after - 10.0).abs() < 1e-6, "{after}");
    }
}
