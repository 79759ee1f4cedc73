//! Text Generation Inference. Names are from `router/src/server.rs` and `backends/v3/src` of 3.x.
//!
//! A page has one series of each family. TGI publishes no time to first token, no KV cache usage
//! and no counters of tokens; for the latter, the sums of histograms are read. Counters have no
//! `_total`.
//!
//! No series is on the page before it is first set: before the server's first request there is no
//! queue, no batch and no counter, but at most the description of the families. The counter
//! `tgi_request_count` is the first that a request changes.

use crate::{
    definition::{Alternative, IdleRule, SignalDef, Term},
    engine::{EngineProfile, LengthsDef, ProgressDef},
    kind::Fold,
    signal::Signal,
};

pub(super) const PROFILE: EngineProfile = EngineProfile {
    name: "TGI",
    display: "Text Generation Inference",
    metrics_path: "/metrics",
    port_names: &["http", "metrics"],
    port: Some(3000),
    enabling: "",
    prefixes: &["tgi_"],
    repeat_labels: &[],
    sleep: None,
    progress: Some(PROGRESS),
    lengths: Some(LengthsDef::of(
        &[Alternative::always("tgi_request_input_length")],
        &[Alternative::always("tgi_request_generated_tokens")],
    )),
    step: Err(
        "it does not say how many tokens its KV cache holds, nor how many of a prompt a cache had",
    ),
    signals: &[
        SignalDef { signal: Signal::WaitingRequests, terms: &[WAITING], fold: Fold::Sum },
        SignalDef { signal: Signal::RunningRequests, terms: &[RUNNING], fold: Fold::Sum },
        SignalDef { signal: Signal::InFlightRequests, terms: &[RUNNING, WAITING], fold: Fold::Sum },
        SignalDef {
            signal: Signal::RequestRate,
            terms: &[Term(&[Alternative::always("tgi_request_success")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::PromptTokenRate,
            terms: &[Term(&[Alternative::always("tgi_request_input_length_sum")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::GenerationTokenRate,
            terms: &[Term(&[Alternative::always("tgi_request_generated_tokens_sum")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::QueueTime,
            terms: &[Term(&[Alternative::always("tgi_request_queue_duration")])],
            fold: Fold::Sum,
        },
        SignalDef {
            signal: Signal::RequestLatency,
            terms: &[Term(&[Alternative::always("tgi_request_duration")])],
            fold: Fold::Sum,
        },
    ],
    idle_rules: IDLE_RULES,
};

const WAITING: Term = Term(&[Alternative::always("tgi_queue_size")]);
const RUNNING: Term = Term(&[Alternative::always("tgi_batch_current_size")]);

/// No request has been counted, and none has been answered.
const IDLE_RULES: &[IdleRule] = &[IdleRule {
    signals: &[
        Signal::WaitingRequests,
        Signal::RunningRequests,
        Signal::InFlightRequests,
        Signal::RequestRate,
        Signal::PromptTokenRate,
        Signal::GenerationTokenRate,
        Signal::QueueTime,
        Signal::RequestLatency,
    ],
    zero: &[],
    present: &[],
    without: &[
        Alternative::always("tgi_request_count"),
        Alternative::always("tgi_request_success"),
        Alternative::always("tgi_batch_inference_count"),
    ],
    prefix: Some("tgi_"),
}];

/// It grows with each step of the engine.
const PROGRESS: ProgressDef = ProgressDef {
    counters: &[Term(&[Alternative::always("tgi_batch_inference_count")])],
    at_end: false,
    missing: "Before its first batch the counter is not on the page, and it is not found.",
};
