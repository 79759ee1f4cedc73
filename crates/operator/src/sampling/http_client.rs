//! The HTTP client for servers: no redirects, no proxy, connections kept alive, bodies bounded.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use llm_autoscaler_api::TlsSpec;
use reqwest::{Client, Response, redirect::Policy};

use crate::sampling::{connection::innermost, tls};

/// A client that checks certificates as a spec says; `ca` is PEM.
///
/// # Errors
/// What is wrong with the certificate or the name.
pub fn client(tls: &TlsSpec, ca: Option<&[u8]>) -> Result<Client, String> {
    Client::builder()
        .user_agent(concat!("llm-autoscaler/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(Policy::none())
        .tcp_nodelay(true)
        .pool_idle_timeout(Duration::from_secs(90))
        .pool_max_idle_per_host(4)
        .tls_backend_preconfigured(tls::config(tls, ca)?)
        .build()
        .map_err(|error| innermost(&error))
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
pub async fn read_body(
    response: &mut Response,
    body: &mut Vec<u8>,
    limit: usize,
) -> Result<(), BodyError> {
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Broken)? {
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(())
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
