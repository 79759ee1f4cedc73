//! Prometheus servers: each is queried once per interval for the demand of all autoscalers.
//!
//! A server's key is its URL, its names of the pod labels, and the credentials; with credentials,
//! also the namespace of their Secrets. Demands for the same range of time share the queries.

mod client;
pub(crate) mod demand;
#[cfg(test)]
mod mutual_tls;
pub(crate) mod pool;
mod query_loop;
mod query_plan;
pub(crate) mod server_view;
mod state;
