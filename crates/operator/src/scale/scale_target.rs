//! Scale targets: any kind of the cluster that has a scale subresource, found by discovery, and roles of groups.

use k8s_openapi::api::autoscaling::v1 as autoscaling;
use kube::api::Patch;
use llm_autoscaler_api::{ScaleTargetRef, workloads};
use llm_autoscaler_core::Scale;

use crate::scale::client::{Place, ScaleView, TargetError, Targets, deadline, is_about, params, scale_patch};

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
    ) -> Result<ScaleView, TargetError> {
        let result = match &seen.place {
            Place::Own => self.set_own(namespace, target, seen, replicas).await,
            Place::Adapter(name) => {
                self.set_adapter(namespace, (target, name), seen, replicas).await
            }
            Place::Role(index) => self.set_role(namespace, (target, *index), seen, replicas).await,
        };
        match result {
            Err(TargetError::Call(error)) if error.status() == Some(409) => {
                Err(TargetError::Conflict)
            }
            result => result,
        }
    }

    async fn set_own(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
        seen: &ScaleView,
        replicas: i32,
    ) -> Result<ScaleView, TargetError> {
        let api = self.api(namespace, target).await?;
        let patch = scale_patch(seen, replicas);
        let scale =
            deadline(api.patch_scale(&target.name, &params(), &Patch::Merge(&patch))).await?;
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
