//! `spec.slo`: a promise to the users in the place of thresholds.

use kube::KubeSchema;
use schemars::JsonSchema;
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

/// The part of a promise that a role keeps.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RoleSloSpec {
    /// The phase of each request that the role does: Prefill keeps the time to first token, and is
    /// sized by the prompt tokens that no prefix cache has. Decode keeps the time between two
    /// tokens, and is sized by the answers and by what the KV cache holds of prompts and answers.
    pub phase: Phase,
    /// The running and waiting requests of one replica by which the size is decided while the
    /// operator cannot tell what the promise needs. If absent, as at the top level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub requests_per_replica: Option<i32>,
}

/// A phase of a request.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The prompt, up to the first token.
    Prefill,
    /// The tokens after the first, with a KV cache that was transferred.
    Decode,
}

impl RoleSloSpec {
    /// Returns the promise with what differs for the role.
    pub(super) fn part_of(&self, slo: &SloSpec) -> SloSpec {
        let requests_per_replica = self.requests_per_replica.unwrap_or(slo.requests_per_replica);
        SloSpec { requests_per_replica, ..slo.clone() }
    }
}

fn most() -> i32 {
    99
}

fn thirty_two() -> i32 {
    32
}
