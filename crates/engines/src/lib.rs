//! What is known about inference engines, as data, and how numbers come out of what they publish.
//!
//! ```text
//! Engine ──profile()──> EngineProfile ──recipe()──┐
//!              a series' name and labels ─────────┴─> Recipe ─> Extractor ──(page after page)──> Track ─> number
//! ```
//!
//! Engines differ in how they call things, from one version to the next too. A [`SignalDef`] says which series a
//! signal is made of; a [`Recipe`] is what is left of it when the engine no longer matters; an
//! [`Extractor`](exposition::Extractor) finds the quantities of many recipes in one pass over a page; a [`Track`]
//! makes the mean, the rate or the [`Buckets`] of a window of them.
//!
//! Invariants: no I/O, no clock, and *empty is not zero*: a quantity that a page does not give in full is absent.

mod buckets;
mod engine;
mod inspect;
mod recipe;
mod recognize;
mod signal;
mod window;

pub mod exposition;
pub mod prometheus;

pub use buckets::Buckets;
pub use engine::{Engine, EngineProfile};
pub use inspect::{Finding, Inspection, inspect};
pub use recipe::{Recipe, Selector};
pub use recognize::recognize;
pub use signal::{
    Alternative, Fold, Kind, Signal, SignalDef, SignalInfo, Standing, TargetType, Term,
};
pub use window::{Measure, Track};
