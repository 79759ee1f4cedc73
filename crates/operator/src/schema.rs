//! The CRD that is installed, compared with the types that this operator was built with.
//!
//! An API server publishes the fields of its kinds to all its users, so that no permission is
//! needed, in one namespace neither. A difference is told by a condition, a line of
//! the log and a metric; scaling goes on. Fields that the CRD lacks are left out of statuses.

use std::{sync::Arc, time::Duration};

use axum::http::Request;
use kube::Client;
use llm_autoscaler_api::{
    LLMAutoscalerStatus, SchemaDifference,
    conditions::{ConditionType, ConditionUpdate, Reason},
};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::{
    kube_api::{CallError, DEADLINE, within},
    telemetry::Telemetry,
};

/// The time between two looks at the index of what the API server publishes.
const PERIOD: Duration = Duration::from_secs(30);
/// The shortest time between two looks.
const EVERY: Duration = Duration::from_secs(2);
/// The index, which has a URL with a hash for each group and version.
const INDEX: &str = "/openapi/v3";
/// The resource's group and version in the index.
const GROUP_VERSION: &str = "apis/llmautoscaler.io/v1alpha1";
/// The API server's words for a field that the installed CRD lacks.
const NOT_IN_SCHEMA: &str = "field not declared in schema";
/// The number of fields that a message names.
const NAMED: usize = 5;

/// The difference of the installed CRD, as of the latest look. Cheap to clone.
#[derive(Clone)]
pub(crate) struct InstalledSchema {
    client: Client,
    telemetry: Telemetry,
    /// `None` before the first look.
    latest: watch::Sender<Option<Arc<SchemaDifference>>>,
    asked: Arc<Notify>,
}

impl InstalledSchema {
    /// Knows of no difference until [`watch`](Self::watch) has looked.
    pub(crate) fn new(client: Client, telemetry: Telemetry) -> Self {
        Self { client, telemetry, latest: watch::Sender::new(None), asked: Arc::default() }
    }

    /// Knows of this difference without a look.
    #[cfg(test)]
    pub(crate) fn of_tests(client: Client, difference: SchemaDifference) -> Self {
        let schema = Self::new(client, Telemetry::default());
        schema.latest.send_replace(Some(Arc::new(difference)));
        schema
    }

    /// Looks again and again, for the life of the process.
    pub(crate) async fn watch(self) {
        let (mut url, mut error) = (None, None);
        loop {
            match self.look(&mut url).await {
                Ok(()) => error = None,
                Err(latest) => self.report_failure(&mut error, latest.to_string()),
            }
            tokio::time::sleep(EVERY).await;
            let _ = tokio::time::timeout(PERIOD, self.asked.notified()).await;
        }
    }

    /// Looks soon if the API server has refused a status for a field that the CRD lacks.
    pub(crate) fn note_refusal(&self, error: &CallError) {
        if error.to_string().contains(NOT_IN_SCHEMA) {
            self.asked.notify_one();
        }
    }

    /// Returns a status with the fields that the installed CRD has.
    pub(crate) fn accepted(&self, status: &LLMAutoscalerStatus) -> Value {
        let mut status = json!(status);
        self.difference().prune_status(&mut status);
        status
    }

    /// Waits until there has been a look, whether it succeeded or not.
    pub(crate) async fn looked(&self) {
        let mut latest = self.latest.subscribe();
        let _ = tokio::time::timeout(DEADLINE, latest.wait_for(Option::is_some)).await;
    }

    /// Returns the difference; empty if none is known.
    pub(crate) fn difference(&self) -> Arc<SchemaDifference> {
        self.latest.borrow().clone().unwrap_or_default()
    }

    /// Returns the condition `SchemaMismatch`, while there is a difference.
    pub(crate) fn condition(&self) -> Option<ConditionUpdate> {
        condition(&self.difference())
    }

    /// Fetches the document if its URL is another one than the last time.
    async fn look(&self, known: &mut Option<String>) -> Result<(), CallError> {
        let index = self.get(INDEX).await?;
        let url = index["paths"][GROUP_VERSION]["serverRelativeURL"].as_str();
        // Without the CRD there is nothing to compare; the watch tells that it is not installed.
        if let Some(url) = url.filter(|url| known.as_deref() != Some(url)) {
            let document = self.get(url).await?;
            *known = Some(url.to_owned());
            if let Some(difference) = SchemaDifference::of_document(&document) {
                self.record(difference);
            }
        }
        self.latest.send_if_modified(begin);
        Ok(())
    }

    async fn get(&self, url: &str) -> Result<Value, CallError> {
        // A URL that the API server gives is one.
        let request = Request::get(url).header("Accept", "application/json").body(Vec::new());
        let request = request.map_err(kube::Error::HttpError)?;
        within(DEADLINE, self.client.request(request)).await
    }

    fn record(&self, difference: SchemaDifference) {
        let [missing, unknown] = [&difference.missing, &difference.unknown].map(Vec::len);
        self.telemetry.set_schema_differences("missing", missing);
        self.telemetry.set_schema_differences("unknown", unknown);
        let before = self.difference();
        if difference != *before {
            if let Some(update) = condition(&difference) {
                warn!(reason = update.reason.as_str(), "{}", update.message);
            } else {
                info!("the installed CRD has the fields of this operator again");
            }
        }
        self.latest.send_replace(Some(Arc::new(difference)));
    }

