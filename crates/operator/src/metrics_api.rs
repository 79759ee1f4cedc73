//! The metrics APIs of Kubernetes, for HPAs and everything else that reads them:
//! `custom.metrics.k8s.io` has the numbers of pods, `external.metrics.k8s.io` the recommendations.
//! KEDA has both by its own protocol.
//!
//! ```text
//!                     server        serves one address
//!         ┌─────────────┼──────────────┐
//!     endpoint       keeper     external_scaler    answers; certificates and caBundles; KEDA
//!   ┌─────┼───────┐     │              │
//! pod_values recommendations  access  authority   numbers; permissions; the certificate authority
//!   └──┬──┘                    │
//!   catalog    documents  front_proxy  request    autoscalers; answers; callers; paths
//! ```
//!
//! Only the API server is a client: it proves so by the certificate that it has for aggregated
//! APIs, and names the user in headers. Each copy of the operator answers for all namespaces by
//! what it samples itself, so that it does not matter which one is asked.
//!
//! Invariant: an answer never has a number that is stale or in doubt. It is left out, and the
//! reason is told where nothing is left.

mod access;
mod authority;
pub(crate) mod catalog;
pub(crate) mod config;
mod documents;
mod endpoint;
mod external_scaler;
mod front_proxy;
mod keeper;
mod pod_values;
pub(crate) mod recommendations;
mod request;
pub(crate) mod server;
