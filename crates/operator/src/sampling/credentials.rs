//! Credentials of sources: headers from Secrets, and rules for checking certificates.
//!
//! Spec fields refer to Secrets and ConfigMaps of the autoscaler's own namespace. They are read
//! when they are needed, and cached for 30 s. If a server rejects the credentials, they are read
//! again at once, so that a rotated token works immediately.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use llm_autoscaler_api::{Access, CaSpec, KeyRef, TlsSpec};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::{
    kube_api::within,
    lock::lock,
    sampling::{connection::RequestConfig, egress::Egress, error::AccessError, http_client, tls},
};

/// The time for which credentials are cached.
const CACHED_FOR: Duration = Duration::from_secs(30);
/// The shortest time between two invalidations of the same credentials.
const INVALIDATED_EVERY: Duration = Duration::from_secs(5);
/// The deadline of a call to the API server.
const DEADLINE: Duration = Duration::from_secs(5);

/// A client and headers for requests to a Prometheus server.
#[derive(Clone, Debug)]
pub(crate) struct ServerAccess {
    /// The client, which checks certificates by the spec's rules.
    pub(crate) client: reqwest::Client,
    /// The headers of every request.
    pub(crate) headers: HeaderMap,
}

/// The other side of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    /// The pods of a namespace.
    Pods,
    /// A Prometheus server.
    Server,
}

/// The content of Secrets and ConfigMaps, in the form that the requests need.
#[derive(Clone, Debug)]
enum Credentials {
    Pods(Arc<RequestConfig>),
    Server(Arc<ServerAccess>),
}

/// A kind of object that credentials are read from.
#[derive(Clone, Copy)]
enum ObjectKind {
    Secret,
    ConfigMap,
}

/// The credentials of all sources. Cheap to clone.
#[derive(Clone)]
pub(crate) struct CredentialStore(Arc<StoreState>);

struct StoreState {
    reader: CredentialReader,
    cache: Mutex<HashMap<CacheKey, Arc<CacheEntry>>>,
}

/// Reads credentials from the API server.
struct CredentialReader {
    kubernetes: Client,
    /// The configuration without anything from Secrets.
    open_pods: Arc<RequestConfig>,
    open_server: Arc<ServerAccess>,
    egress: Egress,
}

/// The use of credentials. The namespace is the autoscaler's, so that one tenant's Secrets are
/// never used for another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct CacheKey {
    namespace: String,
    access: Arc<Access>,
    peer: Peer,
}

#[derive(Default)]
struct CacheEntry {
    latest: tokio::sync::Mutex<Option<CachedCredentials>>,
    invalidated: Mutex<Option<Instant>>,
}

struct CachedCredentials {
    read_at: Instant,
    result: Result<Credentials, AccessError>,
}

impl ObjectKind {
    fn name(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

impl CredentialStore {
    /// Returns an empty store that reads Secrets with this client.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub(crate) fn new(kubernetes: Client, egress: Egress) -> Result<Self, String> {
        let (headers, server_name) = (HeaderMap::new(), None);
        // Few certificates are for a pod's address, so they are only checked if the spec has rules.
        let unchecked = TlsSpec { insecure_skip_verify: true, ..TlsSpec::default() };
        let tls = Arc::new(tls::config(&unchecked, None)?);
        let client = http_client::client(&TlsSpec::default(), None, &egress)?;
        let reader = CredentialReader {
            kubernetes,
            open_pods: Arc::new(RequestConfig {
                headers: headers.clone(),
                tls,
                server_name,
                egress: egress.clone(),
            }),
            open_server: Arc::new(ServerAccess { client, headers }),
            egress,
        };
        Ok(Self(Arc::new(StoreState { reader, cache: Mutex::default() })))
    }

    /// Returns the rules for the addresses of sources.
    pub(crate) fn egress(&self) -> &Egress {
        &self.0.reader.egress
    }

    /// Returns the configuration of requests to pods.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub(crate) async fn for_pods(
        &self,
        namespace: &str,
        access: &Arc<Access>,
    ) -> Result<Arc<RequestConfig>, AccessError> {
        match self.get(namespace, access, Peer::Pods).await? {
            Some(Credentials::Pods(config)) => Ok(config),
            _ => Ok(self.0.reader.open_pods.clone()),
        }
    }

