//! The certificate of a listener, in files that may be replaced at any time.

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tracing::{info, warn};

use crate::{http::listener::ServerTls, lock::lock};

/// The time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The files of a certificate and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by those that have signed it.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A certificate as its files have it.
pub(crate) struct Certificate {
    /// The requests that are served with it.
    requests: &'static str,
    files: CertificateFiles,
    /// The file of the authorities by which clients are verified; `None` if they need not be.
    clients: Option<PathBuf>,
    /// The protocol that is offered.
    protocol: &'static [u8],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The latest certificate that could be used.
    config: Option<Arc<ServerConfig>>,
    /// The contents of the files at the latest look, or why there were none.
    seen: Option<Result<Contents, String>>,
}

/// The contents of both files.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    clients: Option<Vec<u8>>,
}

impl Certificate {
    /// Begins with what the files contain now, if they are there.
    pub(crate) fn new(files: CertificateFiles) -> Self {
        Self::begin("wake calls", files, None, b"http/1.1")
    }

    /// Like [`new`](Self::new), for calls of KEDA by gRPC. With a file of authorities, clients need
    /// a certificate of one of them.
    pub(crate) fn for_keda(files: CertificateFiles, clients: Option<PathBuf>) -> Self {
        Self::begin("calls of KEDA", files, clients, b"h2")
    }

    fn begin(
        requests: &'static str,
        files: CertificateFiles,
        clients: Option<PathBuf>,
        protocol: &'static [u8],
    ) -> Self {
        let certificate = Self { requests, files, clients, protocol, state: Mutex::default() };
        certificate.look();
        certificate
    }

    /// Looks at the files again and again, for the life of the process.
    pub(crate) async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look();
        }
    }

    /// Takes over the files if they have changed. A pair that cannot be used, or is half replaced,
    /// leaves the former one in use.
    fn look(&self) {
        let contents = self.read();
        let mut state = lock(&self.state);
        if state.seen.as_ref() == Some(&contents) {
            return;
        }
        let (path, requests) = (self.files.certificate.display(), self.requests);
        match contents
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|contents| server_config(contents, self.protocol))
        {
            Ok(config) => {
                info!(%path, requests, "requests are served with the certificate of this file");
                state.config = Some(Arc::new(config));
            }
            Err(error) if !self.files.certificate.exists() && state.config.is_none() => {
                info!(error, requests, "there is no certificate yet: requests are not served");
            }
            Err(error) => {
                let in_use = if state.config.is_some() { "the former one" } else { "none" };
                warn!(%path, error, in_use, requests, "the certificate for requests cannot be used");
            }
        }
        state.seen = Some(contents);
    }

    fn read(&self) -> Result<Contents, String> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error: io::Error| format!("{}: {error}", path.display()))
        };
        Ok(Contents {
            certificate: read(&self.files.certificate)?,
            key: read(&self.files.key)?,
            clients: self.clients.as_deref().map(read).transpose()?,
        })
    }
}

impl ServerTls for Certificate {
    fn config(&self) -> Option<Arc<ServerConfig>> {
        lock(&self.state).config.clone()
    }
}

fn server_config(contents: &Contents, protocol: &[u8]) -> Result<ServerConfig, String> {
    // An error of the reader may quote the file, which is never told where it is the key's.
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&contents.certificate).collect();
    let chain = chain.map_err(|_| "the certificate is not valid PEM".to_owned())?;
    if chain.is_empty() {
        return Err("there is no PEM certificate in the file".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(&contents.key)
        .map_err(|_| "there is no PEM private key in the key's file".to_owned())?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &contents.clients {
        Some(authorities) => builder.with_client_cert_verifier(verifier(authorities)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

/// Returns the verifier of clients that have a certificate of one of these authorities, in PEM.
pub(crate) fn verifier(authorities: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let unusable =
        |error: &dyn Display| format!("the authorities of clients cannot be used: {error}");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities) {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    let provider = Arc::new(ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    builder.build().map_err(|error| unusable(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (pair.cert.pem(), pair.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_that_is_replaced_is_taken_over_once_it_is_whole() {
        let name = format!("llm-autoscaler-certificate-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let files =
            CertificateFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        let write = |(certificate, key): &(String, String)| {
            std::fs::write(&files.certificate, certificate).unwrap();
            std::fs::write(&files.key, key).unwrap();
        };
        let certificate = Certificate::new(files.clone());
        assert!(certificate.config().is_none(), "there are no files yet");
        let (first, second) = (pair(), pair());
        write(&first);
        certificate.look();
        let before = certificate.config().unwrap();
        certificate.look();
        assert!(Arc::ptr_eq(&before, &certificate.config().unwrap()), "nothing has changed");
        // Half replaced, then rubbish, then gone: the former one stays.
        write(&(second.0.clone(), first.1));
        certificate.look();
        write(&("nonsense".to_owned(), second.1.clone()));
        certificate.look();
        std::fs::remove_file(&files.key).unwrap();
        certificate.look();
        assert!(Arc::ptr_eq(&before, &certificate.config().unwrap()));
        write(&second);
        certificate.look();
        assert!(!Arc::ptr_eq(&before, &certificate.config().unwrap()));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn clients_need_a_certificate_of_the_authority() {
        let name = format!("llm-autoscaler-clients-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let files =
            CertificateFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        let clients = folder.join("ca.crt");
        let (server, client, stranger) = (pair(), pair(), pair());
        std::fs::write(&files.certificate, &server.0).unwrap();
        std::fs::write(&files.key, &server.1).unwrap();
        let certificate = Certificate::for_keda(files, Some(clients.clone()));
        assert!(certificate.config().is_none(), "without the authority nothing is served");
        std::fs::write(&clients, &client.0).unwrap();
        certificate.look();
        let config = certificate.config().unwrap();
        for (identity, expected) in [(None, false), (Some(stranger), false), (Some(client), true)] {
            let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(der(&server.0)).unwrap();
            let provider = Arc::new(ring::default_provider());
            let builder = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots);
            let client = match identity {
                None => builder.with_no_client_auth(),
                Some((certificate, key)) => {
                    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                    builder.with_client_auth_cert(vec![der(&certificate)], key).unwrap()
                }
            };
            let (near, far) = tokio::io::duplex(1 << 16);
            let accepted = tokio_rustls::TlsAcceptor::from(config.clone()).accept(near);
            let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
            let connected = connector.connect("localhost".try_into().unwrap(), far);
            let (accepted, _) = tokio::join!(accepted, connected);
            assert_eq!(accepted.is_ok(), expected);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
