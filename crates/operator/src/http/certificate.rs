//! The certificate of a listener, in files that may be replaced at any time.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
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
    files: CertificateFiles,
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
}

impl Certificate {
    /// Begins with what the files contain now, if they are there.
    pub(crate) fn new(files: CertificateFiles) -> Self {
        let certificate = Self { files, state: Mutex::default() };
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
        let path = self.files.certificate.display();
        match contents.as_ref().map_err(Clone::clone).and_then(server_config) {
            Ok(config) => {
                info!(%path, "wake calls are served with the certificate of this file");
                state.config = Some(Arc::new(config));
            }
            Err(error) if !self.files.certificate.exists() && state.config.is_none() => {
                info!(error, "there is no certificate yet: wake calls are not served");
            }
            Err(error) => {
                let in_use = if state.config.is_some() { "the former one" } else { "none" };
                warn!(%path, error, in_use, "the certificate for wake calls cannot be used");
            }
        }
        state.seen = Some(contents);
    }

    fn read(&self) -> Result<Contents, String> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error: io::Error| format!("{}: {error}", path.display()))
        };
        Ok(Contents { certificate: read(&self.files.certificate)?, key: read(&self.files.key)? })
    }
}

impl ServerTls for Certificate {
    fn config(&self) -> Option<Arc<ServerConfig>> {
        lock(&self.state).config.clone()
    }
}

fn server_config(contents: &Contents) -> Result<ServerConfig, String> {
    // An error of the reader may quote the file, which is never told where it is the key's.
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&contents.certificate).collect();
    let chain = chain.map_err(|_| "the certificate is not valid PEM".to_owned())?;
    if chain.is_empty() {
        return Err("there is no PEM certificate in the file".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(&contents.key)
        .map_err(|_| "there is no PEM private key in the key's file".to_owned())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
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
}