    /// Returns the access to a Prometheus server, with the Secrets of a namespace.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub(crate) async fn for_server(
        &self,
        namespace: &str,
        access: &Arc<Access>,
    ) -> Result<Arc<ServerAccess>, AccessError> {
        match self.get(namespace, access, Peer::Server).await? {
            Some(Credentials::Server(access)) => Ok(access),
            _ => Ok(self.0.reader.open_server.clone()),
        }
    }

    /// Makes the next request read the Secrets again, because a pod or a server has rejected the
    /// credentials.
    pub(crate) async fn invalidate(&self, namespace: &str, access: &Arc<Access>, peer: Peer) {
        if access.is_open() {
            return;
        }
        let (namespace, access) = (namespace.to_owned(), access.clone());
        let entry = self.entry(CacheKey { namespace, access, peer });
        let is_due = {
            let mut invalidated = lock(&entry.invalidated);
            let is_due = invalidated.is_none_or(|at| at.elapsed() >= INVALIDATED_EVERY);
            if is_due {
                *invalidated = Some(Instant::now());
            }
            is_due
        };
        if is_due {
            *entry.latest.lock().await = None;
        }
    }

    /// Returns `None` if the source needs neither credentials nor rules for certificates.
    async fn get(
        &self,
        namespace: &str,
        access: &Arc<Access>,
        peer: Peer,
    ) -> Result<Option<Credentials>, AccessError> {
        if **access == Access::default() {
            return Ok(None);
        }
        let key = CacheKey { namespace: namespace.to_owned(), access: access.clone(), peer };
        let entry = self.entry(key.clone());
        let mut latest = entry.latest.lock().await;
        if let Some(cached) = &*latest
            && cached.read_at.elapsed() < CACHED_FOR
        {
            return cached.result.clone().map(Some);
        }
        let result = self.0.reader.read(&key).await;
        *latest = Some(CachedCredentials { read_at: Instant::now(), result: result.clone() });
        result.map(Some)
    }

    fn entry(&self, key: CacheKey) -> Arc<CacheEntry> {
        lock(&self.0.cache).entry(key).or_default().clone()
    }

    /// Forgets the credentials that no source refers to any more, so that the values of Secrets do
    /// not stay in memory; again and again, for the life of the process.
    pub(crate) async fn sweep(self) {
        loop {
            tokio::time::sleep(CACHED_FOR).await;
            self.forget_unused();
        }
    }

    fn forget_unused(&self) {
        lock(&self.0.cache).retain(|key, _| Arc::strong_count(&key.access) > 1);
    }
}

impl CredentialReader {
    async fn read(&self, key: &CacheKey) -> Result<Credentials, AccessError> {
        let Access { headers, headers_from, authorization, basic_auth, tls } = &*key.access;
        let secret = |reference| self.value(&key.namespace, ObjectKind::Secret, reference);
        let mut sent = HeaderMap::new();
        for (name, value) in headers {
            insert(&mut sent, name, value.as_bytes(), false)?;
        }
        let values =
            try_join_all(headers_from.iter().map(|header| secret(&header.secret_key_ref))).await?;
        for (header, value) in headers_from.iter().zip(values) {
            insert(&mut sent, &header.name, value.trim_ascii(), true)?;
        }
        if let Some(authorization) = authorization {
            let credentials = secret(&authorization.credentials).await?;
            let value = [authorization.type_.as_bytes(), b" ", credentials.trim_ascii()].concat();
            insert(&mut sent, AUTHORIZATION.as_str(), &value, true)?;
        }
        if let Some(basic) = basic_auth {
            let (username, password) =
                futures::try_join!(secret(&basic.username), secret(&basic.password))?;
            insert(
                &mut sent,
                AUTHORIZATION.as_str(),
                http_client::basic(&username, &password).as_bytes(),
                true,
            )?;
        }
        let ca = match tls.as_ref().and_then(|tls| tls.ca.as_ref()) {
            Some(CaSpec { secret: Some(reference), .. }) => Some(secret(reference).await?),
            Some(CaSpec { config_map: Some(reference), .. }) => {
                Some(self.value(&key.namespace, ObjectKind::ConfigMap, reference).await?)
            }
            _ => None,
        };
        let unusable = |problem| AccessError::Unusable { what: "tlsConfig".to_owned(), problem };
        let credentials = match (key.peer, tls) {
            (Peer::Pods, tls) => self
                .request_config(sent, tls.as_ref(), ca.as_deref())
                .map(|config| Credentials::Pods(Arc::new(config))),
            (Peer::Server, None) => {
                let client = self.open_server.client.clone();
                Ok(Credentials::Server(Arc::new(ServerAccess { client, headers: sent })))
            }
            (Peer::Server, Some(tls)) => {
                let client = http_client::client(tls, ca.as_deref(), &self.egress);
                client.map(|client| {
                    Credentials::Server(Arc::new(ServerAccess { client, headers: sent }))
                })
            }
        };
        credentials.map_err(unusable)
    }

