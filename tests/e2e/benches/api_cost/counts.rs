//! The requests in the API server's audit log, by the autoscaler that they are for.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;

/// The number of requests of each kind.
pub(crate) type Counts = BTreeMap<Key, u32>;

/// A kind of requests.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The namespace of the object.
    pub(crate) namespace: String,
    /// The request is for one autoscaler, so that the number of requests grows with theirs.
    pub(crate) is_of_one: bool,
    /// The name of the client's ServiceAccount.
    pub(crate) client: String,
    pub(crate) verb: String,
    pub(crate) resource: String,
}

impl Key {
    fn of(event: &Value) -> Option<Self> {
        if event["stage"] != "ResponseComplete" {
            return None;
        }
        let object = &event["objectRef"];
        let part = |name: &str| object[name].as_str().unwrap_or_default();
        let user = event["user"]["username"].as_str()?;
        let client = user.rsplit(':').next()?.to_owned();
        let verb = event["verb"].as_str()?.to_owned();
        let is_metrics_api = part("apiGroup").ends_with(".metrics.k8s.io");
        let resource = match (is_metrics_api, part("subresource")) {
            // The resource has the name of the metric.
            (true, _) => part("apiGroup").to_owned(),
            (false, "") => part("resource").to_owned(),
            (false, subresource) => format!("{}/{subresource}", part("resource")),
        };
        let is_write = ["create", "patch", "update", "delete"].contains(&verb.as_str());
        // A Lease is one object for all autoscalers.
        let is_of_one =
            resource != "leases" && (is_write || is_metrics_api || !part("name").is_empty());
        Some(Self { namespace: part("namespace").to_owned(), is_of_one, client, verb, resource })
    }

    /// Returns whether the request changes an object.
    pub(crate) fn is_write(&self) -> bool {
        ["create", "patch", "update", "delete"].contains(&self.verb.as_str())
    }
}

/// Counts the requests in an audit log so far.
pub(crate) fn requests(log: &Path) -> Result<Counts> {
    let text = std::fs::read_to_string(log)
        .with_context(|| format!("reading the audit log {}", log.display()))?;
    let mut counts = Counts::new();
    // The API server may be in the middle of the last line.
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    for key in events.filter_map(|event| Key::of(&event)) {
        *counts.entry(key).or_default() += 1;
    }
    Ok(counts)
}
