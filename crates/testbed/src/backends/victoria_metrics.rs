//! A real single-node `VictoriaMetrics`.

use anyhow::Result;

use super::Backend;

/// Starts a `VictoriaMetrics` that scrapes by this configuration, which is Prometheus's. `args` are
/// further arguments.
///
/// # Errors
/// Fails if it cannot be built or does not become ready; the error ends with the tail of its log.
pub async fn victoria_metrics(configuration: &str, args: &[&str]) -> Result<Backend> {
    Backend::start("victoria-metrics", "/health", |dir, port| {
        let file = dir.path().join("scrape.yml");
        std::fs::write(&file, configuration)?;
        let own = [
            format!("-httpListenAddr=127.0.0.1:{port}"),
            format!("-storageDataPath={}", dir.path().join("data").display()),
            format!("-promscrape.config={}", file.display()),
            // It looks for new pods every 30 s by default.
            "-promscrape.kubernetesSDCheckInterval=1s".to_owned(),
        ];
        Ok(own.into_iter().chain(args.iter().map(|&arg| arg.to_owned())).collect())
    })
    .await
}
