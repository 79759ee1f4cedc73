//! The bill of several autoscalers as a value, and as JSON.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use kube::ResourceExt;
use llm_autoscaler_api::{
    LLMAutoscaler, RecommendationBill, ScalingMode, TargetStatus,
    bill::{WRITTEN_EVERY_SECONDS, reason_name},
};
use llm_autoscaler_core::{
    ReplicaReason,
    bill::{Amount, Amounts, Counts},
};
use serde_json::{Map, Value, json};

/// The age up to which a bill is continued: somewhat more than that of a quiet autoscaler's.
pub(crate) const CONTINUED: TimeDelta = TimeDelta::seconds(WRITTEN_EVERY_SECONDS + 5 * 60);

/// The bill of several autoscalers.
pub(super) struct Report {
    /// The price of a GPU for an hour.
    pub(super) price: Option<f64>,
    /// The autoscalers.
    pub(super) autoscalers: Vec<Autoscaler>,
}

/// The bill of one autoscaler.
pub(super) struct Autoscaler {
    namespace: String,
    name: String,
    /// Its targets that have a bill: one, or one for each role.
    pub(super) targets: Vec<Target>,
    /// The sums with mode Recommend, in which nothing is billed.
    pub(super) recommended: Option<Recommended>,
}

/// The replicas of a target that something else scales, and those that were recommended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Recommended {
    /// The time of the replicas that the target requested, in hours.
    pub(super) actual: f64,
    /// The time of the replicas that were recommended, in hours.
    pub(super) recommended: f64,
}

impl Recommended {
    /// Returns the sums over all targets of an autoscaler; `None` if no target has any.
    fn of(object: &LLMAutoscaler) -> Option<Self> {
        // The status may still have the sums of an earlier mode.
        if object.spec.mode != ScalingMode::Recommend {
            return None;
        }
        let targets = object.status.iter().flat_map(|status| &status.targets);
        let bills = targets.filter_map(|target| Some(&target.recommendation.as_ref()?.bill));
        let add = |sum: Option<Self>, bill: &RecommendationBill| {
            let Self { actual, recommended } = sum.unwrap_or_default();
            Some(Self {
                actual: actual + bill.actual_replica_seconds as f64 / 3600.0,
                recommended: recommended + bill.recommended_replica_seconds as f64 / 3600.0,
            })
        };
        bills.fold(None, add)
    }
}

/// The bill of one target.
pub(super) struct Target {
    name: String,
    since: DateTime<Utc>,
    pub(super) until: DateTime<Utc>,
    /// True where the bill is too old to be continued.
    pub(super) is_old: bool,
    covered_ms: u64,
    peak: Counts,
    amounts: Amounts,
}

/// Sums over targets.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sums {
    /// By reason, in their order.
    pub(super) reasons: BTreeMap<ReplicaReason, Amount>,
    /// Of all reasons.
    pub(super) total: Amount,
    /// That of a static fleet of the same peak.
    pub(super) fleet: Amount,
}

impl Report {
    /// Makes the bill from the statuses, continued up to now.
    pub(super) fn new(objects: &[LLMAutoscaler], price: Option<f64>, now: DateTime<Utc>) -> Self {
        let autoscaler = |object: &LLMAutoscaler| Autoscaler {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            targets: object
                .status
                .iter()
                .flat_map(|status| &status.targets)
                .filter_map(|target| Target::new(target, object.spec.mode, now))
                .collect(),
            recommended: Recommended::of(object),
        };
        Self { price, autoscalers: objects.iter().map(autoscaler).collect() }
    }

    /// Returns the sums of all autoscalers.
    pub(super) fn sums(&self) -> Sums {
        Sums::of(self.autoscalers.iter().flat_map(|autoscaler| &autoscaler.targets))
    }

    /// Returns the cost of an amount, if there is a price.
    pub(super) fn cost(&self, amount: Amount) -> Option<f64> {
        self.price.map(|price| price * hours(amount.gpu_ms))
    }

