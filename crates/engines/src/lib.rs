//! What is known about inference engines, as data, and how numbers come out of their metrics pages.
//!
//! ```text
//! Engine ──profile()──> EngineProfile ──signal()──> SignalDef ──recipe()──┐
//!                              a series' name and labels ──Recipe::series─┴─> Recipe ─> Extractor
//! ```
//!
//! Engines differ in how they call things, from one version to the next too. A [`SignalDef`] says what a
//! thing is and which series it is made of; a [`Recipe`] is what is left of it when the engine no longer
//! matters; an [`Extractor`](exposition::Extractor) finds the numbers of many recipes in one pass over a page.
//!
//! Invariants: no I/O, and *empty is not zero*: a number that a page does not give in full is absent.

mod engine;
mod recipe;
mod signal;

pub mod exposition;

pub use engine::{Engine, EngineProfile};
pub use recipe::{Recipe, Selector};
pub use signal::{Alternative, Fold, Signal, SignalDef, TargetError, TargetType, Term};
