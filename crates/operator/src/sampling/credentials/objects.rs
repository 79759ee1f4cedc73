//! The values of Secrets and `ConfigMap`s to which a source refers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use llm_autoscaler_api::{Access, DataKind, KeyRef};
use llm_autoscaler_core::Monotonic;
use tokio::time::Instant;

use crate::{
    kube_api::within,
    pace::{self, NamespacePace},
    sampling::access_error::AccessError,
};

/// The reason why an object is not read: its namespace has no token left.
const TOO_MANY: &str = "the sources of this namespace refer to more Secrets and ConfigMaps than 50 \
                        a second: let autoscalers share them";
/// The deadline of a call to the API server.
const DEADLINE: Duration = Duration::from_secs(5);

/// The values of an object by key.
type Data = BTreeMap<String, Vec<u8>>;

/// Reads Secrets and `ConfigMap`s from the API server.
pub(super) struct ObjectReader {
    kubernetes: Client,
    pace: NamespacePace,
    began: Instant,
}

/// The values to which one source refers. Each object was read once, so that a certificate and its
/// key in one Secret belong together, even if the Secret is replaced meanwhile.
pub(super) struct Values {
    namespace: String,
    objects: BTreeMap<(DataKind, String), Data>,
}

impl ObjectReader {
    /// Returns a reader that uses this client.
    pub(super) fn new(kubernetes: Client) -> Self {
        let pace = NamespacePace::new(pace::CREDENTIALS);
        Self { kubernetes, pace, began: Instant::now() }
    }

    /// Reads all objects to which a source refers.
    ///
    /// # Errors
    /// An object cannot be read. One that does not exist is an error once its value is needed.
    pub(super) async fn read(
        &self,
        namespace: &str,
        access: &Access,
    ) -> Result<Values, AccessError> {
        let names: BTreeSet<(DataKind, &str)> =
            access.references().map(|found| (found.kind, &*found.key.name)).collect();
        let reads = names.into_iter().map(|(kind, name)| async move {
            let data = self.object(namespace, kind, name).await?;
            Ok::<_, AccessError>(((kind, name.to_owned()), data))
        });
        let objects = try_join_all(reads).await?.into_iter();
        let found = objects.filter_map(|(object, data)| Some((object, data?)));
        Ok(Values { namespace: namespace.to_owned(), objects: found.collect() })
    }

    /// Reads an object. Returns `None` if it does not exist.
    async fn object(
        &self,
        namespace: &str,
        kind: DataKind,
        name: &str,
    ) -> Result<Option<Data>, AccessError> {
        let is_its_turn = self.pace.try_take(namespace, Monotonic(self.began.elapsed()));
        let (read, kind_name) = (self.data(namespace, kind, name), kind.name());
        let error = if is_its_turn {
            match within(DEADLINE, read).await {
                Ok(data) => return Ok(data),
                Err(error) => Some(error),
            }
        } else {
            None
        };
        let (kind, namespace, name) = (kind_name, namespace.to_owned(), name.to_owned());
        Err(match error {
            Some(error) if error.status() == Some(403) => {
                AccessError::Forbidden { kind, namespace, name }
            }
            error => {
                let problem = error.map_or(TOO_MANY.to_owned(), |error| error.to_string());
                AccessError::Unread { kind, namespace, name, problem }
            }
        })
    }

    async fn data(
        &self,
        namespace: &str,
        kind: DataKind,
        name: &str,
    ) -> Result<Option<Data>, kube::Error> {
        let client = self.kubernetes.clone();
        match kind {
            DataKind::ConfigMap => {
                let found = Api::<ConfigMap>::namespaced(client, namespace).get_opt(name).await?;
                let data = found.map(|map| map.data.unwrap_or_default());
                let bytes = |(key, text): (String, String)| (key, text.into_bytes());
                Ok(data.map(|data| data.into_iter().map(bytes).collect()))
            }
            DataKind::Secret => {
                let found = Api::<Secret>::namespaced(client, namespace).get_opt(name).await?;
                let data = found.map(|secret| secret.data.unwrap_or_default());
                Ok(data.map(|data| data.into_iter().map(|(key, bytes)| (key, bytes.0)).collect()))
            }
        }
    }
}

impl Values {
    /// Returns one value of a Secret.
    ///
    /// # Errors
    /// The Secret, or the key in it, does not exist.
    pub(super) fn of_secret(&self, reference: &KeyRef) -> Result<&[u8], AccessError> {
        self.of(DataKind::Secret, reference)
    }

    /// Returns one value of an object.
    ///
    /// # Errors
    /// The object, or the key in it, does not exist.
    pub(super) fn of(&self, kind: DataKind, reference: &KeyRef) -> Result<&[u8], AccessError> {
        let KeyRef { name, key } = reference.clone();
        let object = (kind, name);
        let value = self.objects.get(&object).and_then(|data| data.get(&key));
        let (kind, namespace, name) = (kind.name(), self.namespace.clone(), object.1);
        value.map(Vec::as_slice).ok_or(AccessError::Missing { kind, namespace, name, key })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kube_api::stand_in::{Answer, Received, StandIn};

    #[tokio::test]
    async fn a_namespace_reads_at_a_pace() {
        let api = StandIn::start(|_: &Received| {
            Answer::Json(200, json!({"metadata": {"name": "s"}, "data": {}}))
        })
        .await;
        let reader = ObjectReader::new(api.client.clone());
        let read = |namespace| reader.object(namespace, DataKind::Secret, "s");
        let mut refused = None;
        for _ in 0..2 * pace::CREDENTIALS.burst {
            refused = read("a").await.err();
            if refused.is_some() {
                break;
            }
        }
        assert!(refused.unwrap().to_string().contains("more Secrets and ConfigMaps than 50"));
        assert!(read("b").await.is_ok(), "another namespace has a pace of its own");
    }
}
