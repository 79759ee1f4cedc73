//! A fleet of engines under an autoscaler, in virtual time: the answer to "what would this policy
//! have done?".
//!
//! ```text
//! Load ──Request──> router ──Job──> Fleet: a sim::Replica in each pod ──Finished──> Score
//!                                     │                    ^
//!                                   pages                size
//!                                     v                    │
//!                                   Sight ─────────> Autoscaler: observe and core::plan, or a peer
//! ```
//!
//! A [`Scenario`] is a load, an engine, and everything that may go wrong between them. It is
//! [run](Scenario::run) under an [`Autoscaler`](policy::Autoscaler), which sees what a real one
//! sees: pods, and metrics pages, late, lost or complete. [`policy::Spec`] is this project's: the
//! observing and planning are the operator's own functions. The [`Outcome`] says how far the
//! promise to the users was kept, and at what cost.
//!
//! **Invariant:** no clock, no I/O. The same scenario with the same seed has the same outcome.

pub mod arrivals;
mod bound;
mod comparison;
mod error;
mod faults;
mod fleet;
mod need;
mod picture;
pub mod policy;
mod profile;
mod random;
pub mod recording;
mod report;
mod score;
mod sight;
mod simulation;
mod sketch;
mod standard;
mod starts;
mod timeline;

pub use bound::{Bound, clairvoyant};
pub use comparison::{Difference, differences};
pub use error::SimulateError;
pub use faults::Faults;
pub use fleet::{Routing, Victims};
pub use need::{bearable_load, need};
pub use picture::{PALETTE, Picture};
pub use profile::{DEFAULT_PROFILE, EngineProfile};
pub use report::table;
pub use score::{GpuHours, Outcome, Promise};
pub use sight::{GatewayReading, GatewaySight, PodSight, Reading, Sight};
pub use simulation::{Disaggregated, Progress, Scenario, Transfer};
pub use sketch::Sketch;
pub use standard::{STANDARD_LOAD, standard_load};
pub use starts::Starts;
pub use timeline::{Moment, SizeChange};
