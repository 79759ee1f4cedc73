//! Sampling: metrics pages are scraped and Prometheus servers are queried, each on its own
//! schedule.
//!
//! ```text
//! sources -> page_view -> scrape_pool -> scrape_loop -> scrape -> connection
//!         -> prometheus: server_view -> pool -> query_loop -> client -> http_client
//! ```
//!
//! A *source* belongs to one autoscaler. It subscribes to *feeds*: pages and servers that are
//! sampled once for all autoscalers. Its subscribers are woken when a sample is there.

mod access_error;
mod activity;
mod body;
mod connection;
pub(crate) mod credentials;
pub(crate) mod egress;
mod error;
mod feed;
mod http_client;
mod known_measure;
mod lookups;
mod measure_set;
pub(crate) mod memory;
#[cfg(test)]
mod mutual_tls;
mod page_absence;
mod page_lookup;
mod page_state;
pub(crate) mod page_view;
pub(crate) mod phase;
pub(crate) mod prometheus;
pub(crate) mod providers;
mod response;
mod schedule;
mod scrape;
mod scrape_loop;
pub(crate) mod scrape_pool;
mod scrape_queue;
mod scrapes;
pub(crate) mod sources;
mod spares;
mod tls;
pub(crate) mod tls_hint;
