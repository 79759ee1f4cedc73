//! TLS of sources: the rules for checking the certificates of servers, and the certificate that the
//! operator presents to them.
//!
//! No error quotes a PEM file: any of them may be from a Secret, and the errors of PEM readers and
//! of X.509 parsers contain pieces of the text that they have read.

use std::sync::Arc;

use llm_autoscaler_api::TlsSpec;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};

/// The PEM files to which the settings of a source refer.
#[derive(Clone, Copy, Default)]
pub(crate) struct PemFiles<'a> {
    /// The certificates of the authorities that are trusted; `None` for those of the system.
    pub(crate) ca: Option<&'a [u8]>,
    /// The client's certificate, which a server may demand.
    pub(crate) client: Option<ClientPem<'a>>,
}

/// The client's certificate and its private key, as PEM.
#[derive(Clone, Copy)]
pub(crate) struct ClientPem<'a> {
    /// The client's certificate, and then those that have signed it.
    pub(crate) certificate: &'a [u8],
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub(crate) key: &'a [u8],
}

/// Returns the configuration for these settings.
///
/// # Errors
/// A PEM file or the server name is not valid, or the client's key is not that of its certificate.
pub(crate) fn config(tls: &TlsSpec, pem: &PemFiles<'_>) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if tls.insecure_skip_verify {
        Arc::new(Unchecked(provider.clone()))
    } else if let Some(ca) = pem.ca {
        let roots = Arc::new(roots(ca)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
        verifier.map_err(|error| error.to_string())?
    } else {
        let system = rustls_platform_verifier::Verifier::new(provider.clone());
        Arc::new(system.map_err(|error| error.to_string())?)
    };
    let verifier = match &tls.server_name {
        None => verifier,
        Some(name) => Arc::new(ByName { name: server_name(name)?, verifier }),
    };
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(match &pem.client {
        None => config.with_no_client_auth(),
        Some(client) => {
            let certified = SingleCertAndKey::from(certified(client, &provider)?);
            config.with_client_cert_resolver(Arc::new(certified))
        }
    })
}

/// Parses the client's certificate and its key, which have to belong together.
fn certified(pem: &ClientPem<'_>, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain = CertificateDer::pem_slice_iter(pem.certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| "cert is not valid PEM")?;
    if chain.is_empty() {
        return Err("cert contains no PEM certificate (BEGIN CERTIFICATE)".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(pem.key).map_err(|_| {
        "keySecret contains no private key as PEM: PKCS#8 (BEGIN PRIVATE KEY), PKCS#1 (BEGIN RSA \
         PRIVATE KEY) or SEC1 (BEGIN EC PRIVATE KEY), not encrypted"
    })?;
    let certified = CertifiedKey::from_der(chain, key, provider);
    certified.map_err(|error| {
        let problem = match error {
            TlsError::InconsistentKeys(_) => "the key of keySecret is not that of cert",
            TlsError::InvalidCertificate(_) => "the first certificate of cert is not valid",
            _ => {
                "the key of keySecret cannot be used: use ECDSA (P-256 or P-384), Ed25519, or RSA \
                 of 2048 bits or more"
            }
        };
        problem.to_owned()
    })
}

/// Parses the name that a certificate must be for.
///
/// # Errors
/// The name is neither a DNS name nor an IP address.
pub(crate) fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| format!("serverName {name:?} is not a DNS name or an IP address"))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| "ca is not valid PEM")?;
        roots.add(certificate).map_err(|_| "ca contains a certificate that is not valid")?;
    }
    if roots.is_empty() {
        return Err("ca contains no PEM certificate (BEGIN CERTIFICATE)".to_owned());
    }
    Ok(roots)
}

/// Checks certificates against the name in the spec instead of the name or address in the URL.
#[derive(Debug)]
struct ByName {
    name: ServerName<'static>,
    verifier: Arc<dyn ServerCertVerifier>,
}

/// Accepts every certificate, if the server has its key.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for ByName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _requested: &ServerName<'_>,
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

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
