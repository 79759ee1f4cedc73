//! The real servers that speak Prometheus's query API, other than Prometheus itself.
//!
//! ```text
//!  victoria_metrics   scrapes by Prometheus's configuration, and stores
//!  Sidecar            Thanos beside a Prometheus: gives its samples to a Thanos Query
//!  thanos_query       answers from the samples of several sidecars
//!  mimir              stores what Prometheus servers write to it, for each tenant apart
//! ```
//!
//! The first use builds them, which takes some minutes.

mod mimir;
mod thanos;
mod victoria_metrics;

use anyhow::Result;
use tempfile::TempDir;

use crate::process::{Process, Spec};
use crate::{script, server};

pub use mimir::mimir;
pub use thanos::{Sidecar, thanos_query};
pub use victoria_metrics::victoria_metrics;

/// The script that builds the programs.
const BUILD: &str = "tests/backends/build.sh";

/// A running server, with its data in a folder of its own.
///
/// Dropping it stops it and removes the folder; so does the death of this process.
#[derive(Debug)]
pub struct Backend {
    // Dropped first, so that the process stops before its folder is removed.
    process: Process,
    _dir: TempDir,
    url: String,
}

impl Backend {
    /// Returns its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the last lines of its log, for error messages.
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }

    /// Starts a program, and waits until `ready`, a path on its port, answers with success. `args`
    /// are its arguments for a folder and a port.
    async fn start(
        name: &str,
        ready: &str,
        args: impl Fn(&TempDir, u16) -> Result<Vec<String>>,
    ) -> Result<Self> {
        let program = script::folder(BUILD).await?.join(name);
        let dir = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir()?;
        let spec = |port: u16| {
            let mut spec =
                Spec::new(name, &program, dir.path().join("log")).args(args(&dir, port)?);
            spec.remove = Some(dir.path().to_owned());
            Ok(spec)
        };
        let client = crate::http_client();
        let is_ready =
            async |port| server::answers(&client, &format!("http://127.0.0.1:{port}{ready}")).await;
        let (process, port) = server::start(spec, is_ready).await?;
        Ok(Self { process, _dir: dir, url: format!("http://127.0.0.1:{port}") })
    }
}
