//! The bill as a table for people.

use std::fmt::Write;

use llm_autoscaler_api::bill::reason_name;
use llm_autoscaler_core::bill::Amount;

use super::report::{Recommended, Report, Sums, hours};

/// The name of all autoscalers together.
const ALL: &str = "all";
/// The milliseconds of an hour.
const HOUR_MS: u64 = 3_600_000;

/// Returns the table, and notes about what it lacks.
pub(super) fn render(report: &Report) -> String {
    if report.autoscalers.is_empty() {
        return "no LLMAutoscaler was found: name another namespace by -n, or all by -A\n"
            .to_owned();
    }
    let unit = Unit::of(report.sums().total);
    let mut rows = vec![header(report, unit)];
    let billed = || report.autoscalers.iter().filter(|it| !it.targets.is_empty());
    for autoscaler in billed() {
        rows.extend(rows_of(report, unit, &autoscaler.path(), &autoscaler.sums()));
    }
    if billed().count() > 1 {
        rows.extend(rows_of(report, unit, ALL, &report.sums()));
    }
    let mut text = String::new();
    if rows.len() > 1 {
        text.push_str(&aligned(&rows));
    }
    text.push_str(&notes(report));
    text
}

/// The unit of the columns with times.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Seconds,
    Hours,
}

impl Unit {
    /// Returns the unit for a bill with this total: seconds in its first hour.
    fn of(total: Amount) -> Self {
        if total.replica_ms < HOUR_MS { Self::Seconds } else { Self::Hours }
    }

    /// Returns a time of this many milliseconds as a number.
    fn number(self, ms: u64) -> String {
        match self {
            Self::Seconds => format!("{:.0}", hours(ms) * 3600.0),
            Self::Hours => format!("{:.2}", hours(ms)),
        }
    }

    /// Returns a cost as a number.
    fn cost(self, cost: f64) -> String {
        match self {
            Self::Seconds => format!("{cost:.4}"),
            Self::Hours => format!("{cost:.2}"),
        }
    }
}

fn header(report: &Report, unit: Unit) -> Vec<String> {
    let [replicas, gpus] = match unit {
        Unit::Seconds => ["REPLICA-SECONDS", "GPU-SECONDS"],
        Unit::Hours => ["REPLICA-HOURS", "GPU-HOURS"],
    };
    let names = ["AUTOSCALER", "REASON", replicas, gpus, "SHARE"];
    let cost = report.price.map(|_| "COST");
    names.into_iter().chain(cost).map(str::to_owned).collect()
}

fn rows_of(report: &Report, unit: Unit, name: &str, sums: &Sums) -> Vec<Vec<String>> {
    let share = |amount: Amount| {
        let total = sums.total.replica_ms.max(1) as f64;
        format!("{:.1}%", 100.0 * amount.replica_ms as f64 / total)
    };
    let row = |reason: &str, amount: Amount, share: String| {
        let mut row = vec![
            name.to_owned(),
            reason.to_owned(),
            unit.number(amount.replica_ms),
            unit.number(amount.gpu_ms),
            share,
        ];
        row.extend(report.cost(amount).map(|cost| unit.cost(cost)));
        row
    };
    let reasons =
        sums.reasons.iter().map(|(reason, sum)| row(reason_name(*reason), *sum, share(*sum)));
    let mut rows: Vec<_> = reasons.collect();
    rows.push(row("(total)", sums.total, share(sums.total)));
    rows.push(row("(static fleet)", sums.fleet, share(sums.fleet)));
    rows
}

