//! Real components of Thanos.

use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Result;

use super::Backend;
use crate::monitoring::Prometheus;
use crate::server;

/// Thanos beside a Prometheus. Dropping it stops it.
#[derive(Debug)]
pub struct Sidecar {
    backend: Backend,
    /// The address at which it gives samples to a Thanos Query.
    pub address: String,
}

impl Sidecar {
    /// Starts it beside a Prometheus, which needs external labels of its own.
    ///
    /// # Errors
    /// Fails if it cannot be built or does not become ready; the error ends with the tail of its
    /// log.
    pub async fn start(prometheus: &Prometheus) -> Result<Self> {
        let grpc = AtomicU16::new(0);
        let backend = Backend::start("thanos", "/-/ready", |dir, port| {
            grpc.store(server::free_port()?, Ordering::Relaxed);
            Ok(vec![
                "sidecar".to_owned(),
                format!("--prometheus.url={}", prometheus.url()),
                format!("--tsdb.path={}", dir.path().display()),
                format!("--http-address=127.0.0.1:{port}"),
                format!("--grpc-address=127.0.0.1:{}", grpc.load(Ordering::Relaxed)),
            ])
        })
        .await?;
        let address = format!("127.0.0.1:{}", grpc.into_inner());
        Ok(Self { backend, address })
    }

    /// Returns the last lines of its log, for error messages.
    pub fn log_tail(&self, lines: usize) -> String {
        self.backend.log_tail(lines)
    }
}

/// Starts a Thanos Query that answers from these sidecars. `args` are further arguments.
///
/// # Errors
/// Fails if it cannot be built or does not become ready; the error ends with the tail of its log.
pub async fn thanos_query(args: &[String]) -> Result<Backend> {
    Backend::start("thanos", "/-/ready", |_, port| {
        let own = [
            "query".to_owned(),
            format!("--http-address=127.0.0.1:{port}"),
            format!("--grpc-address=127.0.0.1:{}", server::free_port()?),
        ];
        Ok(own.into_iter().chain(args.iter().cloned()).collect())
    })
    .await
}
