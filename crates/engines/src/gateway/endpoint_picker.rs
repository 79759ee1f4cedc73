//! The endpoint picker of the Gateway API Inference Extension 1.5.0, of which its metrics package
//! was run and no server; and that of llm-d, which has the same series under new names, beside the
//! old ones (`pkg/epp/metrics/metrics.go`, as read).

use super::{GatewayProfile, UnfitSeries};
use crate::{
    definition::{Alternative, IdleRule, SignalDef, Term},
    engine::EngineProfile,
    kind::Fold,
    signal::Signal,
};

pub(super) const PROFILE: GatewayProfile = GatewayProfile {
    table: EngineProfile {
        name: "EndpointPicker",
        display: "the endpoint picker of the Gateway API Inference Extension, and llm-d's",
        metrics_path: "/metrics",
        port_names: &["metrics"],
        port: Some(9090),
        enabling: "It answers 401 without a token that may read `/metrics`: set `authorization`.",
        prefixes: &[
            "inference_objective_",
            "inference_extension_",
            "inference_pool_",
            "llm_d_epp_",
        ],
        repeat_labels: &[],
        sleep: None,
        progress: None,
        lengths: None,
        step: Err("it is no engine"),
        signals: &[
            SignalDef { signal: Signal::WaitingRequests, terms: &[Term(QUEUE)], fold: Fold::Sum },
            SignalDef { signal: Signal::RunningRequests, terms: &[Term(RUNNING)], fold: Fold::Sum },
            SignalDef {
                signal: Signal::InFlightRequests,
                terms: &[Term(RUNNING), Term(QUEUE)],
                fold: Fold::Sum,
            },
            SignalDef {
                signal: Signal::ArrivalRate,
                terms: &[
                    Term(&[REQUESTS[0], REQUESTS[1]]),
                    Term(&[
                        Alternative::current("inference_objective_request_error_total", GAIE),
                        Alternative::current("llm_d_epp_request_error_total", LLM_D),
                    ]),
                ],
                fold: Fold::Sum,
            },
        ],
        idle_rules: &[
            IdleRule {
                signals: &[
                    Signal::WaitingRequests,
                    Signal::RunningRequests,
                    Signal::InFlightRequests,
                ],
                without: REQUESTS,
                prefix: Some("inference_"),
                ..IdleRule::NONE
            },
            IdleRule {
                signals: &[
                    Signal::WaitingRequests,
                    Signal::RunningRequests,
                    Signal::InFlightRequests,
                ],
                without: REQUESTS,
                prefix: Some("llm_d_epp_"),
                ..IdleRule::NONE
            },
            // Flow control is off, or has held no request yet.
            IdleRule {
                signals: &[Signal::WaitingRequests, Signal::InFlightRequests],
                present: &[RUNNING[0]],
                ..IdleRule::NONE
            },
            IdleRule {
                signals: &[Signal::WaitingRequests, Signal::InFlightRequests],
                present: &[RUNNING[1]],
                ..IdleRule::NONE
            },
            // A counter that is not there has counted nothing.
            IdleRule {
                signals: &[Signal::ArrivalRate],
                without: &[Alternative::former("inference_model_request_total", "before 1.0")],
                prefix: Some("inference_"),
                ..IdleRule::NONE
            },
            IdleRule {
                signals: &[Signal::ArrivalRate],
                prefix: Some("llm_d_epp_"),
                ..IdleRule::NONE
            },
        ],
    },
    holds_requests: true,
    versions: "1.5.0, its page, made by its metrics package; llm-d's names from its source",
    notes: &[
        "It holds requests while there is no engine only with flow control, which is a feature gate; \
         otherwise it refuses them, and `ArrivalRate` counts them among the errors.",
        "Before its first request its page has none of these series, and nothing shrinks.",
        "`ArrivalRate` counts a request twice that fails after it was sent.",
    ],
    unfit: &[
        UnfitSeries {
            series: "inference_pool_average_queue_size",
            why: "is a mean over replicas, and keeps its last value when the pool is empty",
            instead: Signal::WaitingRequests,
        },
        UnfitSeries {
            series: "inference_pool_average_kv_cache_utilization",
            why: "is a mean over replicas, and keeps its last value when the pool is empty",
            instead: Signal::InFlightRequests,
        },
    ],
    missing: "the endpoint picker has no series before its first request",
};

const GAIE: &str = "Gateway API Inference Extension";
const LLM_D: &str = "llm-d";

/// The counters of requests under all of their names.
const REQUESTS: &[Alternative] = &[
    Alternative::current("inference_objective_request_total", GAIE),
    Alternative::current("llm_d_epp_request_total", LLM_D),
    Alternative::former("inference_model_request_total", "before 1.0"),
];
const QUEUE: &[Alternative] = &[
    Alternative::current("inference_extension_flow_control_queue_size", GAIE),
    Alternative::current("llm_d_epp_flow_control_queue_size", LLM_D),
];
const RUNNING: &[Alternative] = &[
    Alternative::current("inference_objective_running_requests", GAIE),
    Alternative::current("llm_d_epp_request_running", LLM_D),
];