/// Aligns the columns: texts to the left, numbers to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(text, "{cell:<width$}"),
                1 => write!(text, "  {cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}

/// Returns what the table lacks, one line each.
fn notes(report: &Report) -> String {
    let mut text = String::new();
    for autoscaler in &report.autoscalers {
        let path = autoscaler.path();
        if let Some(Recommended { actual, recommended }) = autoscaler.recommended {
            let _ = writeln!(
                text,
                "{path} has mode Recommend and is not billed: in the last day its target had \
                 {actual:.2} replica-hours, and {recommended:.2} were recommended"
            );
        } else if autoscaler.targets.is_empty() {
            let _ = writeln!(
                text,
                "{path} has no bill yet: it begins with the first decision; see llm-autoscaler \
                 explain"
            );
        }
        if let Some(old) =
            autoscaler.targets.iter().filter(|target| target.is_old).map(|it| it.until).min()
        {
            let until = old.format("%Y-%m-%d %H:%M:%S");
            let _ =
                writeln!(text, "{path} is billed until {until} UTC only: is the operator running?");
        }
    }
    if report.price.is_some()
        && report.sums().total.replica_ms > 0
        && report.sums().total.gpu_ms == 0
    {
        text.push_str(
            "no GPU was counted, so nothing has a cost: set spec.gpusPerReplica, or name the pods' \
             resources in the operator's --gpu-resources; of ResourceClaims see its log\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::{DateTime, Utc};
    use llm_autoscaler_api::{
        BillStatus, LLMAutoscaler, RecommendationBill, RecommendationStatus, ScalingMode,
    };
    use llm_autoscaler_core::{
        ReplicaReason::{self, HeldByDoubt, Needed, Starting},
        bill::{BilledReplica, EndedReplica, Ledger},
    };
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_225_600 + second, 0).unwrap()
    }

    /// Returns the status of a target: these reasons for an hour, and a needed replica afterwards.
    fn bill(reasons: &[ReplicaReason], gpus: u32) -> BillStatus {
        let mut ledger = Ledger::default();
        let replica = |(key, reason): (usize, ReplicaReason)| BilledReplica {
            key: key.to_string(),
            start: at(0),
            deadline: None,
            gpus,
            reason,
        };
        let replicas = |reasons: &[ReplicaReason]| -> Vec<BilledReplica> {
            reasons.iter().copied().enumerate().map(replica).collect()
        };
        ledger.bill(&replicas(reasons), &[], at(0));
        let end =
            |key: usize| EndedReplica { key: key.to_string(), start: at(0), end: at(3600), gpus };
        let ended: Vec<EndedReplica> = (1..reasons.len()).map(end).collect();
        ledger.bill(&replicas(&[Needed]), &ended, at(3600));
        BillStatus::new(&ledger).unwrap()
    }

    fn object(name: &str, bills: &[BillStatus]) -> LLMAutoscaler {
        let target = |(place, bill): (usize, &BillStatus)| {
            json!({
                "name": format!("{name}-{place}"), "currentReplicas": 1, "readyReplicas": 1,
                "desiredReplicas": 1, "bill": bill,
            })
        };
        let targets: Vec<_> = bills.iter().enumerate().map(target).collect();
        let object = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
            "metadata": {"name": name, "namespace": "team-a"},
            "spec": {"engine": "VLLM", "maxReplicas": 3},
            "status": {"targets": targets},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn each_autoscaler_has_its_reasons_its_total_and_a_fleet() {
        let objects = [
            object("qwen3", &[bill(&[Needed, HeldByDoubt], 8)]),
            object("pd", &[bill(&[Needed], 1), bill(&[Needed, Starting], 2)]),
            object("new", &[]),
        ];
        // Half an hour after the statuses were written, a replica of each target is still needed.
        let report = Report::new(&objects, Some(2.0), at(5400));
        let expected = "\
AUTOSCALER    REASON          REPLICA-HOURS  GPU-HOURS   SHARE   COST
team-a/qwen3  Needed                   1.50      12.00   60.0%  24.00
team-a/qwen3  HeldByDoubt              1.00       8.00   40.0%  16.00
team-a/qwen3  (total)                  2.50      20.00  100.0%  40.00
team-a/qwen3  (static fleet)           3.00      24.00  120.0%  48.00
team-a/pd     Needed                   3.00       4.50   75.0%   9.00
team-a/pd     Starting                 1.00       2.00   25.0%   4.00
team-a/pd     (total)                  4.00       6.50  100.0%  13.00
team-a/pd     (static fleet)           4.50       7.50  112.5%  15.00
all           Needed                   4.50      16.50   69.2%  33.00
all           Starting                 1.00       2.00   15.4%   4.00
all           HeldByDoubt              1.00       8.00   15.4%  16.00
all           (total)                  6.50      26.50  100.0%  53.00
all           (static fleet)           7.50      31.50  115.4%  63.00
team-a/new has no bill yet: it begins with the first decision; see llm-autoscaler explain
";
        assert_eq!(render(&report), expected);
    }

    #[test]
    fn a_young_bill_is_in_seconds_and_one_that_is_alone_has_no_sum() {
        let mut ledger = Ledger::default();
        let replica = BilledReplica {
            key: "a".to_owned(),
            start: at(0),
            deadline: None,
            gpus: 8,
            reason: Needed,
        };
        ledger.bill(&[replica], &[], at(0));
        let objects = [object("qwen3", &[BillStatus::new(&ledger).unwrap()]), object("new", &[])];
        let report = Report::new(&objects, Some(2.0), at(36));
        let expected = "\
AUTOSCALER    REASON          REPLICA-SECONDS  GPU-SECONDS   SHARE    COST
team-a/qwen3  Needed                       36          288  100.0%  0.1600
team-a/qwen3  (total)                      36          288  100.0%  0.1600
team-a/qwen3  (static fleet)               36          288  100.0%  0.1600
team-a/new has no bill yet: it begins with the first decision; see llm-autoscaler explain
";
        assert_eq!(render(&report), expected);
    }

    #[test]
    fn json_has_seconds_and_no_cost_without_a_price() {
        let objects = [object("qwen3", &[bill(&[Needed, HeldByDoubt], 8)])];
        let found = Report::new(&objects, None, at(3600)).json();
        let amount =
            |replicas: f64| json!({"replicaSeconds": replicas, "gpuSeconds": 8.0 * replicas});
        let sums = |more: serde_json::Value| {
            let mut sums = amount(7200.0);
            let reason = |name: &str| {
                let mut amount = amount(3600.0);
                amount["reason"] = json!(name);
                amount
            };
            sums["reasons"] = json!([reason("Needed"), reason("HeldByDoubt")]);
            sums["staticFleet"] = amount(7200.0);
            for (key, value) in more.as_object().unwrap() {
                sums[key] = value.clone();
            }
            sums
        };
        let target = sums(json!({
            "name": "qwen3-0", "since": "2026-01-01T00:00:00.000Z",
            "until": "2026-01-01T01:00:00.000Z", "coveredSeconds": 3600.0,
            "peakReplicas": 2, "peakGPUs": 16,
        }));
        let autoscaler = sums(json!({"namespace": "team-a", "name": "qwen3", "targets": [target]}));
        let expected = json!({
            "pricePerGPUHour": null, "autoscalers": [autoscaler], "total": sums(json!({})),
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_recommendation_is_not_billed_and_an_earlier_bill_is_not_continued() {
        let mut new = object("new", &[bill(&[Needed], 8)]);
        let mut earlier = object("old", &[bill(&[Needed], 8)]);
        let targets = [&mut new, &mut earlier]
            .map(|it| Arc::make_mut(&mut it.status.as_mut().unwrap().targets[0]));
        for target in targets {
            target.recommendation = Some(Box::new(RecommendationStatus {
                bill: RecommendationBill {
                    actual_replica_seconds: 36_000,
                    recommended_replica_seconds: 27_000,
                    ..RecommendationBill::default()
                },
                ..RecommendationStatus::default()
            }));
        }
        new.spec.mode = ScalingMode::Recommend;
        earlier.spec.mode = ScalingMode::Recommend;
        Arc::make_mut(&mut new.status.as_mut().unwrap().targets[0]).bill = None;
        let notes = |name: &str| {
            format!(
                "team-a/{name} has mode Recommend and is not billed: in the last day its target \
                 had 10.00 replica-hours, and 7.50 were recommended\n"
            )
        };
        assert_eq!(render(&Report::new(&[new], None, at(7200))), notes("new"));
        let text = render(&Report::new(std::slice::from_ref(&earlier), None, at(7200)));
        assert!(text.contains("(total)                  1.00"), "{text}");
        assert!(text.ends_with(&notes("old")), "{text}");
        earlier.spec.mode = ScalingMode::Scale;
        let text = render(&Report::new(&[earlier], None, at(7200)));
        assert!(!text.contains("Recommend"), "{text}");
    }

    #[test]
    fn notes_say_what_is_missing() {
        let none = Report::new(&[], None, at(0));
        assert!(render(&none).starts_with("no LLMAutoscaler was found"));
        // The status is more than half an hour old, so its bill is not continued.
        let objects = [object("qwen3", &[bill(&[Needed], 0)])];
        let report = Report::new(&objects, Some(2.0), at(3600 + 36 * 60));
        let text = render(&report);
        assert!(text.contains("team-a/qwen3  (total)                  1.00       0.00"), "{text}");
        assert!(text.contains("is billed until 2026-01-01 01:00:00 UTC only"), "{text}");
        assert!(text.contains("no GPU was counted"), "{text}");
    }
}