    fn request_config(
        &self,
        headers: HeaderMap,
        tls: Option<&TlsSpec>,
        ca: Option<&[u8]>,
    ) -> Result<RequestConfig, String> {
        let Some(spec) = tls else {
            return Ok(RequestConfig { headers, ..(*self.open_pods).clone() });
        };
        let server_name = spec.server_name.as_deref().map(tls::server_name).transpose()?;
        let tls = Arc::new(tls::config(spec, ca)?);
        Ok(RequestConfig { headers, tls, server_name, ..(*self.open_pods).clone() })
    }

    /// Reads one key of a Secret or a ConfigMap.
    async fn value(
        &self,
        namespace: &str,
        object: ObjectKind,
        reference: &KeyRef,
    ) -> Result<Vec<u8>, AccessError> {
        let kind = object.name();
        let namespace = namespace.to_owned();
        let KeyRef { name, key, .. } = reference.clone();
        match within(DEADLINE, self.data(&namespace, object, &name)).await {
            Ok(Some(mut data)) => {
                data.remove(&key).ok_or(AccessError::Missing { kind, namespace, name, key })
            }
            Ok(None) => Err(AccessError::Missing { kind, namespace, name, key }),
            Err(error) if error.status() == Some(403) => {
                Err(AccessError::Forbidden { kind, namespace, name })
            }
            Err(error) => {
                Err(AccessError::Unread { kind, namespace, name, problem: error.to_string() })
            }
        }
    }

    async fn data(
        &self,
        namespace: &str,
        object: ObjectKind,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, kube::Error> {
        let client = self.kubernetes.clone();
        match object {
            ObjectKind::ConfigMap => {
                let found = Api::<ConfigMap>::namespaced(client, namespace).get_opt(name).await?;
                let data = found.map(|map| map.data.unwrap_or_default());
                let bytes = |(key, text): (String, String)| (key, text.into_bytes());
                Ok(data.map(|data| data.into_iter().map(bytes).collect()))
            }
            ObjectKind::Secret => {
                let found = Api::<Secret>::namespaced(client, namespace).get_opt(name).await?;
                let data = found.map(|secret| secret.data.unwrap_or_default());
                Ok(data.map(|data| data.into_iter().map(|(key, bytes)| (key, bytes.0)).collect()))
            }
        }
    }
}

fn insert(
    headers: &mut HeaderMap,
    name: &str,
    value: &[u8],
    is_secret: bool,
) -> Result<(), AccessError> {
    let unusable = |problem: &str| AccessError::Unusable {
        what: format!("the header {name}"),
        problem: problem.to_owned(),
    };
    let header =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable("its name is not valid"))?;
    let mut value = HeaderValue::from_bytes(value)
        .map_err(|_| unusable("its value contains a line break or another invalid character"))?;
    value.set_sensitive(is_secret);
    // A map of headers has room for 32,768, and panics at the next.
    headers.try_insert(header, value).map_err(|_| unusable("there are too many headers"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube_api::stand_in::{Answer, Received, StandIn};

    #[tokio::test]
    async fn values_of_secrets_are_forgotten_with_their_source() {
        let api = StandIn::start(|_: &Received| {
            let data = serde_json::json!({"token": "c2VjcmV0"});
            Answer::Json(200, serde_json::json!({"metadata": {"name": "s"}, "data": data}))
        })
        .await;
        let store = CredentialStore::new(api.client.clone(), Egress::default()).unwrap();
        let authorization = serde_json::json!({"type": "Bearer",
            "credentials": {"name": "s", "key": "token"}});
        let authorization = serde_json::from_value(authorization).unwrap();
        let access = Arc::new(Access { authorization: Some(authorization), ..Access::default() });
        let config = store.for_pods("ns", &access).await.unwrap();
        assert_eq!(config.headers[AUTHORIZATION], "Bearer secret");
        store.forget_unused();
        assert_eq!(lock(&store.0.cache).len(), 1, "a source refers to it");
        drop((access, config));
        store.forget_unused();
        assert!(lock(&store.0.cache).is_empty());
    }

    #[test]
    fn too_many_headers_are_an_error() {
        let mut headers = HeaderMap::new();
        let failed = (0..40_000)
            .find_map(|number| insert(&mut headers, &format!("x-{number}"), b"v", false).err());
        assert!(failed.unwrap().to_string().ends_with("there are too many headers"));
        let spare = insert(&mut headers, "x-0", b"w", false);
        assert!(spare.is_ok() || headers.len() >= 20_000, "a known name is replaced, or refused");
    }
}
