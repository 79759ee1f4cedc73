//! The parts of a cloud that credentials come from, and a gate that demands them.
//!
//! [`TokenService`] plays AWS's Security Token Service, and [`MetadataServer`] Google's metadata
//! server. A [`Gate`] stands in front of a server, such as a fake Prometheus, and lets only
//! requests with the right credentials through. Signatures are computed here from AWS's
//! description of them, not by the crate that the operator signs with.

mod signature;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use chrono::{SecondsFormat, TimeDelta, Utc};
use tokio::net::TcpListener;

pub use self::signature::AwsKeys;
use crate::task::Task;

/// The largest body of a request, in bytes.
const LIMIT: usize = 1 << 20;

/// The credentials that a gate demands.
#[derive(Clone, Debug)]
pub enum Demand {
    /// This bearer token.
    Bearer(String),
    /// A signature by AWS's Signature Version 4.
    Signature(AwsKeys),
}

/// A gate in front of a server. Dropping it stops it.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    shared: Arc<Mutex<GateState>>,
    _server: Task,
}

#[derive(Debug)]
struct GateState {
    upstream: String,
    demand: Demand,
    /// The reasons of refusals so far.
    refusals: Vec<String>,
}

/// AWS's Security Token Service for one role and one web identity token. Dropping it stops it.
#[derive(Debug)]
pub struct TokenService {
    address: SocketAddr,
    _server: Task,
}

/// Google's metadata server with one access token. Dropping it stops it.
#[derive(Debug)]
pub struct MetadataServer {
    address: SocketAddr,
    _server: Task,
}

impl Gate {
    /// Starts a gate in front of the server with this URL.
    ///
    /// # Errors
    /// Fails if it cannot listen.
    pub async fn start(upstream: &str, demand: Demand) -> Result<Self> {
        let state = GateState { upstream: upstream.to_owned(), demand, refusals: Vec::new() };
        let shared = Arc::new(Mutex::new(state));
        let (of_handler, client) = (shared.clone(), crate::http_client());
        let (address, server) = serve(move |head, body| {
            let (shared, client) = (of_handler.clone(), client.clone());
            async move { pass(&shared, &client, &head, body).await }
        })
        .await?;
        Ok(Self { address, shared, _server: server })
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns its host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Demands other credentials from now on.
    pub fn demand(&self, demand: Demand) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).demand = demand;
    }

    /// Returns the reasons of its refusals so far.
    pub fn refusals(&self) -> Vec<String> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).refusals.clone()
    }
}

impl TokenService {
    /// Starts the service, which gives these keys for this role and token.
    ///
    /// # Errors
    /// Fails if it cannot listen.
    pub async fn start(keys: AwsKeys, role: &str, token: &str) -> Result<Self> {
        let (role, token) = (role.to_owned(), token.to_owned());
        let (address, server) = serve(move |_, body| {
            let answer = assume_role(&keys, (&role, &token), &body);
            async move { answer }
        })
        .await?;
        Ok(Self { address, _server: server })
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl MetadataServer {
    /// Starts the server, which gives this access token for the default service account.
    ///
    /// # Errors
    /// Fails if it cannot listen.
    pub async fn start(token: &str) -> Result<Self> {
        let token = token.to_owned();
        let (address, server) = serve(move |head, _| {
            let answer = metadata(&token, &head);
            async move { answer }
        })
        .await?;
        Ok(Self { address, _server: server })
    }

    /// Returns its host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }
}

/// Serves all requests by this handler on loopback.
async fn serve<F>(
    handler: impl Fn(Parts, Bytes) -> F + Clone + Send + Sync + 'static,
) -> Result<(SocketAddr, Task)>
where
    F: Future<Output = Response> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = Router::new().fallback(move |request: Request| {
        let handler = handler.clone();
        async move {
            let (head, body) = request.into_parts();
            match axum::body::to_bytes(body, LIMIT).await {
                Ok(body) => handler(head, body).await,
                Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
            }
        }
    });
    Ok((address, Task::spawn(async move { drop(axum::serve(listener, app).await) })))
}

async fn pass(
    shared: &Mutex<GateState>,
    client: &reqwest::Client,
    head: &Parts,
    body: Bytes,
) -> Response {
    let (upstream, refusal) = {
        let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = state.demand.check(head, &body).err();
        state.refusals.extend(refusal.clone());
        (state.upstream.clone(), refusal)
    };
    if let Some(refusal) = refusal {
        return (StatusCode::FORBIDDEN, refusal).into_response();
    }
    let mut request = client.request(head.method.clone(), format!("{upstream}{}", head.uri));
    if let Some(content) = head.headers.get(header::CONTENT_TYPE) {
        request = request.header(header::CONTENT_TYPE, content.clone());
    }
    let answer = async {
        let answer = request.body(body).send().await?;
        let (status, date) = (answer.status(), answer.headers().get(header::DATE).cloned());
        Ok::<_, reqwest::Error>((status, date, answer.bytes().await?))
    };
    match answer.await {
        Ok((status, date, body)) => {
            let mut response = (status, Body::from(body)).into_response();
            if let Some(date) = date {
                response.headers_mut().insert(header::DATE, date);
            }
            response
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

impl Demand {
    fn check(&self, head: &Parts, body: &[u8]) -> Result<(), String> {
        match self {
            Self::Bearer(token) => {
                let sent = head.headers.get(header::AUTHORIZATION);
                let is_right = sent.is_some_and(|sent| *sent == *format!("Bearer {token}"));
                if is_right { Ok(()) } else { Err("wrong or missing token".to_owned()) }
            }
            Self::Signature(keys) => keys.verify(head, body, Utc::now()),
        }
    }
}

fn assume_role(keys: &AwsKeys, (role, token): (&str, &str), body: &[u8]) -> Response {
    let fields = reqwest::Url::parse(&format!("http://form/?{}", String::from_utf8_lossy(body)));
    let fields: Vec<(String, String)> =
        fields.map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default();
    let has = |name: &str, value: &str| fields.iter().any(|it| (&*it.0, &*it.1) == (name, value));
    let is_known = has("Action", "AssumeRoleWithWebIdentity")
        && has("Version", "2011-06-15")
        && has("RoleArn", role)
        && has("WebIdentityToken", token);
    if !is_known {
        let error = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                     <Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message>\
                     </Error></ErrorResponse>";
        return (StatusCode::FORBIDDEN, error).into_response();
    }
    let expiration = Utc::now() + TimeDelta::hours(1);
    let AwsKeys { id, secret, session, .. } = keys;
    format!(
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
         <AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>{session}</SessionToken><Expiration>{}</Expiration></Credentials>\
         </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
        expiration.to_rfc3339_opts(SecondsFormat::Secs, true)
    )
    .into_response()
}

fn metadata(token: &str, head: &Parts) -> Response {
    const PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
    let flavor = head.headers.get("metadata-flavor").is_some_and(|flavor| flavor == "Google");
    if !flavor || head.uri.path() != PATH {
        return StatusCode::FORBIDDEN.into_response();
    }
    let body = serde_json::json!({"access_token": token, "expires_in": 3599,
        "token_type": "Bearer"});
    ([("metadata-flavor", "Google")], body.to_string()).into_response()
}
