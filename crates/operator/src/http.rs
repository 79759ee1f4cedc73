//! HTTP clients for pods and servers: no redirects, connections kept alive, bodies bounded.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use llm_autoscaler_api::TlsSpec;
use reqwest::{Client, ClientBuilder, Response, redirect::Policy};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

/// A client for pods, whose certificates it does not check, or for a server, whose it does.
///
/// # Errors
/// The TLS library cannot be set up.
pub fn client(of_pods: bool) -> reqwest::Result<Client> {
    // A pod's address is in few certificates; who wants them checked says how.
    common().danger_accept_invalid_certs(of_pods).build()
}

/// A client that checks certificates as a spec says; `ca` is PEM.
///
/// # Errors
/// What is wrong with the certificate or the name.
pub fn client_with_tls(tls: &TlsSpec, ca: Option<&[u8]>) -> Result<Client, String> {
    let builder = common();
    let builder = match &tls.server_name {
        _ if tls.insecure_skip_verify => builder.danger_accept_invalid_certs(true),
        Some(name) => builder.tls_backend_preconfigured(checking(name, ca)?),
        None => match ca {
            Some(ca) => {
                let certificates =
                    reqwest::Certificate::from_pem_bundle(ca).map_err(|error| error.to_string())?;
                if certificates.is_empty() {
                    return Err("the CA has no certificate in PEM".to_owned());
                }
                builder.tls_certs_only(certificates)
            }
            None => builder,
        },
    };
    builder.build().map_err(|error| innermost(&error))
}

fn common() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("llm-autoscaler/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(Policy::none())
        .tcp_nodelay(true)
        .pool_idle_timeout(Duration::from_secs(90))
        .pool_max_idle_per_host(1)
}

/// The value of the header Authorization for user name and password.
pub fn basic(username: &[u8], password: &[u8]) -> String {
    let plain = [username.trim_ascii(), b":", password.trim_ascii()].concat();
    format!("Basic {}", BASE64.encode(plain))
}

/// Why a body was not read to its end.
pub enum BodyError {
    /// It is longer than the limit.
    TooLarge,
    /// The connection broke.
    Broken(reqwest::Error),
}

/// Appends the body of an answer to `body`, unpacked, if it has no more than `limit` bytes.
pub async fn read_body(response: &mut Response, body: &mut Vec<u8>, limit: usize) -> Result<(), BodyError> {
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Broken)? {
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(())
}

/// The cause that says most, such as "Connection refused (os error 111)".
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// TLS that takes certificates for this name, whatever the address is called.
fn checking(name: &str, ca: Option<&[u8]>) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let name =
        ServerName::try_from(name.to_owned()).map_err(|_| format!("serverName {name:?} is no name"))?;
    let verifier: Arc<dyn ServerCertVerifier> = if let Some(ca) = ca {
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca)?), provider.clone())
            .build()
            .map_err(|error| error.to_string())?
    } else {
        let usual = rustls_platform_verifier::Verifier::new(provider.clone());
        Arc::new(usual.map_err(|error| error.to_string())?)
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ByName { name, verifier }))
        .with_no_client_auth();
    Ok(config)
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("the CA is not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("the CA has no certificate in PEM".to_owned()) } else { Ok(roots) }
}

/// Checks certificates against a name of the spec instead of the address that was called.
#[derive(Debug)]
struct ByName {
    name: ServerName<'static>,
    verifier: Arc<dyn ServerCertVerifier>,
}

impl ServerCertVerifier for ByName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _called: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.verifier.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_name_and_password_are_one_header() {
        // RFC 7617.
        assert_eq!(basic(b"Aladdin", b"open sesame\n"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}
