//! For tests: authorities that issue certificates, a TLS server that demands one of its clients,
//! and an API server with the Secret of a client. The tests here are those of pages.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use hyper::{Response, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use llm_autoscaler_api::Access;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{
    kube_api::stand_in::{Answer, Received, StandIn},
    lock::lock,
    sampling::{
        connection::Address,
        credentials::CredentialStore,
        egress::{Egress, EgressRules},
        error::{FetchError, FetchProblem},
        memory::NamespaceBudget,
        page_state::{PageKey, Timing},
        scrape::Scraper,
        scrapes::KeptScraper,
    },
};

/// An authority that issues certificates.
pub(super) struct Authority {
    /// Its own certificate.
    pub(super) pem: String,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Returns a certificate for a DNS name, an IP address or a URI, and its key.
    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if name.contains("://") {
            params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
        }
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Returns a client's certificate and its key as PEM.
    pub(super) fn client(&self) -> (String, String) {
        let (certificate, key) = self.issue("client.example");
        (certificate.pem(), key.serialize_pem())
    }
}

/// A server for 127.0.0.1 that demands a client certificate. It answers one request of a
/// connection.
pub(super) struct TlsServer {
    pub(super) port: u16,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    authority: Arc<Authority>,
    name: &'static str,
    version: &'static SupportedProtocolVersion,
}

impl TlsServer {
    /// Starts a server with a certificate of `authority`, which must have issued those of clients,
    /// too.
    pub(super) async fn start(
        authority: &Arc<Authority>,
        version: &'static SupportedProtocolVersion,
        body: &'static str,
    ) -> Self {
        Self::start_as("127.0.0.1", authority, version, body).await
    }

    /// Starts a server with a certificate for another name than that of its address.
    async fn start_as(
        name: &'static str,
        authority: &Arc<Authority>,
        version: &'static SupportedProtocolVersion,
        body: &'static str,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = Arc::new(Mutex::new(server_config(name, authority, authority, version)));
        let current = config.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = TlsAcceptor::from(lock(&current).clone());
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let answer = service_fn(|_| async {
                    let response = Response::builder().header("connection", "close");
                    Ok::<_, Infallible>(response.body(body.to_owned()).unwrap())
                });
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                let _ = served.await;
            }
        });
        Self { port, config, authority: authority.clone(), name, version }
    }

    /// Accepts only clients with a certificate of `clients` from now on.
    pub(super) fn trust(&self, clients: &Authority) {
        *lock(&self.config) = server_config(self.name, &self.authority, clients, self.version);
    }
}

fn server_config(
    name: &str,
    own: &Authority,
    clients: &Authority,
    version: &'static SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(clients.certificate.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let (certificate, key) = own.issue(name);
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        );
    Arc::new(config.unwrap())
}

/// An API server with the Secret `client`, and the credentials that are read from it.
pub(super) struct ClientSecret {
    pub(super) credentials: CredentialStore,
    data: Arc<Mutex<Value>>,
    api: StandIn,
}

impl ClientSecret {
    pub(super) async fn new(authority: &Authority) -> Self {
        let data = Arc::<Mutex<Value>>::default();
        let current = data.clone();
        let api = StandIn::start(move |_: &Received| {
            let data = lock(&current).clone();
            Answer::Json(200, json!({"metadata": {"name": "client"}, "data": data}))
        })
        .await;
        let loopback = Egress::new(EgressRules { loopback: true, ..EgressRules::default() });
        let credentials = CredentialStore::new(api.client.clone(), loopback).unwrap();
        let secret = Self { credentials, data, api };
        let (certificate, key) = authority.client();
        secret.set(&authority.pem, &certificate, &key);
        secret
    }

    /// Replaces the values of the Secret.
    pub(super) fn set(&self, ca: &str, certificate: &str, key: &str) {
        *lock(&self.data) = json!({
            "ca.crt": BASE64.encode(ca),
            "tls.crt": BASE64.encode(certificate),
            "tls.key": BASE64.encode(key),
        });
    }

    /// Returns the number of times that the Secret was read.
    pub(super) fn reads(&self) -> usize {
        self.api.received(|_| true).len()
    }

    /// Returns settings that refer to the Secret, with or without a client certificate.
    pub(super) fn access(with_certificate: bool) -> Arc<Access> {
        let reference = |key: &str| json!({"name": "client", "key": key});
        let mut tls = json!({"ca": {"secret": reference("ca.crt")}});
        if with_certificate {
            tls["cert"] = json!({"secret": reference("tls.crt")});
            tls["keySecret"] = reference("tls.key");
        }
        let tls = Some(serde_json::from_value(tls).unwrap());
        Arc::new(Access { tls, ..Access::default() })
    }
}

