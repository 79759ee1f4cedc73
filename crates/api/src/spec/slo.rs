//! `spec.slo`: a promise to the users in the place of thresholds.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A promise to the users, in the place of thresholds: the operator learns how long a step of the
/// engine takes, and sizes the target so that the promise is kept. Until it knows that, and while
/// it cannot tell, the running and waiting requests decide, and the condition SLOActive says why.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SloSpec {
    /// The longest time from a request's arrival to its first token.
    #[schemars(range(min = 100, max = 600_000))]
    pub time_to_first_token_milliseconds: i32,
    /// The longest mean time between two tokens of a request.
    #[schemars(range(min = 5, max = 10_000))]
    pub inter_token_latency_milliseconds: i32,
    /// The percentage of the requests that the promise is for. Defaults to 99.
    #[serde(default = "most")]
    #[schemars(range(min = 50, max = 99))]
    pub percentile: i32,
    /// The percentage by which the target is sized for more requests than arrive, beside the
    /// headroom that the operator learns from how far its forecasts have been off. Defaults to 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 200))]
    pub headroom_percent: i32,
    /// The running and waiting requests of one replica by which the size is decided while the
    /// operator cannot tell what the promise needs. Defaults to 32; a number that one replica of
    /// yours serves well is better.
    #[serde(default = "thirty_two")]
    #[schemars(range(min = 1, max = 100_000))]
    pub requests_per_replica: i32,
}

fn most() -> i32 {
    99
}

fn thirty_two() -> i32 {
    32
}
