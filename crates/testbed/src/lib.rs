//! A real control plane and hollow nodes on loopback, for the demo, the end-to-end tests and the
//! benchmarks.
//!
//! ```text
//!  ControlPlane   etcd, kube-apiserver, kube-controller-manager: the real ones
//!  ApiProxy       stands in front of the API server, and breaks chosen requests
//!  HollowNodes    play scheduler and kubelet: every pod has an address in 127.0.0.0/8 ...
//!  Engine         ... where an engine serves: emulated, scripted, or a program such as vLLM
//!  Front          plays the Service: a reverse proxy to the pods that are ready
//!  Disaggregated  plays the router in front of prefill and decode
//!  CustomMetrics  plays the HPA's metrics adapter: custom.metrics.k8s.io from the pods' pages
//!  cloud          plays the services of clouds that give credentials
//!  monitoring     Prometheus, the Prometheus Operator and prometheus-adapter: the real ones
//!  backends       VictoriaMetrics, Thanos and Mimir: the real ones
//!  Keda           KEDA's operator and metrics server: the real ones
//!  lws            the real controller of LeaderWorkerSets, which are replicas of several pods
//!  RbgController  plays the controller of RoleBasedGroups
//!  LoadGenerator  keeps a number of requests in flight, and reports as benchmark tools do
//!  OpenLoad       sends requests at a rate to engines in virtual time, whose pages pods serve
//!  PodTimes       adds up how long pods exist, to compare a bill with
//!  flatness       judges whether a figure of a process grows over a long run
//! ```
//!
//! **Invariant:** nothing listens beyond loopback, and nothing outlives the process that started
//! it, even if that is killed. It needs Linux, where all of 127.0.0.0/8 is local.

#![allow(clippy::disallowed_methods, reason = "the testbed plays a cluster in real time")]

mod aggregation;
pub mod api_proxy;
pub mod backends;
pub mod cloud;
pub mod controlplane;
pub mod custom_metrics;
pub mod engine;
pub mod fake_prometheus;
pub mod flatness;
pub mod front;
pub mod gitops;
mod keda;
pub mod load;
pub mod lws;
pub mod monitoring;
pub mod nodes;
mod open_load;
pub mod owners;
mod packaging;
pub mod page_server;
mod pod_times;
pub mod process;
pub mod rbg;
mod script;
mod server;
mod task;
mod tls;
mod trace_receiver;
pub mod wait;
mod webhook;
pub mod workloads;

use std::path::PathBuf;

pub use api_proxy::ApiProxy;
pub use controlplane::ControlPlane;
pub use custom_metrics::CustomMetrics;
pub use engine::{Emulated, Engine, EnginePage, Page, Script};
pub use fake_prometheus::{FakePrometheus, Fault};
pub use front::{Balance, Disaggregated, Front};
pub use keda::Keda;
pub use load::{Load, LoadGenerator};
pub use lws::{LeaderWorkerSets, RoleScalers, Version as LwsVersion};
pub use nodes::{ColdStart, HollowNodes, Plan};
pub use open_load::{OpenLoad, Punctuality, RunningLoad};
pub use packaging::Packaging;
pub use page_server::PageServer;
pub use pod_times::PodTimes;
pub use rbg::RbgController;
pub use tls::ClientAuthority;
pub use trace_receiver::{Span, TraceReceiver};
pub use webhook::Webhook;

/// Returns the root of the repository, which holds the tests' scripts and the manifests.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Installs the TLS implementation of this process; further calls do nothing.
pub(crate) fn install_crypto() {
    // The error means that a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Creates a client for HTTPS that trusts every server. It has the identity in this PEM: a
/// certificate, followed by its key.
///
/// # Errors
/// Fails if the identity cannot be read.
pub fn https_client(identity: Option<&str>) -> anyhow::Result<reqwest::Client> {
    install_crypto();
    let builder = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy();
    let identity = identity.map(|pem| reqwest::Identity::from_pem(pem.as_bytes())).transpose()?;
    let builder = match identity {
        Some(identity) => builder.identity(identity),
        None => builder,
    };
    Ok(builder.build()?)
}

/// Creates a client for plain HTTP that keeps connections alive.
pub fn http_client() -> reqwest::Client {
    install_crypto();
    reqwest::Client::new()
}
