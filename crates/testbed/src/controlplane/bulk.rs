//! Objects in bulk, which are put into etcd past the API server. It reads them from there, and its
//! watches tell of them, as if it had written them itself; nothing checks or completes them.

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use serde_json::{Value, json};

use super::ControlPlane;

/// The objects of one transaction. etcd takes 128 at most.
const BATCH: usize = 100;

/// An object as it is stored.
#[derive(Debug, Clone)]
pub struct StoredObject {
    /// Its resource, after the group where it has one: `pods`, `example.com/fleets`.
    pub resource: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// The object, with its kind, its name, its UID and its creation time.
    pub object: Value,
}

impl ControlPlane {
    /// Stores new objects, or replaces those with their names.
    ///
    /// # Errors
    /// etcd does not take them.
    pub async fn store(&self, objects: &[StoredObject]) -> Result<()> {
        let client = crate::http_client();
        for batch in objects.chunks(BATCH) {
            let puts = batch.iter().map(put).collect::<Result<Vec<_>>>()?;
            let url = format!("{}/v3/kv/txn", self.etcd_url);
            let sent = client.post(url).body(json!({"success": puts}).to_string()).send().await;
            let response = sent.context("storing objects in etcd")?;
            let status = response.status();
            let text = response.text().await.unwrap_or_default();
            ensure!(status.is_success(), "etcd refuses objects with {status}: {text}");
        }
        Ok(())
    }
}

fn put(stored: &StoredObject) -> Result<Value> {
    let StoredObject { resource, namespace, object } = stored;
    let name = object["metadata"]["name"].as_str().context("an object has no name")?;
    let key = BASE64.encode(format!("/registry/{resource}/{namespace}/{name}"));
    Ok(json!({"requestPut": {"key": key, "value": BASE64.encode(object.to_string())}}))
}
