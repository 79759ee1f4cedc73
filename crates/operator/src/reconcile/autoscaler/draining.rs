//! Between the decision and the write: a smaller size waits until those that go are drained.

use chrono::Utc;
use kube::ResourceExt;

use crate::{drain::drainer::Drainer, drain::drainer::Scene, drain::progress::How, status::events};
use crate::{reconcile::autoscaler::role::Role, reconcile::autoscaler::together::RoleStep};

impl Role {
    /// The size that is to be written now, if one is. Larger ones are never waited with.
    pub(super) async fn size_to_write(
        &mut self,
        RoleStep { seen, decision }: &mut RoleStep,
    ) -> Option<i32> {
        let wanted = self.unrestrained(decision);
        let namespace = self.object.namespace().unwrap_or_default();
        let (context, plan) = (self.context.clone(), self.plan.clone());
        let target = self.target.as_mut()?;
        let Some(drain) = &plan.drain else {
            target.drain.give_back(&context.in_service, &namespace, &target.replicas);
            return wanted;
        };
        let sizes = (decision.current, wanted.unwrap_or(decision.current));
        seen.advice.extend(target.grace_advice(&plan));
        let is_of_interest = sizes.1 < sizes.0 || target.drain.is_under_way(&target.replicas);
        let requests = if is_of_interest { target.requests(&plan) } else { Vec::new() };
        let scene = Scene {
            namespace: &namespace,
            target: &plan.target,
            plan: drain,
            replicas: &target.replicas,
            requests: &requests,
            sizes,
            now: Utc::now(),
        };
        target.drain.step(&context, &scene).await
    }

    /// A size has been written: those that went by it are on their way.
    pub(super) fn drained(&mut self) {
        let Some(target) = &mut self.target else { return };
        let Some(ended) = target.drain.written(&self.context) else { return };
        if let How::Late(left) = &ended.how {
            let names: Vec<&str> = left.iter().map(|left| left.name.as_str()).collect();
            let note = format!("Removed before their requests were answered: {}", names.join(", "));
            let action = format!("Scale{}To{}", ended.from, ended.to);
            self.publish(events::problem(llm_autoscaler_api::conditions::Reason::DrainDeadlineExceeded, &action, note));
        }
    }

    /// Nothing is decided at present. Who is out of service does not stay so for ever for it.
    pub(super) fn nothing_decided(&mut self) {
        let namespace = self.object.namespace().unwrap_or_default();
        let Some(target) = &mut self.target else { return };
        let writer = &self.context.in_service;
        match &self.plan.drain {
            Some(drain) => {
                target.drain.give_back_late(writer, &namespace, &target.replicas, drain.deadline);
            }
            None => target.drain.give_back(writer, &namespace, &target.replicas),
        }
    }

    /// Puts pods in service that have come.
    pub(super) fn greet_pods(&self) {
        if let Some(target) = &self.target {
            Drainer::greet(&self.context.in_service, &target.replicas);
        }
    }
}
