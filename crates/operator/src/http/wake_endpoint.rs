//! `POST /wake/NAMESPACE/NAME`, for callers that Kubernetes permits it.
//!
//! A caller sends a token of the cluster, such as a ServiceAccount's, and needs the permission to
//! `create` the subresource `llmautoscalers/wake` of that autoscaler. No answer of the API server
//! is cached, because calls are rare.

use axum::http::{HeaderMap, StatusCode};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use tracing::{info, warn};

use crate::{
    http::wake::{AutoscalerKey, WakeCalls},
    kube_api::error_text,
};

/// Answers wake calls.
#[derive(Clone)]
pub(super) struct WakeEndpoint {
    client: Client,
    calls: WakeCalls,
}

/// A status, and a line of text for the caller.
type Response = (StatusCode, String);

impl WakeEndpoint {
    /// Creates an endpoint that passes calls on to `calls`.
    pub(super) fn new(client: Client, calls: WakeCalls) -> Self {
        Self { client, calls }
    }

    /// Authenticates and authorizes a call, and passes it on to the autoscaler.
    pub(super) async fn answer(&self, key: &AutoscalerKey, headers: &HeaderMap) -> Response {
        let AutoscalerKey { namespace, name } = key;
        let Some(token) = bearer_token(headers) else {
            let message = "a token is required: Authorization: Bearer TOKEN\n";
            return (StatusCode::UNAUTHORIZED, message.to_owned());
        };
        let user = match self.authenticate(token).await {
            Ok(Some(user)) => user,
            Ok(None) => {
                let message = "the cluster does not know this token\n";
                return (StatusCode::UNAUTHORIZED, message.to_owned());
            }
            Err(error) => return unavailable("authenticating the caller", &error),
        };
        let caller = user.username.clone().unwrap_or_default();
        match self.is_allowed(user, key).await {
            Ok(true) => {}
            Ok(false) => {
                let message =
                    format!("{caller} may not create llmautoscalers/wake {name} in {namespace}\n");
                return (StatusCode::FORBIDDEN, message);
            }
            Err(error) => return unavailable("authorizing the caller", &error),
        }
        if !self.calls.send(key) {
            let message = format!("there is no LLMAutoscaler {name} in {namespace}\n");
            return (StatusCode::NOT_FOUND, message);
        }
        info!(namespace, name, caller, "a wake call arrived");
        (StatusCode::ACCEPTED, "accepted\n".to_owned())
    }

    /// Returns the user that a token belongs to; `None` if the cluster does not accept the token.
    async fn authenticate(&self, token: &str) -> kube::Result<Option<UserInfo>> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api = Api::<TokenReview>::all(self.client.clone());
        let review = api.create(&PostParams::default(), &review).await?;
        let status = review.status.unwrap_or_default();
        Ok(status.user.filter(|_| status.authenticated == Some(true)))
    }

    /// Returns whether a user may create the subresource `wake` of an autoscaler.
    async fn is_allowed(&self, user: UserInfo, key: &AutoscalerKey) -> kube::Result<bool> {
        let attributes = ResourceAttributes {
            group: Some("llmautoscaler.io".to_owned()),
            resource: Some("llmautoscalers".to_owned()),
            subresource: Some("wake".to_owned()),
            verb: Some("create".to_owned()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            user: user.username,
            uid: user.uid,
            groups: user.groups,
            extra: user.extra,
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let api = Api::<SubjectAccessReview>::all(self.client.clone());
        let review = api.create(&PostParams::default(), &review).await?;
        Ok(review.status.is_some_and(|status| status.allowed))
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}

fn unavailable(action: &str, error: &kube::Error) -> Response {
    let error = error_text(error);
    warn!(error, "{action} failed");
    (StatusCode::SERVICE_UNAVAILABLE, format!("{action} failed: {error}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_follows_the_word_bearer() {
        let table = [
            (None, None),
            (Some("Bearer abc"), Some("abc")),
            (Some("Basic abc"), None),
            (Some("abc"), None),
        ];
        for (header, expected) in table {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert("authorization", header.parse().unwrap());
            }
            assert_eq!(bearer_token(&headers), expected, "{header:?}");
        }
    }
}
