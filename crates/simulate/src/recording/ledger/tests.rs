use llm_autoscaler_engines::Engine;

use super::*;
use crate::recording::{Counts, Header, Recording};

/// Series of pods, as a Prometheus returns them.
#[derive(Default)]
struct Server(Vec<Series>);

impl Server {
    /// Adds the samples of a series: times, each with a value.
    fn with(
        mut self,
        pod: &str,
        name: &str,
        labels: &[(&str, &str)],
        samples: &[(i32, i32)],
    ) -> Self {
        let pod = [("namespace", "models"), ("pod", pod)];
        let labels =
            pod.iter().chain(labels).map(|(name, value)| ((*name).into(), (*value).into()));
        let samples = samples.iter().map(|(at, value)| (f64::from(*at), f64::from(*value)));
        self.0.push(Series {
            name: name.into(),
            labels: labels.collect(),
            samples: samples.collect(),
            histograms: Vec::new(),
        });
        self
    }

    /// Adds an engine at an address, scraped at these times: requests that have ended, and those
    /// that run. Each request has 100 prompt tokens and 10 generated ones.
    fn engine(self, pod: &str, address: &str, samples: &[(i32, i32, i32)]) -> Self {
        let of = |value: fn(&(i32, i32, i32)) -> i32| -> Vec<(i32, i32)> {
            samples.iter().map(|sample| (sample.0, value(sample))).collect()
        };
        let labels = [("instance", address)];
        self.with(pod, "vllm:request_success_total", &labels, &of(|it| it.1))
            .with(pod, "vllm:prompt_tokens_total", &labels, &of(|it| 100 * it.1))
            .with(pod, "vllm:generation_tokens_total", &labels, &of(|it| 10 * it.1))
            .with(pod, "vllm:num_requests_running", &labels, &of(|it| it.2))
            .with(pod, "vllm:num_requests_waiting", &labels, &of(|_| 0))
            .with(pod, "up", &labels, &of(|_| 1))
    }

    /// Records the time from 0 to `to`, in chunks of this length.
    fn record(&self, to: i32, chunk: i32) -> Result<Recording, SimulateError> {
        let selection = Selection {
            namespace: "models".to_owned(),
            pods: ".*".to_owned(),
            namespace_label: "namespace".to_owned(),
            pod_label: "pod".to_owned(),
            replica_labels: vec!["replica".to_owned()],
            matchers: Vec::new(),
        };
        let header = Header {
            version: Header::version(),
            server: "http://prometheus".to_owned(),
            namespace: "models".to_owned(),
            pods: ".*".to_owned(),
            matchers: Vec::new(),
            engine: "VLLM".to_owned(),
            from: 0.0,
            to: f64::from(to),
            chunk: f64::from(chunk),
        };
        let mut ledger = Ledger::new(0.0, selection, Measures::of(Engine::Vllm), None);
        let chunks = header.chunks();
        let chunks = chunks.iter().map(|(from, to)| ledger.read(&self.0, *from, *to));
        let chunks: Vec<Chunk> = chunks.collect::<Result<_, _>>()?;
        Recording::of(header, &chunks)
    }

    /// Returns the requests of a recording of 0 to 100 s, whatever the length of its chunks.
    fn requests(&self) -> f64 {
        let of = |chunk| self.record(100, chunk).unwrap();
        let whole = of(100);
        for chunk in [30, 50] {
            let parts = of(chunk);
            let (parts, whole) = (parts.requests(), whole.requests());
            assert!((parts - whole).abs() < 1e-6, "chunks of {chunk} s: {parts}, not {whole}");
        }
        whole.requests()
    }
}

/// An engine at one address that is scraped every 10 s.
fn steady(samples: &[(i32, i32, i32)]) -> Server {
    Server::default().engine("a", "10.0.0.1:8000", samples)
}

#[test]
fn requests_arrive_when_they_have_ended_or_are_in_flight() {
    for (what, samples, expected) in [
        ("ended", &[(10, 50, 0), (20, 53, 0), (30, 58, 0)][..], 8.0),
        ("in flight", &[(10, 50, 1), (20, 50, 4), (30, 52, 4)], 5.0),
        ("ended later", &[(10, 50, 4), (20, 54, 0), (30, 54, 0)], 0.0),
        // The gauge is ahead of the counter for a moment.
        ("contradiction", &[(10, 50, 4), (20, 50, 2), (30, 53, 3)], 2.0),
        // 3 were in flight when the engine ended, and 4 came to the new one.
        ("restart", &[(10, 50, 3), (20, 52, 3), (30, 3, 1)], 6.0),
        ("a lost scrape", &[(10, 50, 0), (20, 52, 0), (40, 58, 0)], 8.0),
        ("a gap", &[(10, 50, 0), (20, 52, 0), (30, 54, 0), (90, 60, 0)], 10.0),
    ] {
        let found = steady(samples).requests();
        assert!((found - expected).abs() < 1e-6, "{what}: {found}, not {expected}");
    }
}

