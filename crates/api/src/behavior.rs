//! `spec.behavior`: the speed at which the number of replicas may change, as in `autoscaling/v2`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Quantity;

/// The speed at which the number of replicas may change: behavior of autoscaling/v2.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BehaviorSpec {
    /// The rules for scaling up. Defaults: no stabilization window, and 4 pods or 100 % per 15 s,
    /// whichever is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<RulesSpec>,
    /// The rules for scaling down. Defaults: a stabilization window of 300 s, and 100 % per 15 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<RulesSpec>,
}

/// The rules of one direction.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RulesSpec {
    /// The time for which past recommendations are considered, in seconds. A scale-up uses the
    /// lowest of them, a scale-down the highest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub stabilization_window_seconds: Option<i32>,
    /// The policy to use. Max: the one that allows the largest change (the default). Min: the one
    /// that allows the smallest change. Disabled: no change in this direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select_policy: Option<SelectPolicy>,
    /// The policies that limit the change in a period. They replace the whole default list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub policies: Option<Vec<PolicySpec>>,
    /// The difference between 1 and the ratio of value to target up to which nothing changes, as a
    /// quantity. Defaults to 0.1.
    #[x_kube(validation = Rule::new("!quantity(string(self)).isLessThan(quantity('0'))").message("tolerance must not be negative"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Quantity>,
}

/// The choice among the policies of a direction.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectPolicy {
    /// Use the policy that allows the largest change.
    Max,
    /// Use the policy that allows the smallest change.
    Min,
    /// Allow no change in this direction.
    Disabled,
}

/// A policy that limits the change in a period.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PolicySpec {
    /// The unit of the value. Pods: a number of replicas. Percent: a percentage of the replicas at
    /// the start of the period.
    #[serde(rename = "type")]
    pub type_: PolicyType,
    /// The largest change in a period.
    #[schemars(range(min = 1))]
    pub value: i32,
    /// The length of the period, in seconds.
    #[schemars(range(min = 1, max = 1800))]
    pub period_seconds: i32,
}

/// The unit of a policy.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyType {
    /// A number of replicas.
    Pods,
    /// A percentage of the replicas at the start of the period.
    Percent,
}
