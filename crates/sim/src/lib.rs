//! A model of an inference engine with continuous batching, in virtual time.
//!
//! ```text
//!  submit ──> waiting ──(a free sequence slot, free KV blocks)──> running ──> finished
//!                ^                                                   │
//!                └────────────(preempted: no block was left)─────────┘
//! ```
//!
//! An engine works in *steps*. At the start of a step it schedules one token for every sequence
//! that is decoding, then parts of the prompts that are not yet in the KV cache, up to a budget of
//! tokens. The step takes a time given by [`EngineConfig`], and at its end each sequence with
//! a fully computed context yields one token. That is how vLLM's V1 scheduler works; prefix
//! caching, speculative decoding and parallel layouts are left out.
//!
//! **Invariant:** the crate has no clock and does no I/O. Time is an argument, counted from the
//! engine's start, and equal calls always give equal events.

mod config;
mod engine;
mod histogram;
mod metrics;
mod replica;
mod request;
mod sequence;
pub mod vllm;

pub use config::EngineConfig;
pub use engine::{Engine, Event, EventKind, RequestTooLong};
pub use histogram::Histogram;
pub use metrics::{FinishReason, Gauges, Metrics};
pub use replica::{Finished, Job, Replica, ReplicaConfig};
pub use request::Request;
