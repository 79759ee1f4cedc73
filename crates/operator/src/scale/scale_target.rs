//! Scale targets: any kind of the cluster that has a scale subresource, found by discovery, and roles of groups.

use k8s_openapi::api::autoscaling::v1 as autoscaling;
use kube::api::Patch;
use llm_autoscaler_api::{ScaleTargetRef, workloads};
use llm_autoscaler_core::Scale;

use crate::{
    kube_api::{WritePermit, within},
    scale::client::{
        Place, ScaleView, ScaleWrite, TargetError, Targets, deadline, is_about, params,
    },
};

impl Targets {
    /// Reads the scale of a target.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub async fn get(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<ScaleView, TargetError> {
        if is_about(target) {
            return self.get_role(namespace, target).await;
        }
        let api = self.api(namespace, target).await?;
        view(deadline(api.get_scale(&target.name)).await?, target)
    }

    /// Asks for `replicas`, on the condition that nobody has changed the target since it was `seen`.
    ///
    /// # Errors
    /// [`TargetError::Conflict`] if somebody has: read again, and decide again.
    pub async fn set(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
        seen: &ScaleView,
        replicas: i32,
        permit: WritePermit,
    ) -> Result<ScaleView, TargetError> {
        let deadline = permit.deadline(self.now()).ok_or(TargetError::NoPermit)?;
        let write = ScaleWrite { namespace, target, seen, replicas, deadline };
        let result = match &seen.place {
            Place::Own => self.set_own(&write).await,
            Place::Adapter(name) => self.set_adapter(&write, name).await,
            Place::Role(index) => self.set_role(&write, *index).await,
        };
        match result {
            Err(TargetError::Call(error)) if error.status() == Some(409) => {
                Err(TargetError::Conflict)
            }
            result => result,
        }
    }

    async fn set_own(&self, write: &ScaleWrite<'_>) -> Result<ScaleView, TargetError> {
        let ScaleWrite { namespace, target, deadline, .. } = *write;
        let api = self.api(namespace, target).await?;
        let patch = Patch::Merge(write.scale_patch());
        let scale = within(deadline, api.patch_scale(&target.name, &params(), &patch)).await?;
        view(scale, target)
    }
}

/// A custom resource's scale leaves `spec.replicas` out when it is 0.
fn view(scale: autoscaling::Scale, target: &ScaleTargetRef) -> Result<ScaleView, TargetError> {
    let status = scale.status.unwrap_or_default();
    let Some(uid) = scale.metadata.uid else {
        return Err(TargetError::NotScalable {
            api_version: target.api_version.clone(),
            kind: target.kind.clone(),
        });
    };
    Ok(ScaleView {
        scale: Scale {
            current: scale.spec.and_then(|spec| spec.replicas).unwrap_or(0),
            status: status.replicas,
        },
        selector: workloads::pod_selector(target).or(status.selector).unwrap_or_default(),
        uid,
        resource_version: scale.metadata.resource_version,
        place: Place::Own,
    })
}
