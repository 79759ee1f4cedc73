//! Makes the operator an owner of a size that a manifest could remove. No size is changed here.

use tracing::{debug, info};

use crate::{
    ownership::write_block::WriteBlock,
    reconcile::role::Role,
    status::{events, report},
};

impl Role {
    /// Applies the size that the target has, where the next manifest of a tool could remove it, and
    /// unless nothing may be written. A failure is no obstacle: it is tried again with the next
    /// reading of the target's metadata.
    pub(super) async fn adopt_size(&mut self, block: &WriteBlock) {
        if block.for_plan().is_blocked() {
            return;
        }
        let Some(target) = &mut self.target else { return };
        let Some(manager) = self.owners.take_endangering() else { return };
        let namespace = self.object.metadata.namespace.clone().unwrap_or_default();
        let permit = self.context.leases.permit(&namespace);
        let (scales, reference) = (&self.context.scales, &self.config.target);
        match scales.adopt_size(&namespace, reference, &target.view, &permit).await {
            Ok(view) => {
                let replicas = view.scale.current;
                target.view = view;
                info!(autoscaler = self.path(), replicas, beside = manager, "adopted the size");
                let note = report::adopted(&self.reference(), &manager, replicas);
                self.publish(events::size_adopted(note));
            }
            Err(error) => {
                target.is_outdated = true;
                debug!(autoscaler = self.path(), %error, "the size could not be adopted");
            }
        }
    }
}
