//! What is remembered from one decision to the next: recommendations and changes of size.

use chrono::{DateTime, Utc};

use crate::{Decision, Policy};

/// The memory of one autoscaler about one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {}

impl History {
    /// Remembers what the decision recommended, before any window or limit.
    pub fn record(&mut self, _policy: &Policy, _decision: &Decision, _now: DateTime<Utc>) {}

    /// Remembers a change of size that has been written.
    pub fn scaled(&mut self, _policy: &Policy, _from: i32, _to: i32, _now: DateTime<Utc>) {}
}
