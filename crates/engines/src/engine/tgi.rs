//! Text Generation Inference. Names from `router/src/server.rs` and `backends/v3/src` of 3.x.
//!
//! A page has one series of each family. There are no times of first tokens, no share of the KV cache and no counters of tokens; the
//! latter are the sums of histograms. Counters have no `_total`. A server has no queue on its page before its first request.

use crate::{Alternative, EngineProfile, Fold, Signal, SignalDef, Term};

pub(super) const PROFILE: EngineProfile = EngineProfile {
    name: "TGI",
    display: "Text Generation Inference",
    metrics_path: "/metrics",
    port_names: &["http", "metrics"],
    port: Some(3000),
    enabling: "",
    prefixes: &["tgi_"],
    repeats: &[],
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
};

const WAITING: Term = Term(&[Alternative::always("tgi_queue_size")]);
const RUNNING: Term = Term(&[Alternative::always("tgi_batch_current_size")]);
