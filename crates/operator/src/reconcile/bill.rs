//! The bill of one role: the time since its latest step, by the reasons of that step.

use llm_autoscaler_core::{Now, RolePlan};
use llm_autoscaler_observe::billing::{GpuCount, billed, ended};

use crate::reconcile::{billed_step::BilledStep, role::Role};

/// A thousandth.
const MILLI: f64 = 1e-3;

impl Role {
    /// Bills the replicas up to now, and takes over their reasons. While it cannot be told which
    /// pods are the target's alone, nothing is billed; the first step that can bills that time.
    pub(super) fn bill(&mut self, plan: &RolePlan, now: Now) {
        let resources = &self.context.gpu_resources;
        let Some(target) = &mut self.target else { return };
        if target.selector_problem().is_some() {
            return;
        }
        let members = target.pods.members();
        let billed_step = target.billed.as_ref();
        if billed_step.is_some_and(|step| step.goes_on(&members, &plan.reasons, now.monotonic)) {
            return;
        }
        let reasons = plan.reasons.clone();
        target.billed = Some(BilledStep { members, reasons, at: now.monotonic });
        let departed = target.memory.bill.until().map(|until| target.pods.departed(until));
        let departed = departed.unwrap_or_default();
        let pods = target.replicas.list.iter().flat_map(|group| &group.pods);
        let pods = pods.chain(departed.iter().map(|departed| &departed.pod));
        let claims = self.context.resource_claims.gpus(pods.map(|pod| &**pod));
        let per_replica = self.config.gpus_per_replica;
        let gpus = GpuCount { per_replica, resources, claims: &claims };
        let replicas = billed(&target.replicas, &plan.reasons, gpus);
        let ended = ended(&target.replicas, &departed, &self.config.groupings, gpus);
        let amounts = target.memory.bill.bill(&replicas, &ended, now.wall);
        for (reason, amount) in amounts {
            let [replicas, gpus] = [amount.replica_ms, amount.gpu_ms].map(|ms| ms as f64 * MILLI);
            self.context.telemetry.record_bill(reason, replicas, gpus);
        }
    }
}
