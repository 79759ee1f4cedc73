//! The keeper of what the listener needs: the authority in its Secret, the serving certificate of
//! this copy, the API server's own authority, and the caBundles by which it trusts this one.
//!
//! Each copy looks every few seconds. Only the copy that holds the Lease of the operator's own
//! namespace writes. An APIService that leads to another Service is left alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{Api, Client, ResourceExt, api::Patch};
use llm_autoscaler_api::managers;
use rustls::{ServerConfig, crypto::ring};
use serde_json::json;
use tracing::{info, warn};

use crate::{
    clock::Clock,
    http::listener::ServerTls,
    kube_api::{CallError, DEADLINE, patch_as, within, writes::Writes},
    lease::Leases,
    lock::lock,
    metrics_api::{
        authority::{Authority, Serving},
        config::MetricsApiConfig,
        front_proxy::FrontProxy,
        request::{CUSTOM, CUSTOM_VERSIONS, EXTERNAL},
    },
    telemetry::WriteKind,
};

/// The time between two looks.
const EVERY: Duration = Duration::from_secs(10);
/// The time between two looks before anything can be served.
const SOON: Duration = Duration::from_secs(1);
/// The ConfigMap with the API server's authority.
const AUTHENTICATION: [&str; 2] = ["kube-system", "extension-apiserver-authentication"];

/// Keeps certificates, and is the TLS of the listener.
pub(super) struct Keeper {
    client: Client,
    writes: Writes,
    leases: Leases,
    clock: Clock,
    config: MetricsApiConfig,
    state: Mutex<State>,
    /// The latest problem of each part, which is logged once.
    problems: Mutex<HashMap<String, String>>,
}

#[derive(Default)]
struct State {
    tls: Option<Arc<ServerConfig>>,
    proxy: Option<Arc<FrontProxy>>,
    serving: Option<(String, Serving)>,
}

impl ServerTls for Keeper {
    fn config(&self) -> Option<Arc<ServerConfig>> {
        lock(&self.state).tls.clone()
    }
}

impl Keeper {
    /// Keeps nothing yet.
    pub(super) fn new(
        (client, writes, leases, clock): (Client, Writes, Leases, Clock),
        config: MetricsApiConfig,
    ) -> Self {
        let (state, problems) = (Mutex::default(), Mutex::default());
        Self { client, writes, leases, clock, config, state, problems }
    }

    /// Returns the settings of the API server; `None` while they are not known.
    pub(super) fn front_proxy(&self) -> Option<Arc<FrontProxy>> {
        lock(&self.state).proxy.clone()
    }

    /// Looks again and again, for the life of the process.
    pub(super) async fn run(&self) {
        loop {
            self.look().await;
            let is_served = lock(&self.state).tls.is_some();
            tokio::time::sleep(if is_served { EVERY } else { SOON }).await;
        }
    }

    async fn look(&self) {
        let [namespace, name] = AUTHENTICATION;
        let proxy = self.read_front_proxy(namespace, name).await;
        let proxy = self.told(&format!("the ConfigMap {namespace}/{name}"), proxy);
        let (namespace, name) = (&self.config.namespace, &self.config.secret);
        let authority = self.authority().await;
        let authority = self.told(&format!("the Secret {namespace}/{name}"), authority);
        if let Some(authority) = authority.flatten() {
            let served = self.serve_by(&authority, proxy);
            self.told("the serving certificate", served);
            if self.leases.holds(namespace) {
                self.publish(&authority).await;
            }
        }
    }

    /// Returns a result without its error, which is logged when it is new.
    fn told<T>(&self, what: &str, result: Result<T, String>) -> Option<T> {
        let mut problems = lock(&self.problems);
        match result {
            Ok(value) => {
                problems.remove(what);
                Some(value)
            }
            Err(error) => {
                if problems.get(what) != Some(&error) {
                    warn!(what, error, "the metrics API: something that it needs cannot be used");
                    problems.insert(what.to_owned(), error);
                }
                None
            }
        }
    }

    async fn read_front_proxy(&self, namespace: &str, name: &str) -> Result<FrontProxy, String> {
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        let found = within(DEADLINE, api.get(name)).await.map_err(|error| {
            format!("{error}; bind the Role extension-apiserver-authentication-reader there")
        })?;
        FrontProxy::read(&found.data.unwrap_or_default())
    }

