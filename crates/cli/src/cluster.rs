//! The connection to a cluster, for the subcommands that need one.

use kube::{Client, Config};

/// Runs `work` on a runtime, with one TLS library for the API server and the pods.
pub(crate) fn with_cluster(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// Returns a client of the cluster that this process runs in, or that KUBECONFIG names.
pub(crate) async fn client() -> anyhow::Result<Client> {
    Ok(Client::try_from(config().await?)?)
}

/// Returns the configuration of the cluster that this process runs in, or that KUBECONFIG names.
pub(crate) async fn config() -> anyhow::Result<Config> {
    // The error's text contains its causes; printed as a chain they would be repeated.
    let unknown =
        |error| anyhow::anyhow!("no cluster found: run in a pod, or set KUBECONFIG ({error})");
    Config::infer().await.map_err(unknown)
}
