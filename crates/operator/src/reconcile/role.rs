//! One target of an autoscaler, between steps and within one.

use std::sync::Arc;

use kube::{ResourceExt, runtime::events::Event};
use llm_autoscaler_api::{
    Advice, LLMAutoscaler, LLMAutoscalerStatus, ParsedRole, TargetConfig,
    conditions::ConditionUpdate, messages::EventMessage,
};
use llm_autoscaler_core::{Mode, Now, Profile};
use llm_autoscaler_observe::draining::GatePermission;
use serde_json::Value;
use tokio::sync::Notify;

use crate::{
    cluster::other_autoscalers::Listing,
    drain::drainer::{Drainer, open_new_pods},
    ownership::{
        claims::ClaimGuard, manual_changes::SizeTracker, owner_references::OwnerReferences,
        write_block::WriteBlock,
    },
    pod_monitor::reconciler::PodMonitorReconciler,
    reconcile::{context::Context, decision_log::DecisionLog, target_state::TargetState},
    scale::view::ScaleView,
    status::{
        event_queue::EventQueue,
        events,
        report::{self},
        role_status::RoleStatus,
        warnings::Warning,
    },
    telemetry::TargetSizes,
};

/// One target, and what is known of it.
pub(super) struct Role {
    pub(super) context: Arc<Context>,
    /// Its name, where it is one of several.
    pub(super) name: Option<String>,
    /// The autoscaler.
    pub(super) object: Arc<LLMAutoscaler>,
    pub(super) config: Arc<TargetConfig>,
    /// The state of the target, once it has been found. In a box of its own: an allocation of the
    /// role with it would be rounded up by more.
    pub(super) target: Option<Box<TargetState>>,
    /// The scale of the target as last read, while the target is left to another owner.
    pub(super) refused: Option<Box<ScaleView>>,
    pub(super) claim: ClaimGuard,
    pub(super) owners: OwnerReferences,
    /// The listing of other autoscalers that tells whether one of them scales the target.
    pub(super) others_since: Listing,
    pub(super) sizes: SizeTracker,
    pub(super) status: RoleStatus,
    pub(super) events: EventQueue,
    /// The warnings of this step.
    pub(super) warnings: Vec<Warning>,
    pub(super) pod_monitor: PodMonitorReconciler,
    pub(super) fresh: Arc<Notify>,
    /// Its decisions as they were last logged.
    pub(super) log: DecisionLog,
    /// Its latest observation as the log has it; `None` while steps are not logged.
    pub(super) case: Option<Box<Value>>,
}

impl Role {
    /// Begins with what the status of the autoscaler says.
    pub(super) fn new(
        context: &Arc<Context>,
        object: &Arc<LLMAutoscaler>,
        fresh: &Arc<Notify>,
        events: &EventQueue,
        status: &LLMAutoscalerStatus,
        ParsedRole { name, config, .. }: ParsedRole,
    ) -> Self {
        let (api, monitors) = (context.pod_monitors.clone(), context.monitors.clone());
        Self {
            claim: context.claims.register(object, name.as_deref()),
            object: object.clone(),
            status: RoleStatus::restored(status, name.as_deref()),
            context: context.clone(),
            config: Arc::new(config),
            target: None,
            refused: None,
            owners: OwnerReferences::default(),
            others_since: Listing::default(),
            sizes: SizeTracker::default(),
            events: events.clone(),
            warnings: Vec::new(),
            pod_monitor: PodMonitorReconciler::new(api, monitors, name.clone()),
            fresh: fresh.clone(),
            log: DecisionLog::default(),
            case: None,
            name,
        }
    }

    /// Takes over a version of the object with the same spec.
    pub(super) fn set_object(&mut self, object: &Arc<LLMAutoscaler>) {
        self.object = object.clone();
    }

    /// Takes over a changed spec.
    pub(super) fn change_config(
        &mut self,
        object: &Arc<LLMAutoscaler>,
        ParsedRole { config, .. }: ParsedRole,
    ) {
        let is_other_target = config.target != self.config.target;
        self.object = object.clone();
        match (self.config.mode, config.mode) {
            (Mode::Recommend, Mode::Recommend) => {}
            (_, Mode::Recommend) => self.release_drain(self.context.clock.now()),
            (before, _) if before == Mode::Recommend || is_other_target => {
                self.others_since = self.context.other_autoscalers.ask();
            }
            _ => {}
        }
        self.config = Arc::new(config);
        self.pod_monitor.make_due();
        self.owners.forget_contest();
        if is_other_target {
            (self.target, self.refused) = (None, None);
            self.claim.release();
        }
        let namespace = self.namespace();
        if let Some(target) = &mut self.target {
            target.change_config(&self.context.sampling, &namespace, &self.fresh, &self.config);
        }
    }

    /// Returns whether decisions are only recommended, so that nothing but the status is written.
    pub(super) fn recommends(&self) -> bool {
        self.config.mode == Mode::Recommend
    }

    /// The autoscaler and the role, for the log.
    pub(super) fn path(&self) -> String {
        let path = format!("{}/{}", self.namespace(), self.object.name_any());
        self.name.as_ref().map_or_else(|| path.clone(), |role| format!("{path}/{role}"))
    }

    pub(super) fn namespace(&self) -> String {
        self.object.namespace().unwrap_or_default()
    }