#[test]
fn a_restart_is_counted_with_the_requests_that_it_cut_off() {
    let recording = steady(&[(10, 50, 0), (20, 52, 3), (30, 4, 1), (40, 5, 0)]);
    let recording = recording.record(50, 50).unwrap();
    assert_eq!((recording.counts.restarts, recording.counts.cut_off), (1, 3));
}

#[test]
fn a_gap_is_told_with_what_counters_know_about_it() {
    let server = steady(&[(10, 0, 0), (20, 2, 0), (30, 4, 0), (90, 16, 0), (100, 18, 0)]);
    for chunk in [100, 30] {
        let recording = server.record(160, chunk).unwrap();
        let gaps = recording.gaps();
        let times: Vec<(f64, f64)> = gaps.iter().map(|gap| (gap.from, gap.to)).collect();
        assert_eq!(times, [(30.0, 90.0), (100.0, 160.0)], "chunks of {chunk} s");
        assert!((gaps[0].requests - 12.0).abs() < 1e-6, "{gaps:?}");
        assert!((recording.spread() - 12.0).abs() < 1e-6);
        assert!(gaps[1].requests.abs() < 1e-6, "nothing is known of the end: {gaps:?}");
    }
}

#[test]
fn a_pod_that_was_not_seen_before_began_at_zero_and_one_of_the_first_scrape_did_not() {
    let old = [(10, 500, 0), (20, 500, 0), (30, 500, 0), (40, 500, 0), (50, 500, 0), (60, 500, 0)];
    let new = [(55, 7, 2), (65, 9, 2)];
    let server = steady(&old).engine("b", "10.0.0.2:8000", &new);
    assert!((server.requests() - 11.0).abs() < 1e-6);
    let counts = server.record(100, 100).unwrap().counts;
    assert_eq!((counts.before_first_scrape, counts.unknown_starts), (9, 1));
    // Both are there from the start, for an unknown time.
    let server = steady(&old).engine("b", "10.0.0.2:8000", &[(15, 7, 2), (25, 9, 2)]);
    assert!((server.requests() - 2.0).abs() < 1e-6);
    // A target without a page has no engine yet, so the next page is of a new one.
    let loading = [(12, 0), (22, 0)];
    let server = steady(&old).with("b", "up", &[("instance", "10.0.0.2:8000")], &loading).engine(
        "b",
        "10.0.0.2:8000",
        &[(32, 7, 2), (42, 9, 2)],
    );
    assert!((server.requests() - 11.0).abs() < 1e-6);
}

#[test]
fn a_pod_that_comes_back_at_another_address_begins_at_zero() {
    let server = steady(&[(10, 50, 0), (20, 52, 1)]).engine(
        "a",
        "10.0.0.9:8000",
        &[(33, 60, 0), (43, 61, 0), (53, 62, 0), (63, 62, 0)],
    );
    // 3 of the old engine and 62 of the new one.
    assert!((server.requests() - 65.0).abs() < 1e-6, "{}", server.requests());
}

#[test]
fn a_pod_that_is_scraped_twice_counts_once() {
    let samples = [(10, 50, 0), (20, 52, 1), (30, 55, 0), (40, 57, 0), (50, 57, 0)];
    let once = steady(&samples).requests();
    let job = |mut server: Server, samples: &[(i32, i32, i32)]| {
        let before = server.0.len();
        server = server.engine("a", "10.0.0.1:8000", samples);
        for series in &mut server.0[before..] {
            series.labels.push(("job".into(), "other".into()));
        }
        server
    };
    assert!((job(steady(&samples), &samples).requests() - once).abs() < 1e-6);
    // The job has another name from 25 s on.
    let renamed = job(steady(&samples[..2]), &samples[2..]);
    assert!((renamed.requests() - once).abs() < 1e-6);
    let replica = steady(&samples);
    let mut replicas = replica.engine("a", "10.0.0.1:8000", &samples);
    for (index, series) in replicas.0.iter_mut().enumerate() {
        series.labels.push(("replica".into(), if index < 6 { "a" } else { "b" }.into()));
    }
    assert!((replicas.requests() - once).abs() < 1e-6);
}

#[test]
fn two_pods_of_one_name_are_an_error_that_says_what_to_do() {
    let samples = [(10, 50, 0), (20, 52, 1), (30, 55, 0)];
    let mut server = steady(&samples).engine("a", "10.9.9.9:8000", &samples);
    for (index, series) in server.0.iter_mut().enumerate() {
        series.labels.push(("cluster".into(), if index < 6 { "eu" } else { "us" }.into()));
    }
    let error = server.record(100, 100).unwrap_err().to_string();
    assert!(error.contains("--matcher cluster=VALUE"), "{error}");
}

