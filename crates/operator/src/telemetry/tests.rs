use std::collections::{BTreeMap, BTreeSet};

use super::*;

impl Telemetry {
    /// The page as tests read it.
    pub(crate) fn open_metrics(&self) -> String {
        self.page(PageFormat::OpenMetrics)
    }
}

/// Telemetry with a series of each metric.
fn telemetry() -> Telemetry {
    let telemetry = Telemetry::new(Detail::EachAutoscaler);
    telemetry.record_build("1.2.3", "0123456789ab");
    for difference in ["missing", "unknown"] {
        telemetry.set_schema_differences(difference, 1);
    }
    for kind in ["llmautoscalers", "pods"] {
        telemetry.set_watch_age(kind, Duration::ZERO);
    }
    telemetry
}

#[test]
fn each_result_has_a_counter() {
    let telemetry = telemetry();
    telemetry.record_scrape("ok");
    telemetry.record_scrape("status");
    telemetry.record_rescale(3, 1, "below_target");
    telemetry.record_write(WriteKind::Scale, "conflict", Duration::ZERO);
    let page = telemetry.open_metrics();
    for series in [
        r#"scrapes_total{result="ok"} 1"#,
        r#"scrapes_total{result="status"} 1"#,
        r#"scrapes_total{result="timeout"} 0"#,
        r#"rescales_total{direction="down",reason="below_target"} 1"#,
        r#"writes_total{kind="scale",result="conflict"} 1"#,
        r#"write_duration_seconds_count{kind="scale"} 1"#,
        r#"build_info{version="1.2.3",revision="0123456789ab"} 1"#,
    ] {
        assert!(page.contains(&format!("llm_autoscaler_{series}\n")), "{series}: {page}");
    }
}

#[test]
fn the_bill_is_counted_by_reason() {
    let telemetry = telemetry();
    telemetry.record_bill(ReplicaReason::HeldByDoubt, 1.5, 12.0);
    telemetry.record_bill(ReplicaReason::HeldByDoubt, 0.25, 2.0);
    let page = telemetry.open_metrics();
    for series in [
        r#"replica_seconds_total{reason="held_by_doubt"} 1.75"#,
        r#"gpu_seconds_total{reason="held_by_doubt"} 14.0"#,
        r#"gpu_seconds_total{reason="needed"} 0.0"#,
    ] {
        assert!(page.contains(&format!("llm_autoscaler_{series}\n")), "{series}: {page}");
    }
}

/// The labels of each metric, with their values, as the page has them.
fn exposed() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let page = telemetry().page(PageFormat::Text);
    let mut all: BTreeMap<_, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for line in page.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            all.entry(declared.split(' ').next().unwrap().to_owned()).or_default();
            continue;
        }
        let Some((series, _)) = line.split_once(' ').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let suffixes = ["_bucket", "_sum", "_count"];
        let name = suffixes.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let metric = all.get_mut(name).unwrap_or_else(|| panic!("{name} has no type"));
        for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once('=').unwrap();
            if label != "le" {
                let values = metric.entry(label.to_owned()).or_default();
                values.insert(value.trim_matches('"').to_owned());
            }
        }
    }
    all
}

/// docs/monitoring.md has a row for each metric, with its labels and their values, and no other.
#[test]
fn the_table_of_metrics_is_the_page() {
    let documented = include_str!("../../../../docs/monitoring.md");
    let rows: BTreeMap<&str, &str> = documented
        .lines()
        .filter_map(|line| line.strip_prefix("| `llm_autoscaler_")?.split_once("` | "))
        .filter_map(|(name, row)| Some((name, row.split(" | ").next()?)))
        .collect();
    let exposed = exposed();
    let names: BTreeSet<&str> =
        exposed.keys().filter_map(|name| name.strip_prefix("llm_autoscaler_")).collect();
    assert_eq!(rows.keys().copied().collect::<BTreeSet<_>>(), names);
    for (name, labels) in &exposed {
        let row = rows[name.strip_prefix("llm_autoscaler_").unwrap()];
        for (label, values) in labels {
            assert!(row.contains(&format!("`{label}`")), "{name} has the label {label}: {row}");
            let is_fixed = !matches!(&**label, "version" | "revision");
            for value in values.iter().filter(|_| is_fixed) {
                assert!(row.contains(&format!("`{value}`")), "{name} has {label}={value}: {row}");
            }
        }
    }
}

