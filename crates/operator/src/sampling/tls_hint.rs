//! Hints of a failed request: the port speaks TLS, or does not, where the URL assumed the opposite,
//! and the server demands another client certificate.

use std::{error::Error, io, time::Duration};

use reqwest::Client;
use rustls::AlertDescription;

/// The time within which a TLS server answers a request. It is short, because the request has
/// failed already.
const WITHIN: Duration = Duration::from_millis(500);

/// Returns the scheme, `https` or `http`, that a failed request should have had; `None` if its URL
/// has the right one, or nothing tells. `error` is `None` if the server returned the status 400,
/// which is how some TLS servers answer a request without TLS.
///
/// For a URL with `http` the server is tried with `https`; its certificate need not be valid.
pub async fn other_scheme(
    client: &Client,
    url: &str,
    error: Option<&reqwest::Error>,
) -> Option<&'static str> {
    if let Some(rest) = url.strip_prefix("http://") {
        let attempt = client.head(format!("https://{rest}")).timeout(WITHIN).send().await;
        let speaks_tls = match &attempt {
            Ok(_) => true,
            // An error after the handshake is one of HTTP.
            Err(error) if !error.is_connect() && !error.is_timeout() => true,
            Err(error) => is_of_tls_server(error),
        };
        return speaks_tls.then_some("https");
    }
    is_of_plain_server(error?).then_some("http")
}

/// Returns true if a failed TLS handshake was one with a TLS server: its certificate is not valid,
/// or it wants one of the client.
pub(super) fn is_of_tls_server(error: &(dyn Error + 'static)) -> bool {
    matches!(
        tls_error(error),
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))
    )
}

/// Returns true if a failed TLS handshake was one with a server that does not speak TLS.
pub(super) fn is_of_plain_server(error: &(dyn Error + 'static)) -> bool {
    matches!(tls_error(error), Some(rustls::Error::InvalidMessage(_)))
}

/// Returns true if an error is one of TLS, and not of the network below.
pub(super) fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    tls_error(error).is_some()
}

/// Returns true if a server has ended a handshake because of the client's certificate, or because
/// there was none.
pub fn refuses_certificate(error: &(dyn Error + 'static)) -> bool {
    let Some(rustls::Error::AlertReceived(alert)) = tls_error(error) else { return false };
    matches!(
        alert,
        AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            // The signature is not that of an authority of this name, such as a renewed one.
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired
    )
}

/// Returns true if a server has ended a handshake without a particular reason. OpenSSL does so with
/// TLS 1.2 if there is no client certificate, and others if no cipher suits both.
pub(super) fn is_handshake_failure(error: &(dyn Error + 'static)) -> bool {
    let failure = rustls::Error::AlertReceived(AlertDescription::HandshakeFailure);
    tls_error(error) == Some(&failure)
}

/// Returns the error of TLS among an error and its causes. An [`io::Error`] holds one without
/// calling it its source.
fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}
