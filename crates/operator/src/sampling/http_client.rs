//! The HTTP client for Prometheus servers. It follows no redirects, uses no proxy, keeps
//! connections alive, and limits the size of bodies.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use llm_autoscaler_api::TlsSpec;
use reqwest::{Client, Response, redirect::Policy};

use crate::{
    kube_api::root_cause,
    sampling::{
        body::Body,
        egress::Egress,
        error::FetchProblem,
        tls::{self, PemFiles},
    },
    user_agent::Component,
};

/// Returns a client that checks certificates by these settings, and addresses by `egress`.
///
/// # Errors
/// A PEM file or the server name is not valid.
pub(crate) fn client(tls: &TlsSpec, pem: &PemFiles<'_>, egress: &Egress) -> Result<Client, String> {
    Client::builder()
        .user_agent(Component::Query.user_agent())
        .no_proxy()
        .dns_resolver(Arc::new(egress.clone()))
        .redirect(Policy::none())
        .tcp_nodelay(true)
        .pool_idle_timeout(Duration::from_secs(90))
        .pool_max_idle_per_host(4)
        .tls_backend_preconfigured(tls::config(tls, pem)?)
        .build()
        .map_err(|error| root_cause(&error))
}

/// Returns the value of the header Authorization for a user name and a password.
pub(crate) fn basic(username: &[u8], password: &[u8]) -> String {
    let plain = [username.trim_ascii(), b":", password.trim_ascii()].concat();
    format!("Basic {}", BASE64.encode(plain))
}

/// Appends the body of a response to `body`.
///
/// # Errors
/// The body is too large, or the connection broke.
pub(crate) async fn read_body(
    response: &mut Response,
    body: &mut Body,
) -> Result<(), FetchProblem> {
    while let Some(chunk) = response.chunk().await.map_err(network)? {
        body.push(&chunk)?;
    }
    Ok(())
}

/// Returns the problem of a request without its URL, which the error's reader knows.
pub(crate) fn network(error: reqwest::Error) -> FetchProblem {
    FetchProblem::network(&error.without_url())
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
