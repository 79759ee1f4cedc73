//! Credentials of sources: headers and client certificates from Secrets, and rules for checking
//! certificates.
//!
//! Spec fields refer to Secrets and ConfigMaps of the autoscaler's own namespace. They are read
//! when they are needed, and cached for 30 s. If a server rejects the credentials, they are read
//! again at once, so that a rotated token or client certificate works immediately.

mod objects;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use kube::Client;
use llm_autoscaler_api::{Access, SecretOrConfigMap, TlsSpec};
use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};

use self::objects::{ObjectReader, Values};
use crate::{
    lock::lock,
    sampling::{
        access_error::AccessError,
        connection::RequestConfig,
        egress::Egress,
        http_client,
        providers::{Grant, Providers},
        tls::{self, ClientPem, PemFiles},
    },
};

/// The time for which credentials are cached.
const CACHED_FOR: Duration = Duration::from_secs(30);
/// The longest value of a header from a Secret, in bytes. Every connection to a pod has a copy.
const LONGEST_HEADER: usize = 16 << 10;
/// The shortest time between two invalidations of the same credentials.
const INVALIDATED_EVERY: Duration = Duration::from_secs(5);

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

/// The credentials of all sources. Cheap to clone.
#[derive(Clone)]
pub(crate) struct CredentialStore {
    state: Arc<StoreState>,
    providers: Providers,
}

struct StoreState {
    reader: CredentialReader,
    cache: Mutex<HashMap<CacheKey, Arc<CacheEntry>>>,
}

/// Reads credentials from the API server.
struct CredentialReader {
    objects: ObjectReader,
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

impl CredentialStore {
    /// Returns an empty store that reads Secrets with this client.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub(crate) fn new(kubernetes: Client, egress: Egress) -> Result<Self, String> {
        let (headers, server_name) = (HeaderMap::new(), None);
        // Few certificates are for a pod's address, so they are only checked if the spec has rules.
        let unchecked = TlsSpec { insecure_skip_verify: true, ..TlsSpec::default() };
        let tls = Arc::new(tls::config(&unchecked, &PemFiles::default())?);
        let client = http_client::client(&TlsSpec::default(), &PemFiles::default(), &egress)?;
        let reader = CredentialReader {
            objects: ObjectReader::new(kubernetes),
            open_pods: Arc::new(RequestConfig {
                headers: headers.clone(),
                tls,
                server_name,
                egress: egress.clone(),
            }),
            open_server: Arc::new(ServerAccess { client, headers }),
            egress,
        };
        let state = Arc::new(StoreState { reader, cache: Mutex::default() });
        Ok(Self { state, providers: Providers::default() })
    }

    /// Returns the store with the credentials of the operator's owner.
    pub(crate) fn with_providers(self, providers: Providers) -> Self {
        Self { providers, ..self }
    }

    /// Returns the credentials of the operator's owner for requests of a namespace to this URL, if
    /// there are any.
    pub(crate) fn grant(&self, namespace: &str, access: &Access, url: &Url) -> Option<&Grant> {
        self.providers.grant(namespace, access, url)
    }

    /// Returns the rules for the addresses of sources.
    pub(crate) fn egress(&self) -> &Egress {
        &self.state.reader.egress
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
            _ => Ok(self.state.reader.open_pods.clone()),
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
            _ => Ok(self.state.reader.open_server.clone()),
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
        let result = self.state.reader.read(&key).await;
        *latest = Some(CachedCredentials { read_at: Instant::now(), result: result.clone() });
        result.map(Some)
    }

    fn entry(&self, key: CacheKey) -> Arc<CacheEntry> {
        lock(&self.state.cache).entry(key).or_default().clone()
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
        lock(&self.state.cache).retain(|key, _| Arc::strong_count(&key.access) > 1);
    }
}

impl CredentialReader {
    async fn read(&self, key: &CacheKey) -> Result<Credentials, AccessError> {
        let values = self.objects.read(&key.namespace, &key.access).await?;
        let headers = headers(&key.access, &values)?;
        let tls = key.access.tls.as_deref();
        let pem = pem_files(tls, &values)?;
        let credentials = match (key.peer, tls) {
            (Peer::Pods, tls) => self
                .request_config(headers, tls, &pem)
                .map(|config| Credentials::Pods(Arc::new(config))),
            (Peer::Server, None) => {
                let client = self.open_server.client.clone();
                Ok(Credentials::Server(Arc::new(ServerAccess { client, headers })))
            }
            (Peer::Server, Some(tls)) => http_client::client(tls, &pem, &self.egress)
                .map(|client| Credentials::Server(Arc::new(ServerAccess { client, headers }))),
        };
        let what = || "tlsConfig".to_owned();
        credentials.map_err(|problem| AccessError::Unusable { what: what(), problem })
    }

