//! WakeCalls for targets at zero: `POST /wake/NAMESPACE/NAME`, by whoever Kubernetes lets.
//!
//! Who calls says so with a token of the cluster (a ServiceAccount's, say), and has to be allowed to `create` the subresource
//! `llmautoscalers/wake` of that autoscaler. Nothing of that is kept: a call is rare.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::http::{HeaderMap, StatusCode};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, ResourceExt, api::PostParams};
use llm_autoscaler_api::LLMAutoscaler;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{kube_api::error_text, lock::lock};

/// Who can be called for, by namespace and name. Cheap to clone.
#[derive(Clone, Default)]
pub struct WakeCalls(Arc<Mutex<Listening>>);

/// How many calls there have been, for those that listen.
type Listening = HashMap<(String, String), watch::Sender<u64>>;

/// Where one autoscaler hears its calls; ends when dropped.
pub struct WakeListener {
    calls: WakeCalls,
    key: (String, String),
    heard: watch::Receiver<u64>,
}

impl WakeCalls {
    /// Begins to listen for an autoscaler.
    pub fn listen(&self, object: &LLMAutoscaler) -> WakeListener {
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        let (sender, heard) = watch::channel(0);
        self.lock().insert(key.clone(), sender);
        WakeListener { calls: self.clone(), key, heard }
    }

    /// WakeCalls for an autoscaler; whether there is such a one.
    fn call(&self, namespace: &str, name: &str) -> bool {
        let calls = self.lock();
        let Some(sender) = calls.get(&(namespace.to_owned(), name.to_owned())) else {
            return false;
        };
        sender.send_modify(|count| *count += 1);
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Listening> {
        lock(&self.0)
    }

    /// Answers a call: the status and a line for whoever made it.
    pub async fn answer(
        &self,
        client: &Client,
        (namespace, name): (&str, &str),
        headers: &HeaderMap,
    ) -> (StatusCode, String) {
        let header = headers.get("authorization").and_then(|value| value.to_str().ok());
        let Some(token) = header.and_then(|value| value.strip_prefix("Bearer ")) else {
            return (
                StatusCode::UNAUTHORIZED,
                "say who you are: Authorization: Bearer TOKEN\n".to_owned(),
            );
        };
        let user = match authenticate(client, token).await {
            Ok(Some(user)) => user,
            Ok(None) => {
                return (
                    StatusCode::UNAUTHORIZED,
                    "the cluster does not know this token\n".to_owned(),
                );
            }
            Err(error) => return unavailable("authenticating the caller", &error),
        };
        let who = user.username.clone().unwrap_or_default();
        match is_allowed(client, user, (namespace, name)).await {
            Ok(true) => {}
            Ok(false) => {
                let message =
                    format!("{who} may not create llmautoscalers/wake {name} in {namespace}\n");
                return (StatusCode::FORBIDDEN, message);
            }
            Err(error) => return unavailable("authorizing the caller", &error),
        }
        if !self.call(namespace, name) {
            return (
                StatusCode::NOT_FOUND,
                format!("there is no LLMAutoscaler {name} in {namespace}\n"),
            );
        }
        info!(namespace, name, by = who, "called for");
        (StatusCode::ACCEPTED, "called\n".to_owned())
    }
}

impl WakeListener {
    /// Returns when somebody has called.
    pub async fn called(&mut self) {
        if self.heard.changed().await.is_err() {
            // Another autoscaler of this name listens now.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for WakeListener {
    fn drop(&mut self) {
        let mut calls = self.calls.lock();
        // Not the one that has come after it.
        if calls.get(&self.key).is_some_and(|sender| sender.subscribe().same_channel(&self.heard)) {
            calls.remove(&self.key);
        }
    }
}

fn unavailable(doing: &str, error: &kube::Error) -> (StatusCode, String) {
    let error = error_text(error);
    warn!(error, "{doing} failed");
    (StatusCode::SERVICE_UNAVAILABLE, format!("{doing} failed: {error}\n"))
}

async fn authenticate(client: &Client, token: &str) -> Result<Option<UserInfo>, kube::Error> {
    let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
    let review = TokenReview { spec, ..TokenReview::default() };
    let review =
        Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    let status = review.status.unwrap_or_default();
    Ok(status.user.filter(|_| status.authenticated == Some(true)))
}

async fn is_allowed(
    client: &Client,
    user: UserInfo,
    (namespace, name): (&str, &str),
) -> Result<bool, kube::Error> {
    let attributes = ResourceAttributes {
        group: Some("llmautoscaler.io".to_owned()),
        resource: Some("llmautoscalers".to_owned()),
        subresource: Some("wake".to_owned()),
        verb: Some("create".to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
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
    let api = Api::<SubjectAccessReview>::all(client.clone());
    let review = api.create(&PostParams::default(), &review).await?;
    Ok(review.status.is_some_and(|status| status.allowed))
}
