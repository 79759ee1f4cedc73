//! The real programs that usually connect pods' metrics to an autoscaler: Prometheus, the
//! Prometheus Operator, prometheus-adapter.
//!
//! ```text
//!  PrometheusOperator  turns PodMonitors into an Instance's configuration; makes no pods
//!  Prometheus          runs with a fixed configuration, or with an Instance's, reloaded on change
//!  Adapter             serves the custom metrics API from a Prometheus by rules
//! ```
//!
//! The first use builds them, which takes some minutes.

mod adapter;
mod configuration;
mod operator;
mod prometheus;

pub use adapter::{Adapter, pods_rule};
pub use configuration::scrape_pods;
pub use operator::{Instance, PrometheusOperator, Selection};
pub use prometheus::{Prometheus, Sample, Target};

/// The script that builds the programs.
const BUILD: &str = "tests/monitoring/build.sh";