    /// Returns the authority; `None` if the copy that holds the Lease has not made it yet.
    async fn authority(&self) -> Result<Option<Authority>, String> {
        let (namespace, name) = (&self.config.namespace, &self.config.secret);
        let api = Api::<Secret>::namespaced(self.client.clone(), namespace);
        let found = within(DEADLINE, api.get(name)).await.map_err(|error| error.to_string())?;
        let known = Authority::read(&found.data.clone().unwrap_or_default());
        let now = self.clock.now().wall;
        let made = Authority::replacement(known.as_ref(), now).map_err(|it| it.to_string())?;
        let Some(made) = made.filter(|_| self.leases.holds(namespace)) else { return Ok(known) };
        let patch = json!({
            "metadata": {"resourceVersion": found.resource_version()},
            "data": made.data(),
        });
        let (params, patch) = (patch_as(managers::METRICS), Patch::Merge(patch));
        let call = api.patch(name, &params, &patch);
        let permit = self.leases.permit(namespace);
        match self.writes.send(WriteKind::Secret, &permit, call).await {
            Ok(_) => {
                info!(namespace, name, "the metrics API has a new certificate authority");
                Ok(Some(made))
            }
            // Another copy was faster, or this one may not write any more: the next look tells.
            Err(error) if error.is_conflict() || matches!(error, CallError::NoPermit) => Ok(known),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Serves by a certificate of this authority, to an API server with these settings; or with the
    /// former ones, if they cannot be read at present.
    fn serve_by(&self, authority: &Authority, proxy: Option<FrontProxy>) -> Result<(), String> {
        let now = self.clock.now().wall;
        let mut state = lock(&self.state);
        let is_usable = |(issuer, serving): &(String, Serving)| {
            issuer == authority.certificate() && now < serving.until
        };
        let is_new = !state.serving.as_ref().is_some_and(is_usable);
        if is_new {
            let service = &self.config.service;
            let name = format!("{service}.{}.svc", self.config.namespace);
            let serving = authority.issue(&name, now).map_err(|error| error.to_string())?;
            state.serving = Some((authority.certificate().to_owned(), serving));
        }
        let is_other = proxy.as_ref().is_some_and(|proxy| state.proxy.as_deref() != Some(proxy));
        if let Some(proxy) = proxy.filter(|_| is_other) {
            // Settings that cannot be used replace none.
            proxy.verifier()?;
            state.proxy = Some(Arc::new(proxy));
        }
        if let (Some(proxy), true) = (state.proxy.clone(), is_new || is_other) {
            let Some((_, serving)) = &state.serving else { return Ok(()) };
            let config = server_config(serving, &proxy)?;
            info!("the metrics API is served with a new certificate");
            state.tls = Some(Arc::new(config));
        }
        Ok(())
    }

    /// Sets the caBundle of the APIServices that lead to the operator.
    async fn publish(&self, authority: &Authority) {
        let bundle = ByteString(authority.bundle().into_bytes());
        let custom = CUSTOM_VERSIONS.map(|version| format!("{}.{CUSTOM}", version.name()));
        for name in custom.into_iter().chain([format!("v1beta1.{EXTERNAL}")]) {
            let set = self.set_bundle(&name, &bundle).await;
            self.told(&format!("the APIService {name}"), set);
        }
    }

    async fn set_bundle(&self, name: &str, bundle: &ByteString) -> Result<(), String> {
        let api = Api::<APIService>::all(self.client.clone());
        let found = match within(DEADLINE, api.get(name)).await {
            Ok(found) => found,
            // It is not installed, which is a choice.
            Err(error) if error.status() == Some(404) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let (namespace, service) = (&self.config.namespace, &self.config.service);
        let spec = found.spec.as_ref();
        let leads_to = spec.and_then(|spec| spec.service.as_ref());
        if leads_to.and_then(|it| it.namespace.as_ref()) != Some(namespace)
            || leads_to.and_then(|it| it.name.as_ref()) != Some(service)
        {
            return Err(format!(
                "it is not of this operator, whose Service is {namespace}/{service}, and is left \
                 as it is: HPAs get those metrics from somebody else"
            ));
        }
        if spec.and_then(|spec| spec.ca_bundle.as_ref()) == Some(bundle) {
            return Ok(());
        }
        let patch = json!({
            "metadata": {"resourceVersion": found.resource_version()},
            "spec": {"caBundle": bundle},
        });
        let (params, patch) = (patch_as(managers::METRICS), Patch::Merge(patch));
        let call = api.patch(name, &params, &patch);
        match self.writes.send(WriteKind::ApiService, &self.leases.permit(namespace), call).await {
            Ok(_) => {
                info!(name, "the API server trusts the operator's metrics API");
                Ok(())
            }
            Err(error) if error.is_conflict() || matches!(error, CallError::NoPermit) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn server_config(serving: &Serving, proxy: &FrontProxy) -> Result<ServerConfig, String> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(proxy.verifier()?)
        .with_single_cert(vec![serving.certificate.clone()], serving.key.clone_key())
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::{
        kube_api::stand_in::{Answer, Received, StandIn},
        telemetry::Telemetry,
    };

    fn keeper(api: &StandIn, leases: Leases) -> Keeper {
        let clock = Clock::start();
        let writes = Writes::new(clock, Telemetry::default());
        let config = MetricsApiConfig {
            address: ([127, 0, 0, 1], 0).into(),
            namespace: "system".to_owned(),
            service: "metrics".to_owned(),
            secret: "metrics".to_owned(),
        };
        Keeper::new((api.client.clone(), writes, leases, clock), config)
    }

    /// An API server with a Secret, its own authority, and APIServices of which the external one
    /// is of another Service and the first custom one is not installed.
    async fn api() -> StandIn {
        let secret = Arc::new(Mutex::new(json!({})));
        let pem = rcgen::generate_simple_self_signed(vec!["ca".to_owned()]).unwrap().cert.pem();
        StandIn::start(move |request: &Received| {
            let path = request.path.split('?').next().unwrap_or_default().to_owned();
            let metadata = json!({"name": "metrics", "resourceVersion": "7"});
            if path.ends_with("configmaps/extension-apiserver-authentication") {
                let data = json!({
                    "requestheader-client-ca-file": pem,
                    "requestheader-username-headers": "[\"X-Remote-User\"]",
                });
                return Answer::Json(200, json!({"metadata": metadata, "data": data}));
            }
            if path.ends_with("secrets/metrics") {
                let mut secret = lock(&secret);
                if request.method == "PATCH" {
                    *secret = request.body["data"].clone();
                    let data = secret.as_object_mut().unwrap();
                    data.retain(|_, value| !value.is_null());
                }
                return Answer::Json(200, json!({"metadata": metadata, "data": *secret}));
            }
            if path.ends_with("v1beta2.custom.metrics.k8s.io") {
                return Answer::refusal(404);
            }
            let name = if path.contains("external") { "keda" } else { "metrics" };
            let service = json!({"namespace": "system", "name": name});
            let spec = json!({"service": service, "groupPriorityMinimum": 1, "versionPriority": 1});
            Answer::Json(200, json!({"metadata": metadata, "spec": spec}))
        })
        .await
    }

    #[tokio::test]
    async fn the_copy_with_the_lease_makes_the_authority_and_publishes_it_to_its_own_services() {
        let api = api().await;
        let leases = Leases::by_hand(1);
        let standing_by = keeper(&api, leases.clone());
        standing_by.look().await;
        assert!(standing_by.config().is_none(), "there is no authority yet");
        let writes = || api.received(|request| request.method == "PATCH");
        assert!(writes().is_empty(), "a copy without the Lease writes nothing");

        let holder = keeper(&api, Leases::solo());
        holder.look().await;
        assert!(holder.config().is_some());
        let paths: Vec<_> = writes().iter().map(|it| it.path.clone()).collect();
        assert_eq!(paths.len(), 2, "the Secret, and one of three APIServices: {paths:?}");
        let [secret, service] = &writes()[..] else { panic!("{paths:?}") };
        assert!(secret.path.contains("/namespaces/system/secrets/metrics"), "{paths:?}");
        assert!(service.path.contains("v1beta1.custom.metrics.k8s.io"), "{paths:?}");
        assert_eq!(service.body["metadata"]["resourceVersion"], "7");
        let fields: BTreeMap<String, Value> =
            serde_json::from_value(service.body["spec"].clone()).unwrap();
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["caBundle"]);
        assert_eq!(fields["caBundle"], secret.body["data"]["ca.crt"]);
        assert!(lock(&holder.problems).keys().any(|it| it.contains("external")));

        standing_by.look().await;
        assert!(standing_by.config().is_some(), "it issues by the same authority");
        let config = holder.config().unwrap();
        holder.look().await;
        assert!(Arc::ptr_eq(&config, &holder.config().unwrap()), "nothing has changed");
    }
}
