//! TLS on loopback, which the API server requires of an adapter.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The timeout of a handshake, during which other clients wait.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// A self-signed certificate and its key.
pub(crate) struct Certificate {
    /// The certificate, for the clients that shall trust it.
    pub(crate) pem: String,
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// Generates a certificate for a DNS name.
    pub(crate) fn new(name: &str) -> Result<Self> {
        crate::install_crypto();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()])
            .with_context(|| format!("making a certificate for {name}"))?;
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        Ok(Self { pem: cert.pem(), config: Arc::new(config) })
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
        Ok(Self { listener, acceptor: TlsAcceptor::from(certificate.config.clone()) })
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
