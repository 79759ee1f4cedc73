//! The connection to a cluster, for the subcommands that need one.

use std::net::SocketAddr;

use kube::{Client, Config, config::KubeConfigOptions};
use llm_autoscaler_operator::Component;

/// Installs the TLS library of this process; further calls do nothing.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Runs `work` on a runtime, with one TLS library for the API server and the pods.
pub(crate) fn with_cluster(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    install_tls();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// Returns a client of the cluster that this process runs in, or that KUBECONFIG names, for a
/// subcommand.
pub(crate) async fn client(component: Component) -> anyhow::Result<Client> {
    let mut config = config().await?;
    component.introduce(&mut config);
    Ok(Client::try_from(config)?)
}

/// Returns the configuration of the cluster that this process runs in, or that KUBECONFIG names.
pub(crate) async fn config() -> anyhow::Result<Config> {
    // The error's text contains its causes; printed as a chain they would be repeated.
    let unknown =
        |error| anyhow::anyhow!("no cluster found: run in a pod, or set KUBECONFIG ({error})");
    Config::infer().await.map_err(unknown)
}

/// Returns the configuration of a context of the kubeconfig, or that of [`config`] without one.
pub(crate) async fn config_of(context: Option<&str>) -> anyhow::Result<Config> {
    let Some(context) = context else { return config().await };
    let options =
        KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
    let unknown = |error| anyhow::anyhow!("reading the context {context} of KUBECONFIG: {error}");
    Config::from_kubeconfig(&options).await.map_err(unknown)
}

/// Returns the addresses of the API server, as far as they can be resolved: that of the
/// configuration, and in a pod that of its Service.
pub(crate) async fn api_server(config: &Config) -> Vec<SocketAddr> {
    let url = &config.cluster_url;
    let port = url.port_u16().unwrap_or(443);
    let host = url.host().map(|host| (host.trim_matches(['[', ']']).to_owned(), port));
    let mut hosts: Vec<(String, u16)> = host.into_iter().collect();
    let service = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"].map(std::env::var);
    if let [Ok(host), Ok(port)] = service
        && let Ok(port) = port.parse()
    {
        hosts.push((host, port));
    }
    let mut addresses = Vec::new();
    for (host, port) in hosts {
        match tokio::net::lookup_host((host.as_str(), port)).await {
            Ok(found) => addresses.extend(found),
            Err(error) => tracing::warn!(host, %error, "the API server's name was not resolved"),
        }
    }
    addresses
}
