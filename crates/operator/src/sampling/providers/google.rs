//! The access token of a service account, from Google's metadata server.
//!
//! The request is made by a client of its own, to the one path of the token. The rules of
//! [`Egress`](crate::sampling::egress::Egress), which refuse link-local addresses to every URL of a
//! spec, stay as they are.

use std::time::Duration;

use llm_autoscaler_api::TlsSpec;
use reqwest::{Client, Url, header::HeaderValue, redirect::Policy};
use serde::Deserialize;

use super::{
    answer, bearer_file,
    token::{Failure, Fresh},
};
use crate::sampling::tls::{self, PemFiles};

/// The header by which a request asks for credentials on purpose, and an answer shows that it comes
/// from a metadata server.
const FLAVOR: (&str, &str) = ("Metadata-Flavor", "Google");
const SERVER: &str = "Google's metadata server";

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: u64,
}

/// Returns a client for the metadata server.
pub(super) fn client() -> Result<Client, String> {
    let tls = tls::config(&TlsSpec::default(), &PemFiles::default())?;
    let client = Client::builder().no_proxy().redirect(Policy::none());
    client
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| crate::kube_api::root_cause(&error))
}

/// Fetches the token as the value of the header Authorization.
///
/// <https://cloud.google.com/compute/docs/access/authenticate-workloads>
pub(super) async fn fetch(client: &Client, url: &Url) -> Result<Fresh<HeaderValue>, Failure> {
    let response = client.get(url.clone()).header(FLAVOR.0, FLAVOR.1).send().await;
    let is_google = response.as_ref().is_ok_and(|response| {
        response.headers().get(FLAVOR.0).is_some_and(|flavor| flavor == FLAVOR.1)
    });
    let (status, body) = answer::read(SERVER, response).await?;
    if !is_google {
        let told = format!("the answer is not that of {SERVER}");
        return Err(Failure::new(told, format!("it has no header {}: {}", FLAVOR.0, FLAVOR.1)));
    }
    if status != 200 {
        let told = format!(
            "{SERVER} answers with HTTP status {status}: give the operator's node or its \
             ServiceAccount a service account"
        );
        return Err(Failure::new(told, url));
    }
    let answer: Answer = serde_json::from_str(&body).map_err(|_| {
        Failure::new(format!("the answer of {SERVER} is no token"), "access_token, expires_in")
    })?;
    let value = bearer_file::bearer(&answer.access_token)?;
    Ok(Fresh { value, valid_for: Duration::from_secs(answer.expires_in) })
}
