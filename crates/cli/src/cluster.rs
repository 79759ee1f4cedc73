//! The connection to a cluster, for the subcommands that need one.

use std::net::SocketAddr;

use anyhow::anyhow;
use kube::{Client, Config, config::KubeConfigOptions, core::Status};
use llm_autoscaler_operator::Component;
use tokio::runtime::Builder;

/// Installs the TLS library of this process; further calls do nothing.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Runs `work` on a runtime, with one TLS library for the API server and the pods.
pub(crate) fn with_cluster(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    run(&mut Builder::new_multi_thread(), work)
}

/// Like [`with_cluster`], with this number of threads for the tasks of `work`, besides its own.
pub(crate) fn with_cluster_on(
    threads: usize,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    run(Builder::new_multi_thread().worker_threads(threads), work)
}

fn run(
    runtime: &mut Builder,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    install_tls();
    runtime.enable_all().build()?.block_on(work)
}

/// Returns a client for a subcommand: of a context of the kubeconfig, or without one of the cluster
/// that this process runs in, or that KUBECONFIG names.
pub(crate) async fn client(component: Component, context: Option<&str>) -> anyhow::Result<Client> {
    let mut config = config_of(context).await?;
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

/// Returns the error of a failed read of the LLMAutoscaler `name`.
pub(crate) fn not_read(error: kube::Error, name: &str, namespace: &str) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if is_missing_kind(&status) => no_kind(),
        kube::Error::Api(status) if status.code == 404 => anyhow!(
            "there is no LLMAutoscaler {name} in the namespace {namespace}; kubectl get \
             llmautoscalers -A lists all"
        ),
        kube::Error::Api(status) => anyhow!("{}", status.message),
        error => anyhow!("reading the LLMAutoscaler {name}: {error}"),
    }
}

/// Returns the error of a failed list of the LLMAutoscalers of `scope`.
pub(crate) fn not_listed(error: kube::Error, scope: &str) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if status.code == 404 => no_kind(),
        kube::Error::Api(status) if status.code == 403 => {
            anyhow!("listing the LLMAutoscalers of {scope}: {}; choose another -n", status.message)
        }
        kube::Error::Api(status) => anyhow!("{}", status.message),
        error => anyhow!("listing the LLMAutoscalers of {scope}: {error}"),
    }
}

/// Returns whether the API server does not have the kind. If it has the kind and not the object,
/// its answer is a status with the reason `NotFound`, and no plain text.
fn is_missing_kind(status: &Status) -> bool {
    status.code == 404 && status.reason != "NotFound"
}

fn no_kind() -> anyhow::Error {
    anyhow!("the cluster has no LLMAutoscalers: install the CRD (docs/install.md)")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_has_the_threads_that_it_is_given() {
        for threads in [1, 3] {
            let count = async {
                let found = tokio::runtime::Handle::current().metrics().num_workers();
                anyhow::ensure!(found == threads, "{found} instead of {threads}");
                Ok(())
            };
            with_cluster_on(threads, count).unwrap();
        }
    }

    fn answer(code: u16, reason: &str, message: &str) -> kube::Error {
        let status =
            Status { code, reason: reason.into(), message: message.into(), ..Status::default() };
        kube::Error::Api(status.boxed())
    }

    #[test]
    fn an_object_that_is_missing_is_told_from_a_kind_that_is_missing() {
        let named = "there is no LLMAutoscaler qwen3 in the namespace chat; kubectl get \
                     llmautoscalers -A lists all";
        let no_kind = "the cluster has no LLMAutoscalers: install the CRD (docs/install.md)";
        let plain = "404 page not found";
        let refused = "llmautoscalers is forbidden";
        let table = [
            (404, "NotFound", "\"qwen3\" not found", named, no_kind),
            (404, "Failed to parse error data", plain, no_kind, no_kind),
            (
                403,
                "Forbidden",
                refused,
                refused,
                "listing the LLMAutoscalers of namespace chat: llmautoscalers is forbidden; choose \
                 another -n",
            ),
        ];
        for (code, reason, message, read, listed) in table {
            let error = not_read(answer(code, reason, message), "qwen3", "chat");
            assert_eq!(error.to_string(), read);
            let error = not_listed(answer(code, reason, message), "namespace chat");
            assert_eq!(error.to_string(), listed);
        }
    }
}