/// Telemetry of a copy that serves this many autoscalers, each with a target and eight conditions,
/// of which two are worth pointing out.
fn crowd(detail: Detail, count: usize) -> (Telemetry, Vec<StateEntry>) {
    use llm_autoscaler_api::conditions::{ConditionType, Reason};
    let conditions = [
        (ConditionType::AbleToScale, true, Reason::ReadyForNewScale),
        (ConditionType::ScalingActive, true, Reason::ValidMetricFound),
        (ConditionType::ScalingLimited, true, Reason::TooManyReplicas),
        (ConditionType::Ready, true, Reason::Scaling),
        (ConditionType::SamplesComplete, false, Reason::MissingSamples),
        (ConditionType::ScaledToZero, false, Reason::NotScaledToZero),
        (ConditionType::FirstSourceUsed, true, Reason::FirstSource),
        (ConditionType::PodMonitorReady, true, Reason::Applied),
    ];
    let telemetry = Telemetry::new(detail);
    let entries = (0..count).map(|number| {
        let name = format!("qwen3-32b-instruct-{number}");
        let entry = telemetry.add_autoscaler(format!("team-{}", number % 50), name.clone());
        let states = conditions
            .map(|(type_, holds, reason)| ConditionState { type_, holds, reason })
            .into_iter();
        let (current, desired, ready, proposed) = (8, 8, 7, Some(11));
        let sizes = TargetSizes { name, current, desired, ready, proposed, bounds: (1, 8) };
        entry.set(states, [sizes].into_iter());
        entry
    });
    let entries = entries.collect();
    (telemetry, entries)
}

/// docs/monitoring.md states these sizes.
#[test]
fn the_page_grows_with_the_autoscalers_only_on_demand() {
    let bytes = |detail, count| crowd(detail, count).0.page(PageFormat::Text).len();
    let (few, many) = (bytes(Detail::Totals, 1), bytes(Detail::Totals, 1000));
    assert!(few < 29_000 && many < few + 100, "{few} {many}");
    let each = bytes(Detail::EachAutoscaler, 1000) - many;
    assert!((800_000..1_100_000).contains(&each), "{each}");
}

/// Prints the figures of docs/monitoring.md.
#[test]
#[ignore = "it prints what a page costs, and checks nothing"]
#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn prints_the_cost_of_a_page() {
    for detail in [Detail::Totals, Detail::EachAutoscaler] {
        let (telemetry, _entries) = crowd(detail, 1000);
        for format in [PageFormat::OpenMetrics, PageFormat::Text] {
            let began = std::time::Instant::now();
            let pages: usize = (0..50).map(|_| telemetry.page(format).len()).sum();
            let millis = began.elapsed().as_secs_f64() * 1000.0 / 50.0;
            println!("{detail:?} {format:?}: {} bytes, {millis:.2} ms", pages / 50);
        }
    }
}

#[test]
fn an_autoscaler_is_decided_on_until_it_is_gone() {
    let telemetry = Telemetry::new(Detail::Totals);
    let count = |expected: u32| {
        let line = format!("\nllm_autoscaler_autoscalers_decided {expected}\n");
        telemetry.open_metrics().contains(&line)
    };
    assert!(count(0));
    let (first, second) = (telemetry.count_decided(), telemetry.count_decided());
    assert!(count(2));
    drop(first);
    assert!(count(1));
    drop(second);
    assert!(count(0));
}