    /// The sizes of the target for the operator's metrics, once it has been decided on.
    pub(super) fn sizes(&self) -> Option<TargetSizes> {
        let (target, policy) = (self.status.target.as_ref()?, &self.config.policy);
        Some(TargetSizes {
            name: target.name.clone(),
            current: target.current_replicas,
            desired: target.desired_replicas,
            ready: target.ready_replicas,
            proposed: target.decision.as_ref().map(|decision| decision.raw),
            bounds: (policy.min_replicas, policy.max_replicas),
        })
    }

    /// The target as KIND/NAME.
    pub(super) fn reference(&self) -> String {
        self.config.target.to_string()
    }

    /// Takes over the pods as they are now, and samples them.
    pub(super) fn follow_pods(&mut self, now: Now) {
        let Some(target) = &mut self.target else { return };
        target.follow_pods(&self.config, now);
        if self.config.mode == Mode::Recommend {
            return;
        }
        open_new_pods(&self.context.gates, &target.replicas, now);
        self.want_claims(now);
    }

    /// Asks for the ResourceClaims of the pods, for the bill. A number of the spec makes them
    /// needless.
    pub(super) fn want_claims(&self, now: Now) {
        let is_billed = !self.recommends() && self.config.gpus_per_replica.is_none();
        let Some(target) = self.target.as_ref().filter(|_| is_billed) else { return };
        let pods = target.replicas.list.iter().flat_map(|group| &group.pods);
        self.context.resource_claims.want(pods.map(|pod| &**pod), now.monotonic);
    }

    /// Releases the claim, and drains that are overdue, until the spec can be carried out again.
    pub(super) fn rest(&mut self, now: Now) {
        self.claim.release();
        self.release_overdue_drain(now);
    }

    /// Deletes the PodMonitor of a role that the spec has no longer.
    pub(super) fn retire(&mut self) {
        if !self.recommends() {
            self.pod_monitor.delete(&self.object);
        }
    }

    /// The reasons why the operator may not write. There are none for recommendations: whatever
    /// happens to the target, they say what would be written.
    pub(super) fn write_block(&self, now: Now) -> WriteBlock {
        if self.recommends() {
            return WriteBlock::default();
        }
        let manual_change = self.sizes.respected(self.config.respect, now.wall);
        let contest = self.sizes.contest(now.wall);
        // The HPA writes at each of its ticks, whatever comes of it.
        let waits = self.config.policy.profile != Profile::HpaExact;
        let contest = contest.map(|contest| if waits { contest } else { contest.without_wait() });
        WriteBlock { paused: self.object.is_paused(), manual_change, contest }
    }

    /// The advice about other writers of the size.
    pub(super) fn ownership_advice(&self, block: &WriteBlock, now: Now) -> Vec<Advice> {
        let target = self.reference();
        let unknown = self.owners.unknown();
        let unknown = unknown.map(|owner| report::unknown_controller(&target, owner));
        // A contest names the writer already.
        let repeated = self.sizes.repeated().repeated(now.wall);
        let repeated = repeated.filter(|_| block.contest.is_none());
        unknown
            .into_iter()
            .chain(repeated.map(|record| report::repeated(&target, record)))
            .collect()
    }

    pub(super) fn gate_permission(&self) -> GatePermission {
        self.context.gates.permission(&self.namespace())
    }

    /// Returns draining pods to their Services once their deadline has passed, while no decision
    /// can be made.
    pub(super) fn release_overdue_drain(&mut self, now: Now) {
        let Some(target) = self.target.as_ref().filter(|_| !self.recommends()) else { return };
        let is_overdue = match &self.config.drain {
            Some(drain) => target.drain.is_overdue(drain.deadline, now.wall),
            None => true,
        };
        if is_overdue {
            self.release_drain(now);
        }
    }

    /// Returns all pods to their Services.
    fn release_drain(&mut self, now: Now) {
        let namespace = self.namespace();
        let Some(target) = &mut self.target else { return };
        let scene = crate::drain::drainer::DrainScene::default();
        let drainer = Drainer {
            gates: &self.context.gates,
            telemetry: &self.context.telemetry,
            namespace: &namespace,
            target: &self.config.target,
            config: self.config.drain.as_ref(),
            replicas: &target.replicas,
            scene: &scene,
            now,
        };
        target.progress = drainer.release(&mut target.drain);
    }

    /// Reports that the step ended before a decision: one condition says why. A recommendation goes
    /// with its mode, and nothing else changes.
    pub(super) fn fail(&mut self, update: ConditionUpdate, is_terminal: bool) {
        if !self.recommends() {
            self.status.end_recommendation();
        }
        let paused = report::paused_without_decision(&self.object, &self.reference());
        self.status.fail(update, is_terminal, paused, self.object.metadata.generation);
    }

    /// Adds warnings, which are published at the end of the step.
    pub(super) fn warn(&mut self, warnings: impl IntoIterator<Item = EventMessage>) {
        let role = &self.name;
        let of_role = |message| Warning { role: role.clone(), message };
        self.warnings.extend(warnings.into_iter().map(of_role));
    }

    /// Publishes an event about something that has happened.
    pub(super) fn publish(&self, event: Event) {
        let event = match &self.name {
            Some(role) => events::of_role(event, role),
            None => event,
        };
        self.events.publish(&self.object, self.name.as_deref(), event);
    }
}
