//! Ray Serve 2.60.0. Its gauges were read while it ran; counters and histograms are from
//! `python/ray/serve/_private/proxy.py`.
//!
//! Every node of Ray has a page with the series of all that runs there, set anew every 10 s. A
//! series disappears 20 s after its last change.

use super::GatewayProfile;
use crate::{
    definition::{Alternative, IdleRule, SignalDef, Term},
    engine::EngineProfile,
    kind::Fold,
    signal::Signal,
};

pub(super) const PROFILE: GatewayProfile = GatewayProfile {
    table: EngineProfile {
        name: "RayServe",
        display: "Ray Serve",
        metrics_path: "/metrics",
        port_names: &["metrics"],
        port: Some(8080),
        enabling: "Each node of Ray serves it on its `--metrics-export-port`, which is 8080 with KubeRay.",
        prefixes: &["ray_serve_"],
        repeat_labels: &[],
        sleep: None,
        progress: None,
        lengths: None,
        step: Err("it is no engine"),
        signals: &[
            SignalDef {
                signal: Signal::WaitingRequests,
                terms: &[Term(&[QUEUED])],
                fold: Fold::Sum,
            },
            SignalDef {
                signal: Signal::RunningRequests,
                terms: &[Term(&[Alternative::always("ray_serve_replica_processing_queries")])],
                fold: Fold::Sum,
            },
            SignalDef {
                signal: Signal::InFlightRequests,
                terms: &[Term(&[Alternative::always("ray_serve_num_ongoing_http_requests")])],
                fold: Fold::Sum,
            },
            SignalDef {
                signal: Signal::RequestLatency,
                terms: &[Term(&[
                    Alternative::always("ray_serve_http_request_latency_ms").per(1000)
                ])],
                fold: Fold::Sum,
            },
        ],
        idle_rules: &[
            // A gauge of requests disappears when it has been 0 for a while; that of the queue
            // stays.
            IdleRule {
                signals: &[Signal::InFlightRequests, Signal::RunningRequests],
                zero: &[QUEUED],
                ..IdleRule::NONE
            },
        ],
    },
    holds_requests: false,
    versions: "2.60.0; gauges by hand, latencies from its source",
    notes: &[
        "Its own autoscaler scales replicas of a deployment. Use these numbers for the nodes below \
         it, such as a group of workers, and not for what it scales itself.",
        "Gauges are set every 10 s, at different moments: for some seconds a request may be in two \
         of them, or in none.",
        "`InFlightRequests` has no label of the application: it is the load of all of them.",
    ],
    unfit: &[],
    missing: "Ray Serve publishes a gauge only after a first request, and for 20 s after the last",
};

const QUEUED: Alternative = Alternative::always("ray_serve_deployment_queued_queries");
