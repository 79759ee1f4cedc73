//! The options of the metrics APIs.

use std::net::SocketAddr;

use llm_autoscaler_operator::MetricsApiConfig;

/// custom.metrics.k8s.io and external.metrics.k8s.io, for HPAs. They need the objects of
/// config/metrics-api.
#[derive(Debug, clap::Args)]
pub(crate) struct MetricsApi {
    /// Serve custom.metrics.k8s.io and external.metrics.k8s.io to the API server.
    #[arg(id = "metrics_api", long = "metrics-api", env = "METRICS_API")]
    is_served: bool,
    /// The address that serves them.
    #[arg(
        id = "metrics_api_address",
        long = "metrics-api-address",
        env = "METRICS_API_ADDRESS",
        default_value = "[::]:9443"
    )]
    address: SocketAddr,
    /// The namespace of the operator, with the Service and the Secret.
    #[arg(id = "metrics_api_namespace", long = "metrics-api-namespace", env = "POD_NAMESPACE")]
    namespace: Option<String>,
    /// The Service that leads to the address. APIServices that name another one are left alone.
    #[arg(
        id = "metrics_api_service",
        long = "metrics-api-service",
        env = "METRICS_API_SERVICE",
        default_value = "llm-autoscaler-metrics-api"
    )]
    service: String,
    /// The Secret for the certificate authority, which exists and may be empty.
    #[arg(
        id = "metrics_api_secret",
        long = "metrics-api-secret",
        env = "METRICS_API_SECRET",
        default_value = "llm-autoscaler-metrics-api"
    )]
    secret: String,
}

impl MetricsApi {
    /// Returns the configuration; `None` if the APIs are not served.
    pub(crate) fn config(self) -> anyhow::Result<Option<MetricsApiConfig>> {
        if !self.is_served {
            return Ok(None);
        }
        let Some(namespace) = self.namespace.filter(|namespace| !namespace.is_empty()) else {
            anyhow::bail!(
                "--metrics-api needs the namespace of its Service: set --metrics-api-namespace, or \
                 POD_NAMESPACE as in config/manager/deployment.yaml"
            );
        };
        let Self { address, service, secret, .. } = self;
        Ok(Some(MetricsApiConfig { address, namespace, service, secret }))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Args {
        #[command(flatten)]
        metrics_api: MetricsApi,
    }

    #[test]
    fn the_apis_are_served_by_choice_and_with_a_namespace() {
        let config = |flags: &[&str]| {
            Args::try_parse_from(["operator"].iter().chain(flags)).unwrap().metrics_api.config()
        };
        assert_eq!(config(&["--metrics-api-namespace=system"]).unwrap(), None);
        let error = config(&["--metrics-api"]).unwrap_err().to_string();
        assert!(error.contains("--metrics-api-namespace"), "{error}");
        let flags = ["--metrics-api", "--metrics-api-namespace=system", "--metrics-api-secret=s"];
        let expected = MetricsApiConfig {
            address: "[::]:9443".parse().unwrap(),
            namespace: "system".to_owned(),
            service: "llm-autoscaler-metrics-api".to_owned(),
            secret: "s".to_owned(),
        };
        assert_eq!(config(&flags).unwrap(), Some(expected));
    }
}
