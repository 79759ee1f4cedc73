//! Knowledge about inference engines as data, and the way from a metrics page to a number.
//!
//! ```text
//! Engine ──profile()──> EngineProfile ──recipe()──┐
//!              a series' name and labels ─────────┴─> Recipe ─> Extractor ─> Track ─> number
//! ```
//!
//! Engines name the same thing differently, and so do versions of one engine. A [`SignalDef`] lists
//! the series that a signal is made of. A [`Recipe`] is a signal with the engine taken out: which
//! series of a page to read, and how to add them up. An [`Extractor`](exposition::Extractor) reads
//! the quantities of many recipes in one pass over a page. A [`Track`] makes the mean, the rate or
//! the [`Buckets`] of a window of them.
//!
//! Invariants: no I/O, no clock, and *empty is not zero*: a quantity that a page does not have in
//! full is absent, unless the page proves that the engine has had no request yet (an [`IdleRule`])
//! or the spec says so ([`Absence::Zero`]).
//!
//! # Example
//!
//! Two scrapes of a vLLM server, ten seconds apart, and the load that follows from them:
//!
//! ```
//! use std::time::Duration;
//!
//! use llm_autoscaler_engines::{
//!     Engine, Kind, Signal, Track,
//!     exposition::{Extractor, PageError, Scratch, Value},
//! };
//!
//! let vllm = Engine::Vllm.profile();
//! let recipes = [
//!     vllm.recipe(Signal::InFlightRequests).expect("vLLM reports it"),
//!     vllm.recipe(Signal::GenerationTokenRate).expect("vLLM reports it"),
//! ];
//! let extractor = Extractor::new(&recipes);
//! let mut tokens = Track::new(Kind::Counter, Duration::from_secs(60), Duration::from_secs(15));
//!
//! let (mut scratch, mut out) = (Scratch::default(), Vec::new());
//! for (second, running, generated) in [(0, 3, 5_000), (10, 4, 5_400)] {
//!     let page = format!(
//!         "vllm:num_requests_running{{engine=\"0\"}} {running}\n\
//!          vllm:num_requests_waiting{{engine=\"0\"}} 2\n\
//!          vllm:generation_tokens_total{{engine=\"0\"}} {generated}\n"
//!     );
//!     extractor.read(page.as_bytes(), &mut scratch, &mut out)?;
//!     tokens.push(Duration::from_secs(second), &out[1].value);
//! }
//! assert_eq!(out[0].value, Value::Number(6.0)); // 4 running and 2 waiting
//! assert_eq!(tokens.value(), Value::Number(40.0)); // 400 tokens in 10 s
//! # Ok::<(), PageError>(())
//! ```

mod buckets;
mod definition;
mod engine;
mod gateway;
mod inspect;
mod kind;
mod labels;
mod recipe;
mod recognize;
mod shortened;
mod signal;
mod window;

pub mod exposition;
pub mod prometheus;

pub use buckets::Buckets;
pub use definition::{Alternative, IdleRule, SignalDef, Term};
pub use engine::{Engine, EngineProfile, LengthsDef, ProgressDef, StepDef, StepRecipes};
pub use gateway::{Gateway, GatewayProfile, Program, UnfitSeries};
pub use inspect::{
    Finding, Inspection, LikelyGauge, Processes, inspect, likely_gauges, similar_names,
};
pub use kind::{Fold, Kind, TargetType};
pub use labels::LabelRule;
pub use recipe::{Absence, IdleProof, Recipe, Scale, Selector, Standing};
pub use recognize::{recognize, recognize_program};
pub use signal::{Signal, SignalInfo};
pub use window::{Measure, Track};
