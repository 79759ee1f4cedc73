//! The answers to requests of the API server.

use std::sync::Arc;

use axum::{
    Json,
    http::{
        HeaderMap, Method, StatusCode, Uri,
        header::{ACCEPT, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use k8s_openapi::api::{authentication::v1::UserInfo, authorization::v1::ResourceAttributes};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::{
    http::listener::ClientCertificate,
    metrics_api::{
        access::{Access, NoAnswer},
        documents,
        front_proxy::Stranger,
        keeper::Keeper,
        pod_values::{Missing, PodValues},
        recommendations::Recommendations,
        request::{self, BadRequest, CUSTOM, EXTERNAL, Request},
    },
};

/// The number of requests that are answered at once.
const AT_ONCE: usize = 128;

/// Answers requests.
pub(super) struct Endpoint {
    keeper: Arc<Keeper>,
    access: Access,
    pod_values: Arc<PodValues>,
    recommendations: Recommendations,
    turns: Semaphore,
}

/// The reason why a request gets no number.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Method,
    Stranger(Stranger),
    Forbidden(String),
    NotFound(String),
    BadRequest(String),
    NotAcceptable,
    TooMany,
    Unavailable,
}

impl Endpoint {
    /// Answers by these.
    pub(super) fn new(
        keeper: Arc<Keeper>,
        access: Access,
        pod_values: Arc<PodValues>,
        recommendations: Recommendations,
    ) -> Self {
        let turns = Semaphore::new(AT_ONCE);
        Self { keeper, access, pod_values, recommendations, turns }
    }

    /// Answers a request.
    pub(super) async fn answer(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        certificate: &ClientCertificate,
    ) -> Response {
        match self.document(method, uri, headers, certificate).await {
            Ok(document) => Json(document).into_response(),
            Err(refusal) => refusal.response(),
        }
    }

    async fn document(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        certificate: &ClientCertificate,
    ) -> Result<Value, Refusal> {
        let _turn = self.turns.try_acquire().map_err(|_| Refusal::TooMany)?;
        let user = self.user(headers, certificate)?;
        if method != Method::GET {
            return Err(Refusal::Method);
        }
        let request = request::parse(uri.path(), uri.query().unwrap_or_default());
        match request.map_err(Refusal::of_path)? {
            Request::Groups if !accepts_plain(headers) => Err(Refusal::NotAcceptable),
            Request::Groups => Ok(documents::groups()),
            Request::Group(group) => Ok(documents::group(group)),
            Request::Resources(group, version) => Ok(documents::resources(group, version)),
            Request::Pods(request) => {
                let attributes = ResourceAttributes {
                    group: Some(CUSTOM.to_owned()),
                    version: Some(request.version.name().to_owned()),
                    namespace: Some(request.namespace.clone()),
                    resource: Some("pods".to_owned()),
                    name: Some(request.pod.clone()),
                    subresource: Some(request.metric.clone()),
                    verb: Some("get".to_owned()),
                    ..ResourceAttributes::default()
                };
                self.permit(&user, attributes).await?;
                let found = self.pod_values.find(&request).await;
                let values = found.map_err(|missing| match missing {
                    Missing::Metric(reason) | Missing::Samples(reason) => Refusal::NotFound(reason),
                })?;
                Ok(documents::pods(&request, &values))
            }
            Request::External(request) => {
                let attributes = ResourceAttributes {
                    group: Some(EXTERNAL.to_owned()),
                    version: Some("v1beta1".to_owned()),
                    namespace: Some(request.namespace.clone()),
                    resource: Some(request.metric.clone()),
                    verb: Some("list".to_owned()),
                    ..ResourceAttributes::default()
                };
                self.permit(&user, attributes).await?;
                let values = self.recommendations.find(&request).map_err(Refusal::NotFound)?;
                Ok(documents::external(&request.metric, &values))
            }
        }
    }

    fn user(
        &self,
        headers: &HeaderMap,
        ClientCertificate(certificate): &ClientCertificate,
    ) -> Result<UserInfo, Refusal> {
        let proxy = self.keeper.front_proxy().ok_or(Refusal::Unavailable)?;
        // The handshake has demanded one.
        let certificate = certificate.as_ref().ok_or(Refusal::Stranger(Stranger::OtherName))?;
        proxy.user(certificate, headers).map_err(Refusal::Stranger)
    }

    /// Asks whether a user may do this.
    async fn permit(&self, user: &UserInfo, asked: ResourceAttributes) -> Result<(), Refusal> {
        match self.access.allows(user, asked.clone()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::Forbidden(denial(user, &asked))),
            Err(NoAnswer) => Err(Refusal::Unavailable),
        }
    }
}

/// Returns whether a client takes JSON that is no aggregated discovery, which is not served: the
/// API server then asks for each version.
fn accepts_plain(headers: &HeaderMap) -> bool {
    let accepted: Vec<&str> =
        headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok()).collect();
    let mut types = accepted.iter().flat_map(|accept| accept.split(','));
    accepted.is_empty() || types.any(|type_| !type_.contains("as="))
}

fn denial(user: &UserInfo, asked: &ResourceAttributes) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (verb, group, resource) = (text(&asked.verb), text(&asked.group), text(&asked.resource));
    let subresource = asked.subresource.as_ref().map(|it| format!("/{it}")).unwrap_or_default();
    let (user, namespace) = (text(&user.username), text(&asked.namespace));
    format!("{user} may not {verb} {resource}{subresource} of {group} in the namespace {namespace}")
}

impl Refusal {
    fn of_path(bad: BadRequest) -> Self {
        match bad {
            BadRequest::NoSuchPath => Self::NotFound("there is nothing at this path".to_owned()),
            BadRequest::Unreadable(reason) => Self::BadRequest(reason),
        }
    }

    fn response(self) -> Response {
        let (code, reason, message) = match self {
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                "metrics can only be read".to_owned(),
            ),
            Self::Stranger(Stranger::OtherName) => (
                StatusCode::UNAUTHORIZED,
                "Unauthorized",
                "only the API server is answered: ask it, at the same path".to_owned(),
            ),
            Self::Stranger(Stranger::NoUser) => {
                (StatusCode::UNAUTHORIZED, "Unauthorized", "no user is named".to_owned())
            }
            Self::Forbidden(message) => (StatusCode::FORBIDDEN, "Forbidden", message),
            Self::NotFound(message) => (StatusCode::NOT_FOUND, "NotFound", message),
            Self::BadRequest(message) => (StatusCode::BAD_REQUEST, "BadRequest", message),
            Self::NotAcceptable => (
                StatusCode::NOT_ACCEPTABLE,
                "NotAcceptable",
                "only application/json is served".to_owned(),
            ),
            Self::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequests",
                "too many requests at once: try again in a second".to_owned(),
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "the API server cannot be asked about the user at present: try again".to_owned(),
            ),
        };
        let document = Json(documents::failure(code.as_u16(), reason, &message));
        let is_later =
            matches!(code, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        if is_later {
            return (code, [(RETRY_AFTER, "1")], document).into_response();
        }
        (code, document).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregated_discovery_is_refused_and_plain_lists_are_served() {
        let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let both = format!("{aggregated},application/json");
        for (accept, expected) in
            [(None, true), (Some("*/*"), true), (Some(aggregated), false), (Some(&both), true)]
        {
            let accept = accept.map(|accept| (ACCEPT, accept.parse().unwrap()));
            assert_eq!(accepts_plain(&accept.into_iter().collect()), expected);
        }
    }
}
