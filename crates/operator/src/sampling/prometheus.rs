//! Prometheus servers: each query is sent once per interval for all autoscalers of a namespace that
//! want it, on a schedule of its own.
//!
//! A server's key is its URL, its names of the pod labels, the credentials, and the namespace of
//! the autoscalers. Series over the same range of time, at the same interval, share a query.
//!
//! ```text
//! server_view -> pool -> query_loop -> scheduler -> query_plan -> splits -> demand
//!                                   -> state -> range_samples
//!                                   -> client, permits
//!                                      client -> dialect -> instant_query
//! ```

mod answer;
mod client;
pub(crate) mod demand;
mod dialect;
mod instant_query;
#[cfg(test)]
mod mutual_tls;
mod permits;
pub(crate) mod pool;
mod query_loop;
mod query_plan;
mod query_task;
mod range_samples;
mod scheduler;
pub(crate) mod server_view;
mod splits;
mod state;
