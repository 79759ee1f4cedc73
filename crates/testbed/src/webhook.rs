//! An admission webhook that denies writes.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::{Json, Router, extract::State, routing::post};
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::ControlPlane;
use crate::task::Task;
use crate::tls::{Certificate, Listener};

/// A validating webhook for one namespace. It allows everything until it is told to deny. Dropping
/// it stops it; a webhook that does not answer is ignored from then on.
pub struct Webhook {
    denial: Denial,
    _task: Task,
}

/// The status code and the message of denials, if there are any.
type Denial = Arc<Mutex<Option<(u16, String)>>>;

impl Webhook {
    /// Serves a webhook for the writes that a rule matches, and registers it under a name, which
    /// must be a domain with three parts.
    ///
    /// # Errors
    /// Fails if the API server refuses it.
    pub async fn start(
        control_plane: &ControlPlane,
        name: &str,
        namespace: &str,
        rule: Value,
    ) -> Result<Self> {
        let certificate = Certificate::new("127.0.0.1")?;
        let listener = Listener::bind(&certificate).await?;
        let port = listener.port()?;
        let denial = Denial::default();
        let router = Router::new().route("/", post(review)).with_state(denial.clone());
        let task = Task::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        let here = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
        let client = json!({
            "url": format!("https://127.0.0.1:{port}/"),
            "caBundle": ByteString(certificate.pem.as_bytes().to_vec()),
        });
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": format!("{name}-{namespace}")},
            "webhooks": [{
                "name": name,
                "clientConfig": client,
                "rules": [rule],
                "namespaceSelector": here,
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Ignore",
                "timeoutSeconds": 2,
            }],
        });
        control_plane.apply_yaml(&configuration.to_string()).await?;
        Ok(Self { denial, _task: task })
    }

    /// Allows everything from now on.
    pub fn allow(&self) {
        *self.denial.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Denies everything from now on, with a status code and a message.
    pub fn deny(&self, code: u16, message: &str) {
        *self.denial.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((code, message.to_owned()));
    }
}

async fn review(State(denial): State<Denial>, Json(review): Json<Value>) -> Json<Value> {
    let denial = denial.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut response = json!({"uid": review["request"]["uid"], "allowed": denial.is_none()});
    if let Some((code, message)) = denial {
        response["status"] = json!({"code": code, "message": message});
    }
    Json(json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": response,
    }))
}