    /// Returns the bill as JSON.
    pub(super) fn json(&self) -> Value {
        let target = |target: &Target| {
            let mut value = self.sums_json(&Sums::of([target]));
            value.insert("name".to_owned(), json!(target.name));
            value.insert("since".to_owned(), json!(timestamp(target.since)));
            value.insert("until".to_owned(), json!(timestamp(target.until)));
            value.insert("coveredSeconds".to_owned(), json!(seconds(target.covered_ms)));
            value.insert("peakReplicas".to_owned(), json!(target.peak.replicas));
            value.insert("peakGPUs".to_owned(), json!(target.peak.gpus));
            Value::Object(value)
        };
        let autoscaler = |autoscaler: &Autoscaler| {
            let mut value = self.sums_json(&autoscaler.sums());
            value.insert("namespace".to_owned(), json!(autoscaler.namespace));
            value.insert("name".to_owned(), json!(autoscaler.name));
            let targets: Vec<Value> = autoscaler.targets.iter().map(target).collect();
            value.insert("targets".to_owned(), json!(targets));
            Value::Object(value)
        };
        let autoscalers: Vec<Value> = self.autoscalers.iter().map(autoscaler).collect();
        json!({
            "pricePerGPUHour": self.price,
            "autoscalers": autoscalers,
            "total": self.sums_json(&self.sums()),
        })
    }

    fn sums_json(&self, sums: &Sums) -> Map<String, Value> {
        let amount = |amount: Amount| {
            let mut value = Map::new();
            value.insert("replicaSeconds".to_owned(), json!(seconds(amount.replica_ms)));
            value.insert("gpuSeconds".to_owned(), json!(seconds(amount.gpu_ms)));
            if let Some(cost) = self.cost(amount) {
                value.insert("cost".to_owned(), json!(cost));
            }
            value
        };
        let reason = |(reason, sum): (&ReplicaReason, &Amount)| {
            let mut value = amount(*sum);
            value.insert("reason".to_owned(), json!(reason_name(*reason)));
            Value::Object(value)
        };
        let mut value = amount(sums.total);
        let reasons: Vec<Value> = sums.reasons.iter().map(reason).collect();
        value.insert("reasons".to_owned(), json!(reasons));
        value.insert("staticFleet".to_owned(), Value::Object(amount(sums.fleet)));
        value
    }
}

impl Autoscaler {
    /// Returns its namespace and name.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Returns the sums of its targets.
    pub(super) fn sums(&self) -> Sums {
        Sums::of(&self.targets)
    }
}

impl Target {
    fn new(target: &TargetStatus, mode: ScalingMode, now: DateTime<Utc>) -> Option<Self> {
        let record = target.bill.as_ref()?.record()?;
        // With mode Recommend nothing is billed, and an earlier bill stays as it is.
        let is_ended = mode == ScalingMode::Recommend;
        let is_old = !is_ended && now - record.until > CONTINUED;
        let record = if is_old || is_ended { record.clone() } else { record.extended(now) };
        let day = record.day();
        Some(Self {
            name: target.name.clone(),
            since: record.since,
            until: record.until,
            is_old,
            covered_ms: day.covered_ms,
            peak: day.peak,
            amounts: day.amounts,
        })
    }

    /// Returns the amount of a fleet that has the highest number of replicas, and of GPUs, for all
    /// of the time that is billed.
    fn fleet(&self) -> Amount {
        Amount {
            replica_ms: self.covered_ms.saturating_mul(self.peak.replicas.into()),
            gpu_ms: self.covered_ms.saturating_mul(self.peak.gpus),
        }
    }
}

impl Sums {
    fn of<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Self {
        let mut sums = Self::default();
        let add = |sum: &mut Amount, amount: Amount| {
            sum.replica_ms = sum.replica_ms.saturating_add(amount.replica_ms);
            sum.gpu_ms = sum.gpu_ms.saturating_add(amount.gpu_ms);
        };
        for target in targets {
            add(&mut sums.fleet, target.fleet());
            for (reason, amount) in &target.amounts {
                add(sums.reasons.entry(*reason).or_default(), *amount);
                add(&mut sums.total, *amount);
            }
        }
        sums
    }
}

/// Returns milliseconds in hours.
pub(super) fn hours(ms: u64) -> f64 {
    ms as f64 / 3_600_000.0
}

/// Returns milliseconds in seconds.
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
