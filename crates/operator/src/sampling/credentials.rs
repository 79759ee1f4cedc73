//! What it takes to be let in: headers from Secrets, and how certificates are checked.
//!
//! Spec fields name Secrets and ConfigMaps of the autoscaler's own namespace. They are read when they are needed, kept
//! for half a minute, and read anew at once when a server refuses what they said: a rotated token is picked up.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use llm_autoscaler_api::{Access, CaSpec, KeyRef, TlsSpec};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::{
    kube_api::within,
    sampling::{connection::Manner, http_client, tls},
};

/// For how long what was read is taken for current.
const KEPT: Duration = Duration::from_secs(30);
/// How often it is read anew because a server refuses it.
const REFUSED_AGAIN: Duration = Duration::from_secs(5);
/// How long the API server may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why nobody can be asked: what would let us in cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The object, or the key in it, is not there.
    #[error("{kind} {namespace}/{name} has no key {key}: create it, or correct the reference")]
    Missing {
        /// Secret or `ConfigMap`.
        kind: &'static str,
        /// The autoscaler's namespace.
        namespace: String,
        /// As in the reference.
        name: String,
        /// As in the reference.
        key: String,
    },
    /// The operator may not read it.
    #[error(
        "the operator is not allowed to read {kind} {namespace}/{name}; grant access with: kubectl create rolebinding \
         llm-autoscaler-credentials -n {namespace} --clusterrole=llm-autoscaler-credentials \
         --serviceaccount=llm-autoscaler-system:llm-autoscaler"
    )]
    Forbidden {
        /// Secret or `ConfigMap`.
        kind: &'static str,
        /// The autoscaler's namespace.
        namespace: String,
        /// As in the reference.
        name: String,
    },
    /// The API server did not give it.
    #[error("{kind} {namespace}/{name} could not be read: {problem}")]
    Unread {
        /// Secret or `ConfigMap`.
        kind: &'static str,
        /// The autoscaler's namespace.
        namespace: String,
        /// As in the reference.
        name: String,
        /// The server's words.
        problem: String,
    },
    /// What is there is no header value, or no certificate.
    #[error("{what} cannot be used: {problem}")]
    Unusable {
        /// Which header or certificate.
        what: String,
        /// What is wrong with it; never its content.
        problem: String,
    },
}

/// What lets us in to a server.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The client that checks certificates as it should.
    pub client: reqwest::Client,
    /// What is sent with each request.
    pub headers: HeaderMap,
}

/// What was read from Secrets and `ConfigMaps`, made into what a pod or a server needs.
#[derive(Clone, Debug)]
enum Pass {
    Pod(Arc<Manner>),
    Server(Arc<Admission>),
}

/// All admissions, by namespace and reference. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    kubernetes: Client,
    /// Without anything from Secrets.
    open_pods: Arc<Manner>,
    open_servers: Arc<Admission>,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
}

/// What a pass is for. The namespace is the autoscaler's: what one tenant's Secret says is never used for another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    namespace: String,
    access: Arc<Access>,
    of_pods: bool,
}

#[derive(Default)]
struct Slot {
    latest: tokio::sync::Mutex<Option<(Instant, Result<Pass, AccessError>)>>,
    refused: Mutex<Option<Instant>>,
}

