//! TLS on loopback, which the API server requires of an adapter, and client certificates, which a
//! server may demand.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedKey, IsCa, Issuer, KeyPair,
    generate_simple_self_signed,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The timeout of a handshake, during which other clients wait.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// A self-signed certificate and its key.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// The certificate, for the clients that shall trust it.
    pub(crate) pem: String,
    der: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// Generates a certificate for a DNS name or an address.
    pub(crate) fn new(name: &str) -> Result<Self> {
        crate::install_crypto();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()])
            .with_context(|| format!("making a certificate for {name}"))?;
        let (der, pem) = (cert.der().clone(), cert.pem());
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![der.clone()], key.clone_key())?;
        Ok(Self { pem, der, key, config: Arc::new(config) })
    }

    /// Accepts only clients with a certificate of this authority from now on.
    pub(crate) fn demand(&mut self, clients: &ClientAuthority) -> Result<()> {
        let mut roots = RootCertStore::empty();
        roots.add(clients.certificate.clone())?;
        let verifier = WebPkiClientVerifier::builder(roots.into()).build()?;
        let config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.der.clone()], self.key.clone_key())?;
        self.config = Arc::new(config);
        Ok(())
    }
}

/// An authority that issues certificates to clients and servers.
pub struct ClientAuthority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl ClientAuthority {
    /// Generates an authority.
    ///
    /// # Errors
    /// Fails if no key can be generated.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().context("generating the key of an authority")?;
        let signed = params.self_signed(&key)?;
        let (certificate, pem) = (signed.der().clone(), signed.pem());
        Ok(Self { certificate, pem, issuer: Issuer::new(params, key) })
    }

    /// Returns its certificate, as PEM.
    pub fn pem(&self) -> String {
        self.pem.clone()
    }

    /// Issues a certificate to a client. Returns it and its private key, as PEM.
    ///
    /// # Errors
    /// Fails if no key can be generated.
    pub fn issue(&self) -> Result<(String, String)> {
        self.issue_to(&["client.example"])
    }

    /// Issues a certificate to a client or a server of these DNS names and addresses. Returns it
    /// and its private key, as PEM.
    ///
    /// # Errors
    /// Fails if no key can be generated.
    pub fn issue_to(&self, names: &[&str]) -> Result<(String, String)> {
        let key = KeyPair::generate().context("generating the key of a certificate")?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(names)?;
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }
}

/// Accepts TLS connections on loopback.
pub(crate) struct Listener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener {
    /// Listens on a free port.
    pub(crate) async fn bind(certificate: &Certificate) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listening on 127.0.0.1")?;
        Ok(Self::new(listener, certificate))
    }

    /// Accepts the connections of a listener.
    pub(crate) fn new(listener: TcpListener, certificate: &Certificate) -> Self {
        Self { listener, acceptor: TlsAcceptor::from(certificate.config.clone()) }
    }

    /// Returns the port.
    pub(crate) fn port(&self) -> Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
            // A failed handshake is dropped; the client may retry.
            if let Ok(Ok(stream)) =
                tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
