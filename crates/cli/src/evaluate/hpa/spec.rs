//! A spec of `autoscaling/v2`, parsed into a policy and the names of its metrics.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use llm_autoscaler_api::{
    Quantity,
    messages::{MetricDescription, ObjectDescription, selector_text},
};
use llm_autoscaler_core::{
    Amount, Behavior, MetricKind, MetricPolicy, Policy, Profile, RatePolicy, Rules, Select,
    Settings, Target, Tolerances,
};
use serde::Deserialize;

use super::settings::SettingsCase;
use crate::evaluate::{answer::Unsupported, fields::or_default};

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HpaSpec {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) scale_target_ref: TargetRef,
    min_replicas: Option<i32>,
    #[serde(default, deserialize_with = "or_default")]
    max_replicas: i32,
    #[serde(default, deserialize_with = "or_default")]
    metrics: Vec<MetricSpec>,
    behavior: Option<BehaviorSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct TargetRef {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) name: String,
}

#[derive(Clone, Debug, Deserialize)]
struct MetricSpec {
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    type_: String,
    pods: Option<MetricSource>,
    object: Option<MetricSource>,
    external: Option<MetricSource>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricSource {
    #[serde(default, deserialize_with = "or_default")]
    described_object: TargetRef,
    #[serde(default, deserialize_with = "or_default")]
    metric: MetricId,
    #[serde(default, deserialize_with = "or_default")]
    target: TargetSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct MetricId {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    selector: Option<LabelSelector>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TargetSpec {
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    type_: String,
    value: Option<Quantity>,
    average_value: Option<Quantity>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BehaviorSpec {
    scale_up: Option<RulesSpec>,
    scale_down: Option<RulesSpec>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RulesSpec {
    stabilization_window_seconds: Option<i32>,
    select_policy: Option<String>,
    policies: Option<Vec<RatePolicySpec>>,
    tolerance: Option<Quantity>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RatePolicySpec {
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    type_: String,
    #[serde(default, deserialize_with = "or_default")]
    value: i32,
    #[serde(default, deserialize_with = "or_default")]
    period_seconds: i32,
}

/// A parsed spec.
pub(super) struct ParsedHpa {
    pub(super) policy: Policy,
    /// The names of the policy's metrics in messages, in the same order.
    pub(super) metrics: Vec<MetricDescription>,
    /// The target as `KIND/NAMESPACE/NAME`.
    pub(super) reference: String,
}

/// The namespace of all objects.
pub(super) const NAMESPACE: &str = "kit";

impl HpaSpec {
    /// Parses the spec, under the controller's settings that the case names.
    pub(super) fn parse(
        &self,
        settings_case: &SettingsCase,
        profile: Profile,
    ) -> Result<ParsedHpa, Unsupported> {
        if self.metrics.is_empty() {
            return Err(Unsupported::new("a spec without metrics, which means the CPU's"));
        }
        let (metrics, descriptions) =
            self.metrics.iter().map(MetricSpec::read).collect::<Result<(Vec<_>, Vec<_>), _>>()?;
        let settings = settings_case.settings();
        let behavior = self.behavior.as_ref();
        let policy = Policy {
            min_replicas: self.min_replicas.unwrap_or(1),
            max_replicas: self.max_replicas,
            metrics,
            tolerance: tolerances(behavior, settings_case.tolerance_up())?,
            behavior: behavior.map(|spec| spec.read(&settings)),
            to_zero: None,
            fallback: None,
            profile,
            settings,
        };
        Ok(ParsedHpa { policy, metrics: descriptions, reference: self.reference()? })
    }

    fn reference(&self) -> Result<String, Unsupported> {
        let TargetRef { kind, name } = &self.scale_target_ref;
        match kind.as_str() {
            "" => Ok(format!("Deployment/{NAMESPACE}/kit")),
            "Deployment" => Ok(format!("Deployment/{NAMESPACE}/{name}")),
            _ => Err(Unsupported::new(format!("scaleTargetRef of kind {kind}"))),
        }
    }
}

impl MetricSpec {
    fn read(&self) -> Result<(MetricPolicy, MetricDescription), Unsupported> {
        let (kind, source) = match self.type_.as_str() {
            "Pods" => (MetricKind::PerReplica, &self.pods),
            "Object" => (MetricKind::Object, &self.object),
            "External" => (MetricKind::External, &self.external),
            other => return Err(Unsupported::new(format!("metrics of type {other}"))),
        };
        let source = source
            .as_ref()
            .ok_or_else(|| Unsupported::new(format!("{} without its source", self.type_)))?;
        let description = MetricDescription {
            name: source.metric.name.clone(),
            namespace: NAMESPACE.to_owned(),
            object: ObjectDescription {
                kind: source.described_object.kind.clone(),
                name: source.described_object.name.clone(),
            },
            selector: selector_text(source.metric.selector.as_ref()),
            error: None,
            promised: None,
        };
        Ok((MetricPolicy { kind, target: source.target.read(kind)? }, description))
    }
}

impl TargetSpec {
    /// Reads the target as the HPA does: that of an Object metric by its type, that of an External
    /// metric by the field that is set; a Pods metric has an average only.
    fn read(&self, kind: MetricKind) -> Result<Target, Unsupported> {
        let milli = |quantity: &Quantity| {
            quantity.milli().map_err(|error| Unsupported::new(error.to_string()))
        };
        let value = || self.value.as_ref().map(milli).transpose();
        let average = || self.average_value.as_ref().map(milli).transpose();
        let target = match (kind, self.type_.as_str()) {
            (MetricKind::Object, "Value") => value()?.map(Target::Value),
            (MetricKind::Object, "AverageValue") | (MetricKind::PerReplica, _) => {
                average()?.map(Target::AverageValue)
            }
            // The HPA has no pooled metrics, so no case has one.
            (MetricKind::Object | MetricKind::Pooled, _) => None,
            (MetricKind::External, _) => match average()? {
                Some(average) => Some(Target::AverageValue(average)),
                None => value()?.map(Target::Value),
            },
        };
        Ok(target.unwrap_or(Target::Missing))
    }
}

impl BehaviorSpec {
    fn read(&self, settings: &Settings) -> Behavior {
        Behavior {
            scale_up: rules_of_scale_up(self.scale_up.as_ref()),
            scale_down: rules_of_scale_down(self.scale_down.as_ref(), settings),
        }
    }
}

pub(super) fn rules_of_scale_up(spec: Option<&RulesSpec>) -> Rules {
    with_defaults(spec, Rules::default_scale_up())
}

pub(super) fn rules_of_scale_down(spec: Option<&RulesSpec>, settings: &Settings) -> Rules {
    // The default window is the controller's own, in whole seconds.
    let window = TimeDelta::seconds(settings.downscale_stabilization.num_seconds());
    with_defaults(spec, Rules::default_scale_down(window))
}

/// Returns the rules of a spec without any default.
pub(super) fn rules_as_written(spec: &RulesSpec) -> Rules {
    with_defaults(
        Some(spec),
        Rules { window: TimeDelta::zero(), select: Select::Max, policies: Vec::new() },
    )
}

fn with_defaults(spec: Option<&RulesSpec>, defaults: Rules) -> Rules {
    let Some(spec) = spec else { return defaults };
    let window = spec.stabilization_window_seconds;
    Rules {
        window: window.map_or(defaults.window, |seconds| TimeDelta::seconds(seconds.into())),
        select: match spec.select_policy.as_deref() {
            None => defaults.select,
            Some("Disabled") => Select::Disabled,
            Some("Min") => Select::Min,
            Some(_) => Select::Max,
        },
        policies: spec.policies.as_ref().map_or(defaults.policies, |policies| {
            policies.iter().map(RatePolicySpec::read).collect()
        }),
    }
}

impl RatePolicySpec {
    fn read(&self) -> RatePolicy {
        let amount = match self.type_.as_str() {
            "Percent" => Amount::Percent(self.value),
            _ => Amount::Replicas(self.value),
        };
        RatePolicy { amount, period: TimeDelta::seconds(self.period_seconds.into()) }
    }
}

fn tolerances(behavior: Option<&BehaviorSpec>, default: f64) -> Result<Tolerances, Unsupported> {
    let of = |rules: Option<&RulesSpec>| match rules.and_then(|rules| rules.tolerance.as_ref()) {
        None => Ok(default),
        Some(quantity) => quantity.tolerance().map_err(|error| Unsupported::new(error.to_string())),
    };
    Ok(Tolerances {
        down: of(behavior.and_then(|behavior| behavior.scale_down.as_ref()))?,
        up: of(behavior.and_then(|behavior| behavior.scale_up.as_ref()))?,
    })
}

/// Returns the selector of the calculator's External metrics.
pub(super) fn calculator_selector() -> LabelSelector {
    let labels = BTreeMap::from([("label".to_owned(), "value".to_owned())]);
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}
