//! `POST /wake/NAMESPACE/NAME`, for callers that Kubernetes permits it.
//!
//! A caller sends a token of the cluster, such as a ServiceAccount's, and needs the permission to
//! `create` the subresource `llmautoscalers/wake` of that autoscaler. No permission is cached,
//! because calls are rare; refusals are, because floods of calls are refused. A caller that is not
//! known yet learns nothing about the API server: its errors are in the log.

use std::{sync::Arc, time::Duration};

use axum::{
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::ResourceAttributes,
};
use kube::{Api, Client, api::PostParams};
use tracing::{info, warn};

use crate::{
    clock::Clock,
    http::{
        access_review,
        listener::Peer,
        wake::{AutoscalerKey, WakeCalls},
        wake_record::WakeRecord,
        wake_reviews::{Refused, Reviews},
    },
    kube_api::error_text,
};

/// The longest token, in bytes. A ServiceAccount's has about 1 KiB.
const LONGEST_TOKEN: usize = 8 << 10;
/// The time for both reviews of a call.
const DEADLINE: Duration = Duration::from_secs(5);

/// Answers wake calls. Cheap to clone.
#[derive(Clone)]
pub(super) struct WakeEndpoint {
    client: Client,
    calls: WakeCalls,
    record: WakeRecord,
    /// The audience that tokens must be for; `None` means the API server's own.
    audience: Option<String>,
    reviews: Arc<Reviews>,
    clock: Clock,
}

/// The reason why a call is not passed on.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    NoToken,
    UnknownToken,
    /// The name of the caller.
    NotAllowed(String),
    TooMany,
    Unavailable,
    NoAutoscaler,
    /// Another copy of the operator serves the target, and could not be told.
    NotRecorded,
}

impl WakeEndpoint {
    /// Creates an endpoint that passes calls on to `calls`.
    pub(super) fn new(
        record: WakeRecord,
        calls: WakeCalls,
        audience: Option<String>,
        clock: Clock,
    ) -> Self {
        let (client, reviews) = (record.client.clone(), Arc::new(Reviews::new()));
        Self { client, calls, record, audience, reviews, clock }
    }

    /// Authenticates and authorizes a call, and passes it on to the autoscaler.
    pub(super) async fn answer(
        &self,
        key: &AutoscalerKey,
        headers: &HeaderMap,
        peer: Peer,
    ) -> Response {
        let AutoscalerKey { namespace, name } = key;
        let caller = match self.review(key, headers, peer).await {
            Ok(caller) => caller,
            Err(refusal) => return refusal.response(key),
        };
        if !self.calls.is_known(key) {
            return Refusal::NoAutoscaler.response(key);
        }
        // The target is woken first, and what is recorded outlives this copy of the operator.
        let is_ours = self.calls.send(key);
        let recorded = self.record.record(key, self.clock.now().wall);
        match tokio::time::timeout(DEADLINE, recorded).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.status() == Some(404) => {
                return Refusal::NoAutoscaler.response(key);
            }
            failed => {
                let error = failed.map(|result| result.err().map(|error| error.to_string()));
                warn!(namespace, name, ?error, is_ours, "a wake call could not be recorded");
                if !is_ours {
                    return Refusal::NotRecorded.response(key);
                }
            }
        }
        info!(namespace, name, caller, is_ours, "a wake call arrived");
        (StatusCode::ACCEPTED, "accepted\n").into_response()
    }

    /// Returns the name of a caller that may wake an autoscaler.
    async fn review(
        &self,
        key: &AutoscalerKey,
        headers: &HeaderMap,
        peer: Peer,
    ) -> Result<String, Refusal> {
        let token = bearer_token(headers).ok_or(Refusal::NoToken)?;
        let unknown = Refused { token, key: None };
        let stranger = Refused { token, key: Some(key) };
        let now = self.clock.monotonic();
        if token.len() > LONGEST_TOKEN || self.reviews.is_refused(unknown, now) {
            return Err(Refusal::UnknownToken);
        }
        if self.reviews.is_refused(stranger, now) {
            return Err(Refusal::NotAllowed("the caller".to_owned()));
        }
        let _permit = self.reviews.begin(peer).ok_or(Refusal::TooMany)?;
        let reviewed = async {
            let Some(user) = self.authenticate(token).await? else {
                return Ok(Err((Refusal::UnknownToken, unknown)));
            };
            let caller = user.username.clone().unwrap_or_default();
            let is_allowed = self.is_allowed(user, key).await?;
            Ok(if is_allowed { Ok(caller) } else { Err((Refusal::NotAllowed(caller), stranger)) })
        };
        let answer = match tokio::time::timeout(DEADLINE, reviewed).await {
            Ok(answer) => answer.map_err(|error: kube::Error| error_text(&error)),
            Err(_) => Err(format!("the API server did not answer within {} s", DEADLINE.as_secs())),
        };
        match answer {
            Ok(Ok(caller)) => Ok(caller),
            Ok(Err((refusal, refused))) => {
                self.reviews.record_refusal(refused, self.clock.monotonic());
                Err(refusal)
            }
            Err(error) => {
                warn!(error, "a wake call could not be reviewed");
                Err(Refusal::Unavailable)
            }
        }
    }

    /// Returns the user that a token belongs to; `None` if the cluster does not accept the token.
    async fn authenticate(&self, token: &str) -> kube::Result<Option<UserInfo>> {
        let audiences = self.audience.clone().map(|audience| vec![audience]);
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api = Api::<TokenReview>::all(self.client.clone());
        let review = api.create(&PostParams::default(), &review).await?;
        let status = review.status.unwrap_or_default();
        // An API server that knows nothing of audiences names none, and then has not checked it.
        let is_for_us = self.audience.as_ref().is_none_or(|audience| {
            status.audiences.is_some_and(|audiences| audiences.contains(audience))
        });
        Ok(status.user.filter(|_| status.authenticated == Some(true) && is_for_us))
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
        access_review::is_allowed(&self.client, user, attributes).await
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}

impl Refusal {
    fn response(self, key: &AutoscalerKey) -> Response {
        let AutoscalerKey { namespace, name } = key;
        let soon = [(RETRY_AFTER, "1")];
        match self {
            Self::NoToken => {
                let message = "a token is required: Authorization: Bearer TOKEN\n";
                (StatusCode::UNAUTHORIZED, message).into_response()
            }
            Self::UnknownToken => {
                let message = "the cluster does not know this token, or it is for another \
                               audience\n";
                (StatusCode::UNAUTHORIZED, message).into_response()
            }
            Self::NotAllowed(caller) => {
                let message =
                    format!("{caller} may not create llmautoscalers/wake {name} in {namespace}\n");
                (StatusCode::FORBIDDEN, message).into_response()
            }
            Self::TooMany => {
                let message = "too many wake calls at once: try again in a second\n";
                (StatusCode::TOO_MANY_REQUESTS, soon, message).into_response()
            }
            Self::NoAutoscaler => {
                let message = format!("there is no LLMAutoscaler {name} in {namespace}\n");
                (StatusCode::NOT_FOUND, message).into_response()
            }
            Self::NotRecorded => {
                let message = "the call cannot be passed on at present: try again\n";
                (StatusCode::SERVICE_UNAVAILABLE, soon, message).into_response()
            }
            Self::Unavailable => {
                let message = "the caller cannot be authenticated at present: try again\n";
                (StatusCode::SERVICE_UNAVAILABLE, soon, message).into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests;
