//! Scale targets: reads and writes the number of replicas of any kind.
//!
//! A kind with a scale subresource needs no code here: `client` finds it by discovery. A kind
//! without one, or with a subresource that cannot be used, has a module of its own, as
//! `role_based_group` is one; `scale_target` chooses it by `kinds`. Facts about kinds that need no
//! API call, such as their victims and their owners, are in `llm_autoscaler_api::workloads`.

pub(crate) mod client;
mod disaggregated_set;
pub(crate) mod error;
mod kinds;
pub(crate) mod metadata;
mod role_based_group;
mod scale_target;
pub(crate) mod view;
pub(crate) mod workload;
