//! Reads and writes the scale of a target: through its scale subresource, or as a role of a group.

use kube::api::{Patch, PatchParams};
use llm_autoscaler_api::{ScaleTargetRef, managers};

use crate::{
    kube_api::WritePermit,
    scale::{
        client::{ScaleClient, patch_params},
        error::TargetError,
        kinds,
        view::{ScaleLocation, ScaleView, ScaleWrite},
    },
    telemetry::WriteKind,
};

impl ScaleClient {
    /// Reads the scale of a target.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub(crate) async fn get_scale(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<ScaleView, TargetError> {
        if let Some(why) = kinds::refusal(target) {
            return Err(TargetError::Refused(why.to_owned()));
        }
        if kinds::is_group_role(target) {
            return self.get_role(namespace, target).await;
        }
        let api = self.api(namespace, target).await?;
        let scale = self.reads.run(namespace, api.get_scale(&target.name)).await?;
        ScaleView::from_subresource(scale, target)
    }

    /// Writes a size, on the condition that nothing has changed the target since `basis` was read.
    /// Returns the scale after the write.
    ///
    /// # Errors
    /// [`TargetError::Conflict`] if another writer came first: read the target and decide again.
    pub(crate) async fn patch_scale(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
        basis: &ScaleView,
        replicas: i32,
        permit: &WritePermit,
    ) -> Result<ScaleView, TargetError> {
        let write = ScaleWrite { namespace, target, basis, replicas, permit };
        let result = match &basis.location {
            ScaleLocation::Subresource => self.patch_subresource(&write).await,
            ScaleLocation::Adapter(name) => self.patch_adapter(&write, name).await,
            ScaleLocation::Role(index) => self.patch_group(&write, *index).await,
        };
        match result {
            Err(TargetError::Call(error)) if error.is_conflict() => {
                Err(TargetError::Conflict(error.to_string()))
            }
            result => result,
        }
    }

    /// Makes the operator an owner of the size that `basis` has, beside its other owners, on the
    /// condition that nothing has changed the target since. Returns the scale after the write.
    ///
    /// A patch with the same value would make it no owner, so the value is applied (server-side),
    /// and never forced.
    ///
    /// # Errors
    /// [`TargetError::Conflict`] if another writer came first.
    pub(crate) async fn adopt_size(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
        basis: &ScaleView,
        permit: &WritePermit,
    ) -> Result<ScaleView, TargetError> {
        let replicas = basis.scale.current;
        let write = ScaleWrite { namespace, target, basis, replicas, permit };
        let api = self.api(namespace, target).await?;
        let patch = Patch::Apply(write.subresource_apply());
        let params = PatchParams::apply(managers::SCALE);
        let call = api.patch_scale(&target.name, &params, &patch);
        match self.writes.send(WriteKind::Scale, permit, call).await {
            Err(error) if error.is_conflict() => Err(TargetError::Conflict(error.to_string())),
            result => ScaleView::from_subresource(result?, target),
        }
    }

    async fn patch_subresource(&self, write: &ScaleWrite<'_>) -> Result<ScaleView, TargetError> {
        let ScaleWrite { namespace, target, permit, .. } = *write;
        let api = self.api(namespace, target).await?;
        let patch = Patch::Merge(write.subresource_patch());
        let params = patch_params();
        let call = api.patch_scale(&target.name, &params, &patch);
        let scale = self.writes.send(WriteKind::Scale, permit, call).await?;
        ScaleView::from_subresource(scale, target)
    }
}