    /// Logs an error once, until there has been another one or none.
    fn report_failure(&self, last: &mut Option<String>, error: String) {
        if last.as_ref() != Some(&error) {
            warn!(
                error,
                "the fields of the installed CRD could not be read; they are not compared"
            );
        }
        *last = Some(error);
        self.latest.send_if_modified(begin);
    }
}

/// Records that there has been a look. Returns whether it was the first one.
fn begin(latest: &mut Option<Arc<SchemaDifference>>) -> bool {
    let is_first = latest.is_none();
    latest.get_or_insert_default();
    is_first
}

fn condition(difference: &SchemaDifference) -> Option<ConditionUpdate> {
    let version = env!("CARGO_PKG_VERSION");
    let SchemaDifference { missing, unknown } = difference;
    let lacks = (!missing.is_empty()).then(|| {
        format!(
            "it lacks {}, which can neither be set nor be kept in a status, so install the CRD of \
             this version: llm-autoscaler crd | kubectl apply --server-side --force-conflicts -f -",
            names(missing)
        )
    });
    let has = (!unknown.is_empty()).then(|| {
        format!("it has {}, which this operator ignores, so upgrade the operator", names(unknown))
    });
    let reason = if missing.is_empty() { Reason::CRDNewer } else { Reason::CRDOlder };
    let texts: Vec<String> = [lacks, has].into_iter().flatten().collect();
    let message = format!(
        "the CRD llmautoscalers.llmautoscaler.io is not that of this operator ({version}); scaling \
         goes on; {}",
        texts.join("; ")
    );
    (!texts.is_empty())
        .then(|| ConditionUpdate::yes(ConditionType::SchemaMismatch, reason, message))
}

/// Lists the first few names.
fn names(all: &[String]) -> String {
    let named = all[..all.len().min(NAMED)].join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube_api::stand_in::{Answer, Received, StandIn};

    #[test]
    fn an_older_crd_is_told_before_a_newer_one() {
        let fields = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        // missing, unknown; the reason, a part of the message
        let table: [(&[&str], &[&str], _); 4] = [
            (&[], &[], None),
            (&["spec.a"], &[], Some((Reason::CRDOlder, "it lacks spec.a, which"))),
            (&[], &["spec.b"], Some((Reason::CRDNewer, "it has spec.b, which"))),
            (
                &["a", "b", "c", "d", "e", "f", "g"],
                &["spec.b"],
                Some((Reason::CRDOlder, "it lacks a, b, c, d, e and 2 more, which")),
            ),
        ];
        for (missing, unknown, expected) in table {
            let (missing, unknown) = (fields(missing), fields(unknown));
            let found = condition(&SchemaDifference { missing, unknown });
            assert_eq!(found.as_ref().map(|update| update.reason), expected.map(|row| row.0));
            if let Some((found, (_, part))) = found.zip(expected) {
                assert!(found.status && found.message.contains(part), "{}", found.message);
            }
        }
    }

    /// A document is fetched when its URL has another hash, and an error changes nothing.
    #[tokio::test]
    async fn a_document_is_fetched_once_for_each_hash() {
        let is_broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let broken = is_broken.clone();
        let api = StandIn::start(move |request: &Received| {
            let is_broken = broken.load(std::sync::atomic::Ordering::Relaxed);
            match &*request.path {
                INDEX if is_broken => Answer::refusal(503),
                INDEX => {
                    let url = json!({"serverRelativeURL": "/openapi/v3/x?hash=1"});
                    Answer::Json(200, json!({"paths": {GROUP_VERSION: url}}))
                }
                _ => {
                    let kind = json!([{"kind": "LLMAutoscaler"}]);
                    let spec = json!({"properties": {"next": {"type": "string"}}});
                    let schema = json!({
                        "x-kubernetes-group-version-kind": kind, "properties": {"spec": spec},
                    });
                    Answer::Json(200, json!({"components": {"schemas": {"a": schema}}}))
                }
            }
        })
        .await;
        let telemetry = Telemetry::default();
        let schema = InstalledSchema::new(api.client.clone(), telemetry.clone());
        assert_eq!(schema.condition(), None);
        let mut url = None;
        for _ in 0..3 {
            schema.look(&mut url).await.unwrap();
        }
        assert_eq!(api.received(|request| request.path == INDEX).len(), 3);
        assert_eq!(api.received(|request| request.path != INDEX).len(), 1);
        is_broken.store(true, std::sync::atomic::Ordering::Relaxed);
        schema.look(&mut url).await.unwrap_err();
        let difference = schema.difference();
        assert_eq!(difference.unknown, ["spec.next"]);
        assert!(difference.missing.contains(&"spec.engine".to_owned()), "{difference:?}");
        let page = telemetry.open_metrics();
        let line = "llm_autoscaler_schema_differences{difference=\"unknown\"} 1";
        assert!(page.lines().any(|found| found == line), "{page}");
    }
}
