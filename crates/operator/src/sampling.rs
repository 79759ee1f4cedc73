//! Sampling: metrics pages are scraped and Prometheus servers are queried, on schedules of their own.

mod connection;
pub mod credentials;
mod http_client;
pub mod page_view;
pub mod prometheus;
mod schedule;
pub mod scrape;
pub mod scrape_loop;
pub mod scrape_pool;
pub mod sources;
pub mod tls;
