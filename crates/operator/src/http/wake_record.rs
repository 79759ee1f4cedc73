//! Records wake calls on the object, where every copy of the operator sees them.
//!
//! A call reaches one copy, and another one may serve the target, or will after the next handover.
//! So the copy that gets the call applies `status.lastWakeTime` by a field manager of its own: the
//! writer of the status leaves that field out, and the two never overwrite each other. This is the
//! only write without a Lease, because it says nothing but what has happened, and whichever copy
//! is the last to say so is right. It needs no other permission than the status does.

use chrono::{DateTime, SubsecRound, Utc};
use kube::{
    Api, Client,
    api::{PartialObjectMeta, Patch},
};
use llm_autoscaler_api::{LLMAutoscaler, managers};
use serde_json::json;

use crate::{
    http::wake::AutoscalerKey,
    kube_api::{CallError, WritePermit, apply_as, writes::Writes},
    telemetry::WriteKind,
};

/// Records calls. Cheap to clone.
#[derive(Clone)]
pub(crate) struct WakeRecord {
    /// The client of the API server.
    pub client: Client,
    /// Sends the writes.
    pub writes: Writes,
}

impl WakeRecord {
    /// Records a call. Calls within a second are one.
    ///
    /// # Errors
    /// See [`CallError`]; 404 if no autoscaler has this name.
    pub(super) async fn record(
        &self,
        AutoscalerKey { namespace, name }: &AutoscalerKey,
        at: DateTime<Utc>,
    ) -> Result<(), CallError> {
        let patch = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1",
            "kind": "LLMAutoscaler",
            "metadata": {"name": name},
            "status": {"lastWakeTime": at.trunc_subsecs(0).to_rfc3339()},
        });
        // The rest of the answer may be newer than this version of the operator.
        let api =
            Api::<PartialObjectMeta<LLMAutoscaler>>::namespaced(self.client.clone(), namespace);
        let (params, patch) = (apply_as(managers::WAKE), Patch::Apply(patch));
        let call = api.patch_status(name, &params, &patch);
        self.writes.send(WriteKind::Wake, &WritePermit::unlimited(), call).await.map(drop)
    }
}
