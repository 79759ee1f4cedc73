//! The stand-in for the controller of RoleBasedGroups behaves as the real one.
//!
//! Each `measured` names a behaviour of sgl-project/rbg v0.8.0-alpha.5 (commit 993491f), as it was
//! observed without its webhooks on a control plane of Kubernetes 1.37.2; each `in_its_source`
//! names a behaviour that was only read in the source. The API server, the controller manager with
//! its HPA, and kubectl are the real ones.

pub(crate) mod adapters;
pub(crate) mod instances;
pub(crate) mod kinds;
pub(crate) mod pods;
pub(crate) mod policies;
pub(crate) mod roles;
pub(crate) mod rollouts;
pub(crate) mod scale;
pub(crate) mod selectors;
pub(crate) mod sets;