/// Returns the page of a server, and what is kept of its scrapes.
fn page_of(server: &TlsServer, access: Arc<Access>) -> (PageKey, KeptScraper) {
    let ip = [127, 0, 0, 1].into();
    let address = Address { ip, port: server.port, tls: true, path: "/".into() };
    let (namespace, pod_uid) = ("ns".into(), "1".into());
    (PageKey { namespace, pod_uid, address, access }, KeptScraper::default())
}

async fn scrape(
    secret: &ClientSecret,
    (page, kept): &mut (PageKey, KeptScraper),
) -> Result<String, FetchError> {
    let timing = Timing { interval: Duration::from_secs(1), timeout: Duration::from_secs(5) };
    let memory = NamespaceBudget::plenty();
    let mut scraper = Scraper::new(page, &memory, kept);
    let page = scraper.scrape(&secret.credentials, &timing, &Arc::default()).await;
    page.map(|page| String::from_utf8(page.bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn a_page_that_demands_a_client_certificate_is_scraped_with_it_and_after_its_rotation() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (first, second) = (Arc::new(Authority::new("first")), Authority::new("second"));
        let server = TlsServer::start(&first, version, "a 1\n").await;
        let secret = ClientSecret::new(&first).await;
        let page = |with_certificate| page_of(&server, ClientSecret::access(with_certificate));

        let error = scrape(&secret, &mut page(false)).await.unwrap_err().to_string();
        let hint = "the server demands a client certificate: set tlsConfig.cert and \
                    tlsConfig.keySecret of the source";
        assert!(error.ends_with(hint), "{version:?}: {error}");

        let mut page = page(true);
        let reads = secret.reads();
        assert_eq!(scrape(&secret, &mut page).await.unwrap(), "a 1\n", "{version:?}");
        assert_eq!(secret.reads(), reads + 1, "certificate, key and CA are read at once");

        // The Secret is rotated, and the server accepts only the new certificate.
        let (certificate, key) = second.client();
        secret.set(&first.pem, &certificate, &key);
        server.trust(&second);
        let error = scrape(&secret, &mut page).await.unwrap_err();
        let FetchError::Request { problem: FetchProblem::CertificateRefused(_), .. } = error else {
            panic!("{version:?}: {error}")
        };
        assert_eq!(scrape(&secret, &mut page).await.unwrap(), "a 1\n", "{version:?}");
    }
}

/// The certificates of a mesh have the workload's identity as their only name.
#[tokio::test]
async fn a_page_behind_a_mesh_is_scraped_with_a_workloads_certificate() {
    let identity = "spiffe://cluster.local/ns/models/sa/engine";
    let authority = Arc::new(Authority::new("mesh"));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let server = TlsServer::start_as(identity, &authority, version, "a 1\n").await;
        let secret = ClientSecret::new(&authority).await;
        let (certificate, key) = authority.issue("spiffe://cluster.local/ns/ns/sa/metrics");
        secret.set(&authority.pem, &certificate.pem(), &key.serialize_pem());
        let scrape = async |access: Arc<Access>| {
            let mut page = page_of(&server, access);
            scrape(&secret, &mut page).await.map_err(|error| error.to_string())
        };
        let without_check = |with_certificate| {
            let mut access = (*ClientSecret::access(with_certificate)).clone();
            let tls = access.tls.as_mut().unwrap();
            (tls.ca, tls.insecure_skip_verify) = (None, true);
            Arc::new(access)
        };
        let error = scrape(without_check(false)).await.unwrap_err();
        assert!(error.contains("the server demands a client certificate"), "{error}");
        let error = scrape(ClientSecret::access(true)).await.unwrap_err();
        assert!(error.contains("not valid for name"), "{error}");
        assert_eq!(scrape(without_check(true)).await.unwrap(), "a 1\n", "{version:?}");
    }
}

#[tokio::test]
async fn a_client_certificate_that_is_missing_or_wrong_is_an_error_that_names_it() {
    let authority = Authority::new("a");
    let ((certificate, key), (_, other_key)) = (authority.client(), authority.client());
    for (certificate, key, expected) in [
        (&*certificate, None, "Secret ns/client has no key tls.key: create it"),
        (&*certificate, Some(&*other_key), "tlsConfig cannot be used: the key of keySecret is not"),
        ("-----BEGIN SECRET", Some(&*key), "tlsConfig cannot be used: cert "),
    ] {
        let secret = ClientSecret::new(&authority).await;
        secret.set(&authority.pem, certificate, key.unwrap_or_default());
        if key.is_none() {
            lock(&secret.data).as_object_mut().unwrap().remove("tls.key");
        }
        let access = ClientSecret::access(true);
        let of_pods = secret.credentials.for_pods("ns", &access).await.err();
        let of_server = secret.credentials.for_server("ns", &access).await.err();
        for error in [of_pods, of_server] {
            let error = error.unwrap().to_string();
            assert!(error.starts_with(expected) && !error.contains("BEGIN S"), "{error}");
        }
    }
}
