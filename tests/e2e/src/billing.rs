//! The bill of an autoscaler beside the pods' own times.

use std::{fmt::Write, time::Duration};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use llm_autoscaler_testbed::{PodTimes, wait};
use serde_json::Value;

use crate::stage::Stage;

/// The time within which the status has a change of the number of replicas.
const RECORDED: Duration = Duration::from_mins(1);
/// The difference that is allowed for each pod that came or went, in seconds.
const EACH: f64 = 1.0;
/// The part of the sum that is allowed as the difference.
const SHARE: f64 = 0.005;
/// The difference that is allowed for each pod of a short time, in seconds: the operator and this
/// watch are told of it at moments of their own.
const EACH_LATE: f64 = 0.1;

/// Compares the bill that `llm-autoscaler bill` prints with the times of the pods of each target,
/// by the target's name in the status. Returns the sums as a text.
///
/// # Errors
/// The difference of a target is more than a second for each of its pods, or more than both 0.5 %
/// of the sum and a tenth of a second for each.
pub async fn adds_up(
    stage: &Stage,
    autoscaler: &str,
    targets: &[(&str, &PodTimes)],
) -> Result<String> {
    // What the status has of a pod that has just gone may be a moment old.
    wait::until("the status to have the last change of the pods", RECORDED, async || {
        let status = stage.status(autoscaler).await?;
        let is_recorded = |(name, times): &(&str, &PodTimes)| {
            let target = status.targets.iter().find(|target| target.name == *name);
            let record = target.and_then(|target| target.bill.as_ref()?.record());
            record.is_some_and(|record| record.until >= times.last_change())
        };
        Ok(targets.iter().all(is_recorded).then_some(()))
    })
    .await?;
    let namespace = &*stage.namespace;
    let printed = stage.run_binary(&["bill", "-n", namespace, "-o", "json", autoscaler]).await?;
    let bill: Value = serde_json::from_str(&printed)?;
    let mut text = String::new();
    for (name, times) in targets {
        let found = bill["autoscalers"][0]["targets"].as_array().into_iter().flatten();
        let target = found.into_iter().find(|target| target["name"] == *name);
        let target = target.with_context(|| format!("no bill of {name}: {printed}"))?;
        let moment = |field: &str| -> Result<DateTime<Utc>> {
            Ok(target[field].as_str().context("no time")?.parse()?)
        };
        let (since, until) = (moment("since")?, moment("until")?);
        let billed = target["replicaSeconds"].as_f64().context("no sum")?;
        let (seen, pods) = (times.seconds(since, until), times.count(since, until));
        let pods = pods as f64;
        let share = (SHARE * seen).max(EACH_LATE * pods);
        let (difference, allowed) = (billed - seen, share.min(EACH * pods));
        let _ = write!(
            text,
            "\n    {name}: {billed:.1} s billed, {seen:.1} s seen of {pods} pods: {difference:+.2} s \
             of {allowed:.2} s allowed"
        );
        ensure!(difference.abs() <= allowed, "{text}\n{printed}");
        let reasons = target["reasons"].as_array().context("no reasons")?;
        let sum: f64 = reasons.iter().filter_map(|it| it["replicaSeconds"].as_f64()).sum();
        ensure!((sum - billed).abs() < 0.01, "the reasons add up to {sum} s: {printed}");
    }
    Ok(text)
}
