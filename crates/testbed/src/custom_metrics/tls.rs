//! TLS on loopback, which the API server insists on between itself and an adapter.

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

/// How long a client may take to agree on a key: others wait meanwhile.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// A certificate that signs itself, with its key.
pub(super) struct Certificate {
    /// The certificate, for those who are to trust it.
    pub(super) pem: String,
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// A new one for a name.
    pub(super) fn new(name: &str) -> Result<Self> {
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

/// Accepts connections on loopback, and speaks TLS on them.
pub(super) struct Listener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener {
    /// Listens on a free port.
    pub(super) async fn bind(certificate: &Certificate) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listening on 127.0.0.1")?;
        Ok(Self { listener, acceptor: TlsAcceptor::from(certificate.config.clone()) })
    }

    /// The port that it listens on.
    pub(super) fn port(&self) -> Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
            // Who fails here comes again, or gives up.
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