impl Gate {
    /// Reads Secrets with this client.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn new(kubernetes: Client) -> Result<Self, String> {
        let (headers, server_name) = (HeaderMap::new(), None);
        // A pod's address is in few certificates; who wants them checked says how.
        let unchecked = TlsSpec { insecure_skip_verify: true, ..TlsSpec::default() };
        let tls = Arc::new(tls::config(&unchecked, None)?);
        let client = http_client::client(&TlsSpec::default(), None)?;
        Ok(Self(Arc::new(Inner {
            kubernetes,
            open_pods: Arc::new(Manner { headers: headers.clone(), tls, server_name }),
            open_servers: Arc::new(Admission { client, headers }),
            slots: Mutex::default(),
        })))
    }

    /// What lets us in to pods of a namespace.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn to_pods(
        &self,
        namespace: &str,
        access: &Arc<Access>,
    ) -> Result<Arc<Manner>, AccessError> {
        match self.pass(namespace, access, true).await? {
            Some(Pass::Pod(manner)) => Ok(manner),
            _ => Ok(self.0.open_pods.clone()),
        }
    }

    /// What lets us in to a server, with the Secrets of a namespace.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn to_server(
        &self,
        namespace: &str,
        access: &Arc<Access>,
    ) -> Result<Arc<Admission>, AccessError> {
        match self.pass(namespace, access, false).await? {
            Some(Pass::Server(admission)) => Ok(admission),
            _ => Ok(self.0.open_servers.clone()),
        }
    }

    /// `None` where nothing is needed.
    async fn pass(
        &self,
        namespace: &str,
        access: &Arc<Access>,
        of_pods: bool,
    ) -> Result<Option<Pass>, AccessError> {
        if **access == Access::default() {
            return Ok(None);
        }
        let key = Key { namespace: namespace.to_owned(), access: access.clone(), of_pods };
        let slot = self.slot(key.clone());
        let mut latest = slot.latest.lock().await;
        let pass = match &*latest {
            Some((at, pass)) if at.elapsed() < KEPT => pass.clone(),
            _ => {
                let pass = self.0.read(&key).await;
                *latest = Some((Instant::now(), pass.clone()));
                pass
            }
        };
        pass.map(Some)
    }

    /// A pod or a server has refused what the Secrets said: they are read anew before the next request.
    pub async fn refused(&self, namespace: &str, access: &Arc<Access>, of_pods: bool) {
        if access.is_open() {
            return;
        }
        let slot =
            self.slot(Key { namespace: namespace.to_owned(), access: access.clone(), of_pods });
        let again = {
            let mut refused = slot.refused.lock().unwrap_or_else(PoisonError::into_inner);
            let again = refused.is_none_or(|at| at.elapsed() >= REFUSED_AGAIN);
            if again {
                *refused = Some(Instant::now());
            }
            again
        };
        if again {
            *slot.latest.lock().await = None;
        }
    }

    fn slot(&self, key: Key) -> Arc<Slot> {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if !slots.contains_key(&key) {
            // What nobody asks for any more is forgotten.
            slots.retain(|key, _| Arc::strong_count(&key.access) > 1);
        }
        slots.entry(key).or_default().clone()
    }
}

impl Inner {
    async fn read(&self, key: &Key) -> Result<Pass, AccessError> {
        let Access { headers, headers_from, authorization, basic_auth, tls } = &*key.access;
        let secret = |reference| self.value(&key.namespace, false, reference);
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
                Some(self.value(&key.namespace, true, reference).await?)
            }
            _ => None,
        };
        let unusable = |problem| AccessError::Unusable { what: "tlsConfig".to_owned(), problem };
        let made = match tls {
            _ if key.of_pods => self
                .manner(sent, tls.as_ref(), ca.as_deref())
                .map(|manner| Pass::Pod(Arc::new(manner))),
            None => {
                let client = self.open_servers.client.clone();
                Ok(Pass::Server(Arc::new(Admission { client, headers: sent })))
            }
            Some(tls) => http_client::client(tls, ca.as_deref())
                .map(|client| Pass::Server(Arc::new(Admission { client, headers: sent }))),
        };
        made.map_err(unusable)
    }

    fn manner(
        &self,
        headers: HeaderMap,
        tls: Option<&TlsSpec>,
        ca: Option<&[u8]>,
    ) -> Result<Manner, String> {
        let Some(spec) = tls else {
            return Ok(Manner { headers, ..(*self.open_pods).clone() });
        };
        let server_name = spec.server_name.as_deref().map(tls::server_name).transpose()?;
        Ok(Manner { headers, tls: Arc::new(tls::config(spec, ca)?), server_name })
    }

    async fn value(
        &self,
        namespace: &str,
        public: bool,
        at: &KeyRef,
    ) -> Result<Vec<u8>, AccessError> {
        let kind = if public { "ConfigMap" } else { "Secret" };
        let (namespace, name, key) = (namespace.to_owned(), at.name.clone(), at.key.clone());
        match within(DEADLINE, self.data(&namespace, public, &name)).await {
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
        public: bool,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, kube::Error> {
        if public {
            let found = Api::<ConfigMap>::namespaced(self.kubernetes.clone(), namespace)
                .get_opt(name)
                .await?;
            let data = found.map(|map| map.data.unwrap_or_default());
            return Ok(data.map(|data| {
                data.into_iter().map(|(key, text)| (key, text.into_bytes())).collect()
            }));
        }
        let found =
            Api::<Secret>::namespaced(self.kubernetes.clone(), namespace).get_opt(name).await?;
        let data = found.map(|secret| secret.data.unwrap_or_default());
        Ok(data.map(|data| data.into_iter().map(|(key, bytes)| (key, bytes.0)).collect()))
    }
}

fn insert(
    headers: &mut HeaderMap,
    name: &str,
    value: &[u8],
    secret: bool,
) -> Result<(), AccessError> {
    let unusable = |problem: &str| AccessError::Unusable {
        what: format!("the value of the header {name}"),
        problem: problem.to_owned(),
    };
    let header =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable("the name is no header's"))?;
    let mut value =
        HeaderValue::from_bytes(value).map_err(|_| unusable("it has a line break or the like"))?;
    value.set_sensitive(secret);
    headers.insert(header, value);
    Ok(())
}
