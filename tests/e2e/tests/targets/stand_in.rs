//! The stand-in for the controller of RoleBasedGroups behaves as the real one.
//!
//! Each `measured` names a behaviour of sgl-project/rbg v0.8.0-alpha.5 (commit 993491f), as it was
//! observed without its webhooks on a control plane of Kubernetes 1.37.2; each `in_its_source`
//! names a behaviour that was only read in the source. The API server, the controller manager with
//! its HPA, and kubectl are the real ones.

pub mod adapters;
pub mod instances;
pub mod kinds;
pub mod pods;
pub mod policies;
pub mod roles;
pub mod rollouts;
pub mod scale;
pub mod selectors;
pub mod sets;
