//! `spec.behavior`: how fast and how far the number of replicas may change, as in `autoscaling/v2`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Quantity;

/// `behavior` of `autoscaling/v2`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BehaviorSpec {
    /// For growing. What is absent: window 0; 4 pods or 100 % per 15 s, whichever is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<RulesSpec>,
    /// For shrinking. What is absent: window 300 s; 100 % per 15 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<RulesSpec>,
}

/// The rules of one direction.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RulesSpec {
    /// For how long past recommendations are considered, in seconds: growing takes the lowest of them,
    /// shrinking the highest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub stabilization_window_seconds: Option<i32>,
    /// Which policy counts: Max, the one that allows the largest change (the default); Min, the
    /// smallest; Disabled, none: no change in this direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select_policy: Option<SelectPolicy>,
    /// How much may change in a period. Replaces the default list as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub policies: Option<Vec<PolicySpec>>,
    /// How far the ratio of value to target may be from 1 without a change: a quantity. 0.1 if absent.
    #[x_kube(validation = Rule::new("!quantity(string(self)).isLessThan(quantity('0'))").message("tolerance must not be negative"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Quantity>,
}

/// Which policy of a direction counts.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectPolicy {
    /// The one that allows the largest change.
    Max,
    /// The one that allows the smallest change.
    Min,
    /// None: this direction is switched off.
    Disabled,
}

/// One rate policy.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PolicySpec {
    /// Pods: value is a number of replicas; Percent: a share of the replicas at the start of the period.
    #[serde(rename = "type")]
    pub type_: PolicyType,
    /// How much may change in a period.
    #[schemars(range(min = 1))]
    pub value: i32,
    /// The length of the period.
    #[schemars(range(min = 1, max = 1800))]
    pub period_seconds: i32,
}

/// The unit of a rate policy.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyType {
    /// Replicas.
    Pods,
    /// Hundredths of the replicas at the start of the period.
    Percent,
}
