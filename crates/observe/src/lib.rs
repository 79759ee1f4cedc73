//! From pods and samples to the observation that a decision rests on.
//!
//! ```text
//! pods ────> Replicas ──┐
//! spec ────> config     ├─> TargetSnapshot ──observe()──> Observations
//! sources ─> Samples  ──┘                                  ├─ core::Observation ─> core::plan()
//!                                                          └─ Findings ─> conditions, status
//! Replicas, Samples ──requests()──> DrainMemory::candidates() ──────────> core::plan()
//! Replicas, Samples ──────────────> PromiseTracker ── size by `slo` ────> Observations
//! ```
//!
//! [`Replicas`](replicas::Replicas) groups pods into units of scale. [`Samples`](samples::Samples)
//! holds the latest answer of every source about every pod. [`observe`](observer::observe) decides
//! which of them count: stale samples are missing, the value of a replica needs all its reporting
//! pods, and a later source is used for what an earlier one misses. If a sample is in doubt, the
//! target is observed twice, because samples in doubt may scale up but never down.
//! [`Findings`](observer::Findings) hold what is missing and why, for people.
//!
//! Invariant: no clock, no I/O and no shared state. Time is an argument, and a source is the list
//! of its answers. So the operator, `evaluate` and a simulator make the same observation of the
//! same samples.
//!
//! # Example
//!
//! Two pods with 12 waiting requests each, at a target of 5 per replica, scale from 2 to 5. With no
//! load they scale to 1, but not while the sample of the second pod is in doubt:
//!
//! ```
//! use std::{collections::BTreeMap, sync::Arc, time::Duration};
//!
//! use chrono::{DateTime, TimeDelta};
//! use llm_autoscaler_api::parse_spec;
//! use llm_autoscaler_core::{
//!     Basis, DrainObservation, Monotonic, Now, Profile, RoleMemory, RoleObservation, RolePlan,
//!     Scale, Selector, WriteBlock, plan,
//! };
//! use llm_autoscaler_engines::exposition::Value;
//! use llm_autoscaler_observe::{
//!     observer::{TargetSnapshot, observe},
//!     pod::Pod,
//!     progress::ProgressTracker,
//!     replicas::Replicas,
//!     samples::{Found, Lookup, Sample, Samples, SourceKind, SourceSamples, VitalLookups},
//! };
//!
//! /// Returns a sample of a pod's waiting requests, as a scrape 3 s ago has found it.
//! fn waiting(requests: f64, doubt: Option<&str>) -> Lookup {
//!     Lookup::Sample(Sample {
//!         value: Value::Number(requests),
//!         age: Duration::from_secs(3),
//!         doubt: doubt.map(|doubt| doubt.to_owned().into()),
//!         found: Found::default(),
//!         copies: 1,
//!     })
//! }
//!
//! fn planned(answers: Vec<Lookup>) -> RolePlan {
//!     let spec = serde_json::from_value(serde_json::json!({
//!         "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "llm"},
//!         "engine": "VLLM", "minReplicas": 1, "maxReplicas": 10,
//!         "metrics": [{
//!             "signal": "WaitingRequests",
//!             "target": {"type": "AverageValue", "averageValue": "5"},
//!         }],
//!         "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
//!     }));
//!     let parsed = parse_spec(&spec.unwrap(), Profile::Default).unwrap();
//!     let pods = ["llm-0", "llm-1"].map(|name| Pod::serving(name, "llm"));
//!     let pods = pods.map(|pod| (pod.name.clone(), Arc::new(pod)));
//!     let replicas = Replicas::of(&Arc::new(BTreeMap::from(pods)), &[]);
//!     let own_pods = SourceSamples {
//!         kind: SourceKind::OwnPods,
//!         is_active: true,
//!         metrics: vec![answers],
//!         queries: vec![None],
//!         requests: Vec::new(),
//!         latency: Vec::new(),
//!         sleep: Default::default(),
//!         vitals: VitalLookups::default(),
//!         slo: Vec::new(),
//!         queued: Vec::new(),
//!     };
//!     let now = Now { wall: DateTime::UNIX_EPOCH, monotonic: Monotonic::default() };
//!     let startup_timeout = TimeDelta::minutes(10);
//!     let observed = observe(&TargetSnapshot {
//!         config: &parsed.roles[0].config,
//!         replicas: &replicas,
//!         samples: &Samples { sources: vec![own_pods] },
//!         scale: Scale { current: 2, status: 2 },
//!         selector: Selector::Valid,
//!         scaled_to_zero: false,
//!         woken: false,
//!         progress: &ProgressTracker::default(),
//!         startup_timeout,
//!         now: now.wall,
//!     });
//!     let role = RoleObservation {
//!         usable: &observed.usable.observation,
//!         beyond_doubt: observed.beyond_doubt.as_ref().map(|observed| &observed.observation),
//!         states: &observed.usable.states(),
//!         counts: replicas.counts(&observed.usable.observation.replicas),
//!         block: WriteBlock::default(),
//!         drain: DrainObservation::default(),
//!     };
//!     plan(&parsed.config(), &[&RoleMemory::default()], &[role], now).roles.remove(0)
//! }
//!
//! let busy = planned(vec![waiting(12.0, None), waiting(12.0, None)]);
//! assert_eq!(busy.write, Some(5));
//! let idle = planned(vec![waiting(0.0, None), waiting(0.0, None)]);
//! assert_eq!((idle.write, idle.basis), (Some(1), Basis::Usable));
//! let doubtful = planned(vec![waiting(0.0, None), waiting(0.0, Some("connection refused"))]);
//! assert_eq!((doubtful.write, doubtful.basis), (None, Basis::BeyondDoubt));
//! ```

pub mod advice;
pub mod billing;
pub mod case;
pub mod draining;
pub mod observer;
pub mod pod;
pub mod progress;
pub mod promise;
mod reading;
pub mod replicas;
pub mod requests;
pub mod samples;
pub mod settling;
pub mod startup_tracker;
pub mod workload;
