//! Scaling decisions as pure functions.
//!
//! ```text
//! Policy ──────┐
//! Observation ─┼─> recommend ─> stabilize ─> limit ─> Decision
//! History ─────┘
//! ```
//!
//! [`decide`] is one step of an autoscaler. It takes a [`Policy`] (the spec), an [`Observation`]
//! (scale, replicas and metrics) and a [`History`] (past recommendations and scale events), and
//! returns a [`Decision`]: the desired replicas and every number on the way to them. The arithmetic
//! is that of the `HorizontalPodAutoscaler` (HPA) of Kubernetes 1.37; [`Deviation`] lists the
//! differences. Where one service has several targets, [`coordinate`] adjusts their decisions to
//! each other, [`next_write`] orders the writes, and [`drain`] paces a scale-down. [`bill`]
//! accounts for the time of the replicas, by the reason of each.
//!
//! Invariant: nothing here reads a clock, does I/O, starts a task, names a Kubernetes type or
//! writes a sentence. Time is an argument; texts belong to the `api` crate.

mod allowed;
mod arithmetic;
pub mod bill;
mod coordinate;
mod decide;
mod decision;
mod drain;
mod history;
pub mod limit;
mod now;
mod observation;
mod pace;
mod policy;
mod profile;
mod recommend;
mod replica_reason;
mod replica_state;
mod shadow;
pub mod slo;
pub mod stabilize;
mod startup_times;
mod step;
#[cfg(test)]
mod tests;
mod units;

pub use allowed::{NextChange, next_change};
pub use coordinate::{Lag, Ratio, RoleDemand, SharedLimits, coordinate, next_write};
pub use decide::decide;
pub use decision::{
    Adjusted, Adjustment, Bound, CoordinatedSize, Counted, Decision, Derivation, Hold, Limit,
    MetricError, MetricOutcome, Outcome, Proposal, Reason, Stabilization,
};
pub use drain::{Candidate, DrainStep, Draining, Removal, Verdict, drain};
pub use history::{History, HistoryRecord, RECORD_ENTRIES, Recommendation, ScaleEvent};
pub use now::{Monotonic, Now};
pub use observation::{
    Doubt, EngineActivity, Observation, Phase, Precision, PromisedSize, Reading, Replica, Scale,
    Selector,
};
pub use pace::{Pace, TARGET_PACE, TokenBucket};
pub use policy::{
    Amount, Behavior, Fallback, MetricKind, MetricPolicy, Policy, RatePolicy, Rules, Select,
    Settings, Target, ToZero, Tolerances,
};
pub use profile::{Deviation, Deviations, Profile};
pub use recommend::propose;
pub use replica_reason::ReplicaReason;
pub use replica_state::ReplicaState;
pub use shadow::{BilledHour, Difference, Mode, Shadow, ShadowBill};
pub use startup_times::StartupTimes;
pub use step::{
    Basis, Config, DrainAction, DrainObservation, ReplicaCounts, RoleConfig, RoleMemory,
    RoleObservation, RolePlan, StepPlan, WaitingOn, WorkloadState, Write, WriteBlock, Writes, plan,
};
pub use units::{Milli, Resize};