#[test]
fn the_fleet_has_pods_from_their_first_scrape_on() {
    let old: Vec<(i32, i32, i32)> = (1..=10).map(|at| (10 * at, 0, 0)).collect();
    let server = steady(&old)
        .with("b", "up", &[("instance", "10.0.0.2:8000")], &[(40, 0), (50, 0)])
        .engine("b", "10.0.0.2:8000", &[(60, 1, 0), (70, 1, 0), (80, 1, 0)]);
    let recording = server.record(100, 30).unwrap();
    let measured = recording.measured(crate::Promise::default());
    assert_eq!(measured.fleet, [(10.0, 1, 1), (30.0, 2, 1), (50.0, 2, 2), (80.0, 1, 1)]);
    assert_eq!((measured.peak_replicas, measured.changes), (2, 2));
    // 100 s of the old pod and 50 s of the new one, of which it loaded for 20 s.
    assert!((measured.replica_hours * 3_600.0 - 150.0).abs() < 1e-6, "{measured:?}");
    assert!((measured.serving_hours * 3_600.0 - 130.0).abs() < 1e-6, "{measured:?}");
}

#[test]
fn the_ends_of_the_samples_are_no_changes_of_the_fleet() {
    // The first scrapes are at the end of a cell, and at the start of the next one.
    for (one, other) in [(0, 9), (2, 9), (4, 9), (4, 11)] {
        let of = |offset: i32| -> Vec<(i32, i32, i32)> {
            (1..=10).map(|at| (10 * at + offset, 0, 0)).collect()
        };
        let server = steady(&of(one)).engine("b", "10.0.0.2:8000", &of(other));
        let fleet = server.record(130, 30).unwrap().measured(crate::Promise::default()).fleet;
        assert_eq!(fleet, [(10.0, 2, 2)], "{one} and {other}");
    }
}

#[test]
fn a_trace_has_the_requests_and_tokens_of_its_recording() {
    let samples: Vec<(i32, i32, i32)> = (1..=60).map(|at| (10 * at, 7 * at, 0)).collect();
    let recording = steady(&samples).record(610, 100).unwrap();
    for seed in [1, 2] {
        let requests = recording.draw(seed, 0.8);
        let prompts: u32 = requests.iter().map(|it| it.prompt_tokens).sum();
        let answers: u32 = requests.iter().map(|it| it.output_tokens).sum();
        assert!(requests.len().abs_diff(7 * 59) <= 1, "{}", requests.len());
        assert!(requests.is_sorted_by(|a, b| a.at <= b.at));
        let is_near = |found: u32, expected: f64| (f64::from(found) / expected - 1.0).abs() < 0.01;
        assert!(is_near(prompts, 100.0 * 7.0 * 59.0), "{prompts}");
        assert!(is_near(answers, 10.0 * 7.0 * 59.0), "{answers}");
    }
    assert_ne!(recording.draw(1, 0.8), recording.draw(2, 0.8));
    let text = recording.trace_csv(1, 0.8);
    assert!(crate::arrivals::Trace::parse(&text).is_ok());
}

#[test]
fn nothing_at_all_is_an_error() {
    let error = Server::default().record(100, 50).unwrap_err().to_string();
    assert!(error.contains("--namespace, --pods"), "{error}");
    assert_eq!(
        steady(&[(10, 1, 0), (20, 1, 0)]).record(30, 30).unwrap().counts,
        Counts { samples: 10, unknown_starts: 1, ..Counts::default() }
    );
}

#[test]
fn a_file_that_ends_in_the_middle_of_a_line_is_read_up_to_it() {
    let server = steady(&[(10, 0, 0), (20, 2, 0), (30, 4, 0)]);
    let recording = server.record(40, 40).unwrap();
    let chunk = Chunk { from: 0.0, to: 40.0, step: Some(10.0), ..Chunk::default() };
    let line = |value: serde_json::Result<String>| value.unwrap() + "\n";
    let whole =
        line(serde_json::to_string(&recording.header)) + &line(serde_json::to_string(&chunk));
    let (header, chunks, end) = Recording::parse(&format!("{whole}{{\"from\":40.0,")).unwrap();
    assert_eq!((header, chunks, end), (recording.header, vec![chunk], whole.len()));
    for (text, expected) in [
        ("", "is empty"),
        ("{}\n", "line 1"),
        (&whole.replacen("\"version\":1", "\"version\":9", 1), "version 9"),
        (&format!("{whole}{{}}\n"), "line 3"),
    ] {
        let error = Recording::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