    fn request_config(
        &self,
        headers: HeaderMap,
        tls: Option<&TlsSpec>,
        pem: &PemFiles<'_>,
    ) -> Result<RequestConfig, String> {
        let Some(spec) = tls else {
            return Ok(RequestConfig { headers, ..(*self.open_pods).clone() });
        };
        let server_name = spec.server_name.as_deref().map(tls::server_name).transpose()?;
        let tls = Arc::new(tls::config(spec, pem)?);
        Ok(RequestConfig { headers, tls, server_name, ..(*self.open_pods).clone() })
    }
}

/// Returns the headers of the requests.
fn headers(access: &Access, values: &Values) -> Result<HeaderMap, AccessError> {
    let Access { headers, headers_from, authorization, basic_auth, .. } = access;
    let mut sent = HeaderMap::new();
    for (name, value) in headers {
        insert(&mut sent, name, value.as_bytes(), false)?;
    }
    for header in headers_from {
        let value = values.of_secret(&header.secret_key_ref)?;
        insert(&mut sent, &header.name, value.trim_ascii(), true)?;
    }
    let name = AUTHORIZATION.as_str();
    if let Some(authorization) = authorization {
        let credentials = values.of_secret(&authorization.credentials)?;
        let value = [authorization.type_.as_bytes(), b" ", credentials.trim_ascii()].concat();
        insert(&mut sent, name, &value, true)?;
    }
    if let Some(basic) = basic_auth {
        let (username, password) =
            (values.of_secret(&basic.username)?, values.of_secret(&basic.password)?);
        insert(&mut sent, name, http_client::basic(username, password).as_bytes(), true)?;
    }
    Ok(sent)
}

/// Returns the PEM files to which the settings refer.
fn pem_files<'v>(tls: Option<&TlsSpec>, values: &'v Values) -> Result<PemFiles<'v>, AccessError> {
    let Some(tls) = tls else { return Ok(PemFiles::default()) };
    let ca = tls.ca.as_ref().and_then(SecretOrConfigMap::reference);
    let ca = ca.map(|(kind, key)| values.of(kind, key)).transpose()?;
    let certificate = tls.cert.as_ref().and_then(SecretOrConfigMap::reference);
    let client = match (certificate, &tls.key_secret) {
        (Some((kind, certificate)), Some(key)) => {
            let (certificate, key) = (values.of(kind, certificate)?, values.of_secret(key)?);
            Some(ClientPem { certificate, key })
        }
        _ => None,
    };
    Ok(PemFiles { ca, client })
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
    if value.len() > LONGEST_HEADER {
        return Err(unusable("its value has more than 16 KiB"));
    }
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
    use crate::{
        kube_api::stand_in::{Answer, Received, StandIn},
        sampling::mutual_tls::{Authority, ClientSecret},
    };

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
        assert_eq!(lock(&store.state.cache).len(), 1, "a source refers to it");
        drop((access, config));
        store.forget_unused();
        assert!(lock(&store.state.cache).is_empty());
    }

    /// The configuration of TLS contains the private key, and so does the client of a server.
    #[tokio::test]
    async fn a_private_key_is_forgotten_with_its_source() {
        let secret = ClientSecret::new(&Authority::new("a")).await;
        let store = &secret.credentials;
        let (pods, server) = (ClientSecret::access(true), ClientSecret::access(true));
        let config = store.for_pods("ns", &pods).await.unwrap();
        assert!(config.tls.client_auth_cert_resolver.has_certs());
        let key = Arc::downgrade(&config.tls.client_auth_cert_resolver);
        let client = Arc::downgrade(&store.for_server("ns", &server).await.unwrap());
        drop(config);
        store.forget_unused();
        assert!(key.upgrade().is_some() && client.upgrade().is_some(), "sources refer to it");
        drop((pods, server));
        store.forget_unused();
        assert!(key.upgrade().is_none() && client.upgrade().is_none());
    }

    #[test]
    fn too_many_headers_are_an_error() {
        let mut headers = HeaderMap::new();
        let failed = (0..40_000)
            .find_map(|number| insert(&mut headers, &format!("x-{number}"), b"v", false).err());
        assert!(failed.unwrap().to_string().ends_with("there are too many headers"));
        let long = insert(&mut HeaderMap::new(), "x", &vec![b'v'; LONGEST_HEADER + 1], true);
        assert!(long.unwrap_err().to_string().ends_with("its value has more than 16 KiB"));
        let spare = insert(&mut headers, "x-0", b"w", false);
        assert!(spare.is_ok() || headers.len() >= 20_000, "a known name is replaced, or refused");
    }
}
