//! Scaling decisions as pure functions.
//!
//! ```text
//! Policy ──────┐
//! Observation ─┼─> recommend ─> stabilize ─> limit ─> Decision
//! History ─────┘
//! ```
//!
//! [`decide`] is one step of an autoscaler: what is wanted, what was seen and what is remembered go in, a
//! number of replicas and every number on the way come out. The arithmetic is that of the HPA, the
//! `HorizontalPodAutoscaler` of Kubernetes 1.37; see [`Deviation`] for where we differ. Where one service has several targets,
//! [`share`] makes one decision of theirs.
//!
//! Invariant: nothing here knows a clock, does I/O, starts a task, mentions a Kubernetes type or writes
//! a sentence. Time is an argument; text is the `api` crate's.

mod arithmetic;
mod decide;
mod decision;
#[cfg(test)]
mod deviations;
mod drain;
mod history;
pub mod limit;
mod observation;
mod policy;
mod profile;
#[cfg(test)]
mod properties;
mod recommend;
mod share;
pub mod stabilize;
mod start_ups;
#[cfg(test)]
mod testing;
mod units;

pub use decide::decide;
pub use decision::*;
pub use drain::{Candidate, DrainStep, Draining, Removal, Verdict, drain};
pub use history::*;
pub use observation::*;
pub use policy::*;
pub use profile::{Deviation, Deviations, Profile};
pub use recommend::propose;
pub use share::{Lag, Part, Ratio, Share, Terms, Tie, next_write, share};
pub use start_ups::StartUps;
pub use units::Milli;
