//! The audit log of the API server: the permissions that a user has used, and those that it lacked.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::grants::Grant;

/// The requests of a user, without those of discovery.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// The permissions of the requests that were allowed.
    pub used: BTreeSet<Grant>,
    /// Those of the requests that were not.
    pub refused: BTreeSet<Grant>,
    /// The namespaces of all requests; empty for the whole cluster.
    pub namespaces: BTreeSet<String>,
}

impl Requests {
    /// Reads the requests of a user from a log.
    pub(crate) fn of(user: &str, log: &Path) -> Result<Self> {
        let log = std::fs::read_to_string(log)
            .with_context(|| format!("reading the audit log {}", log.display()))?;
        let mut requests = Self::default();
        // The API server may be in the middle of the last line.
        for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if event["user"]["username"] == user {
                requests.record(&event);
            }
        }
        Ok(requests)
    }

    fn record(&mut self, event: &Value) {
        let (text, object) =
            (|value: &Value| value.as_str().unwrap_or_default().to_owned(), &event["objectRef"]);
        if !object.is_object() || object["resource"].is_null() {
            return;
        }
        let mut resource = text(&object["resource"]);
        if let Some(subresource) = object["subresource"].as_str() {
            resource = format!("{resource}/{subresource}");
        }
        let grant = |verb: &str| Grant::new(&text(&object["apiGroup"]), &resource, verb);
        let verb = text(&event["verb"]);
        self.namespaces.insert(text(&object["namespace"]));
        let is_allowed = event["annotations"]["authorization.k8s.io/decision"] == "allow";
        if is_allowed && event["responseStatus"]["code"] != 403 {
            self.used.insert(grant(&verb));
        } else {
            self.refused.insert(grant(&verb));
        }
        // A server-side apply of an object that does not exist needs the verb `create` as well.
        if verb == "patch" && event["responseStatus"]["code"] == 201 {
            self.used.insert(grant("create"));
        }
    }
}
