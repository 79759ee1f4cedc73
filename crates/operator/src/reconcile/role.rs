//! One target of an autoscaler, between steps and within one.

use std::{borrow::Cow, sync::Arc};

use kube::{ResourceExt, runtime::events::Event};
use llm_autoscaler_api::{
    LLMAutoscaler, LLMAutoscalerStatus, ParsedRole, TargetConfig,
    conditions::ConditionUpdate,
    messages::{EventMessage, MetricDescription, Step},
};
use llm_autoscaler_core::{self as core, Basis, Decision, Now, Outcome, Write};
use llm_autoscaler_observe::{
    draining::GatePermission,
    observer::{Findings, Problem},
};
use tokio::sync::Notify;
use tracing::debug;

use crate::{
    drain::{
        drainer::{Drainer, MarkFailed, PreparedWrite, open_new_pods},
        progress::{DrainOutcome, FinishedDrain},
    },
    ownership::{
        claims::ClaimGuard, manual_changes::SizeTracker, owner_references::OwnerReferences,
        write_block::WriteBlock,
    },
    pod_monitor::keeper::PodMonitorKeeper,
    reconcile::{
        context::Context, execute::RoleDone, observe::RoleSight, target_state::TargetState,
    },
    sampling::page_view::Pace,
    scale::client::TargetError,
    status::{
        events,
        report::{self, RoleReport, Written},
        role_status::RoleStatus,
        warnings::{self, Warning},
    },
};

/// One target, and what is known of it.
pub(super) struct Role {
    pub(super) context: Arc<Context>,
    /// Its name, where it is one of several.
    pub(super) name: Option<String>,
    /// The autoscaler.
    pub(super) object: Arc<LLMAutoscaler>,
    pub(super) plan: Arc<TargetConfig>,
    /// What is known of the target, once it has been found.
    pub(super) target: Option<TargetState>,
    pub(super) claim: ClaimGuard,
    pub(super) owners: OwnerReferences,
    pub(super) sizes: SizeTracker,
    pub(super) status: RoleStatus,
    /// The warnings of this step.
    pub(super) warnings: Vec<Warning>,
    pub(super) pod_monitor: PodMonitorKeeper,
    pub(super) fresh: Arc<Notify>,
}

impl Role {
    /// Begins with what the status of the autoscaler says.
    pub(super) fn new(
        context: &Arc<Context>,
        object: &Arc<LLMAutoscaler>,
        fresh: &Arc<Notify>,
        status: &LLMAutoscalerStatus,
        ParsedRole { name, config: plan, .. }: ParsedRole,
    ) -> Self {
        let (client, monitors) = (context.client.clone(), context.monitors.clone());
        Self {
            claim: context.claims.register(object, name.as_deref()),
            object: object.clone(),
            status: RoleStatus::restored(status, name.as_deref()),
            context: context.clone(),
            plan: Arc::new(plan),
            target: None,
            owners: OwnerReferences::default(),
            sizes: SizeTracker::default(),
            warnings: Vec::new(),
            pod_monitor: PodMonitorKeeper::new(client, monitors, name.clone()),
            fresh: fresh.clone(),
            name,
        }
    }

    /// Takes over a version of the object with the same spec.
    pub(super) fn set_object(&mut self, object: &Arc<LLMAutoscaler>) {
        self.object = object.clone();
    }

    /// Takes over a changed spec.
    pub(super) fn change_plan(
        &mut self,
        object: &Arc<LLMAutoscaler>,
        ParsedRole { config: plan, .. }: ParsedRole,
    ) {
        let is_other_target = plan.target != self.plan.target;
        self.object = object.clone();
        self.plan = Arc::new(plan);
        self.pod_monitor.look_again();
        if is_other_target {
            self.target = None;
            self.claim.release();
        }
        let namespace = self.namespace();
        if let Some(target) = &mut self.target {
            target.change_plan(&self.context.sampling, &namespace, &self.fresh, &self.plan);
        }
    }

    /// The autoscaler and the role, for the log.
    pub(super) fn path(&self) -> String {
        let path = format!("{}/{}", self.namespace(), self.object.name_any());
        self.name.as_ref().map_or_else(|| path.clone(), |role| format!("{path}/{role}"))
    }

    pub(super) fn namespace(&self) -> String {
        self.object.namespace().unwrap_or_default()
    }

    /// The target as KIND/NAME.
    pub(super) fn reference(&self) -> String {
        self.plan.target.to_string()
    }

    /// Takes over the pods as they are now, and samples them.
    pub(super) fn follow_pods(&mut self, now: Now) {
        let Some(target) = &mut self.target else { return };
        target.follow_pods(&self.plan, now);
        open_new_pods(&self.context.gates, &target.replicas, now);
    }

    /// Claims nothing and drains nothing until the spec can be carried out again.
    pub(super) fn rest(&mut self, now: Now) {
        self.claim.release();
        self.release_overdue_drain(now);
    }

    /// The role is none of the autoscaler's any longer.
    pub(super) fn retire(&mut self) {
        self.pod_monitor.retire(&self.object);
    }

    /// What keeps the operator from writing.
    pub(super) fn write_block(&self, now: Now) -> WriteBlock {
        let manual_change = self.sizes.respected(self.plan.respect, now.wall);
        WriteBlock { paused: self.object.is_paused(), manual_change }
    }

    pub(super) fn gate_permission(&self) -> GatePermission {
        self.context.gates.permission(&self.namespace())
    }

    /// Nothing is decided at present. Pods do not stay out of their Services for ever for it.
    pub(super) fn release_overdue_drain(&mut self, now: Now) {
        let namespace = self.namespace();
        let Some(target) = &mut self.target else { return };
        let is_overdue = match &self.plan.drain {
            Some(drain) => target.drain.is_overdue(drain.deadline, now.wall),
            None => true,
        };
        if is_overdue {
            let scene = crate::drain::drainer::DrainScene::default();
            let drainer = Drainer {
                gates: &self.context.gates,
                telemetry: &self.context.telemetry,
                namespace: &namespace,
                target: &self.plan.target,
                plan: self.plan.drain.as_ref(),
                replicas: &target.replicas,
                scene: &scene,
                now,
            };
            target.progress = drainer.release(&mut target.drain);
        }
    }

    /// Carries out the drain of the plan.
    pub(super) async fn prepare(
        &mut self,
        plan: &core::RolePlan,
        sight: &RoleSight,
        now: Now,
    ) -> Result<Option<PreparedWrite>, MarkFailed> {
        let (context, namespace) = (self.context.clone(), self.namespace());
        let Some(target) = &mut self.target else { return Ok(None) };
        let drainer = Drainer {
            gates: &context.gates,
            telemetry: &context.telemetry,
            namespace: &namespace,
            target: &self.plan.target,
            plan: self.plan.drain.as_ref(),
            replicas: &target.replicas,
            scene: &sight.drain,
            now,
        };
        drainer.prepare(plan, &mut target.drain, &mut target.progress).await
    }

    /// Writes the size, on the condition that nothing has changed the target since it was read.
    pub(super) async fn write(
        &mut self,
        context: &Context,
        write: Write,
    ) -> Result<(), TargetError> {
        let namespace = self.namespace();
        let Some(target) = &mut self.target else { return Err(TargetError::Conflict) };
        let (reference, view) = (&self.plan.target, &target.view);
        let result =
            context.targets.set(&namespace, reference, view, write.to, context.permit).await;
        context.telemetry.record_scale_write(match &result {
            Ok(_) => "ok",
            Err(TargetError::Conflict) => "conflict",
            Err(_) => "error",
        });
        match result {
            Ok(view) => {
                // Admission may have made another size of it.
                self.sizes.record_write(view.scale.current);
                target.view = view;
                Ok(())
            }
            Err(error) => {
                if error.is_ambiguous() {
                    self.sizes.record_attempt(write.to);
                }
                target.record_failed_write(&error, write.from, write.to);
                Err(error)
            }
        }
    }

    /// Records that the size has been written for which victims were drained.
    pub(super) fn finish_drain(
        &mut self,
        prepared: Option<PreparedWrite>,
        now: Now,
    ) -> Option<FinishedDrain> {
        let target = self.target.as_mut()?;
        let telemetry = &self.context.telemetry;
        Some(prepared?.finish(&mut target.drain, &mut target.progress, telemetry, now))
    }

    /// Records that a size is not written yet, because the ratio to another role would suffer.
    pub(super) fn wait_for_role(&mut self, Write { from, to, .. }: Write) {
        if let Some(target) = self.target.as_mut().filter(|_| to < from) {
            target.progress.for_role = Some((from, to));
        }
    }

    /// Takes note of what the plan says about sampling, and counts the decision.
    pub(super) fn record_sight(&mut self, plan: &core::RolePlan, sight: &RoleSight, now: Now) {
        debug!(autoscaler = self.path(), decision = ?plan.decision, reasons = ?plan.reasons, "decided");
        let telemetry = &self.context.telemetry;
        telemetry.record_decision(outcome_label(&plan.decision));
        if plan.decision.rescale().is_some()
            && let Some(reason) = sight.block.metric_label()
        {
            telemetry.record_withheld(reason);
        }
        let Some(target) = &mut self.target else { return };
        for origin in &sight.findings(plan.basis).origins {
            for (source, samples) in target.sources.list.iter().zip(&origin.samples) {
                telemetry.record_samples(source.name(), u64::from(*samples));
            }
        }
        if let Some(certain) = sight.observed.without_doubt(plan.basis) {
            // Another source may have a sample beyond doubt, so it is scraped or queried from now on.
            target.sources.renew(&certain.findings.needed_sources, now.monotonic);
            target.sources.follow(&target.replicas.reporting_pods, now.monotonic);
        }
        target.sources.pace(if plan.near_target { Pace::Close } else { Pace::Usual });
        if !plan.shrinks(sight.block.for_plan()) {
            target.workload.clear(&mut target.drain);
        }
    }

    /// Remembers the decision, reports it, and what was done about it.
    pub(super) fn record(
        &mut self,
        plan: &core::RolePlan,
        sight: &RoleSight,
        done: &RoleDone,
        now: Now,
    ) {
        if let Some(target) = &mut self.target {
            let history = &mut target.memory.history;
            if sight.block.paused {
                history.record_blocked(&self.plan.policy, &plan.decision, now.wall);
            } else {
                history.record(&self.plan.policy, &plan.decision, now.wall);
            }
            if let RoleDone::Written { write, .. } = done {
                history.record_scale(&self.plan.policy, write.from, write.to, now.wall);
            }
        }
        let findings = sight.findings(plan.basis);
        let problems = sight.problems(plan.basis);
        let metrics = self.describe_metrics(problems);
        let policy = &self.plan.policy;
        let messages = Step { policy, decision: &plan.decision, metrics: &metrics, selector: None };
        let written = self.written(&messages, done);
        self.report(&plan.decision, &metrics, &findings, problems, sight, written, now);
    }

    /// Publishes the event of a write, and returns what the status says of it.
    fn written(&self, messages: &Step<'_>, done: &RoleDone) -> Option<Written> {
        let reference = self.reference();
        match done {
            RoleDone::Nothing => None,
            RoleDone::Written { write, finished } => {
                let written = messages.after_write(&reference, write.to, Ok(()));
                self.publish(events::rescaled(write.from, write.to, written.event.message));
                if let Some(FinishedDrain { from, to, outcome: DrainOutcome::Late(left) }) =
                    finished
                {
                    let names: Vec<&str> = left.iter().map(|left| left.name.as_str()).collect();
                    self.publish(events::drain_deadline_exceeded(*from, *to, &names));
                }
                let (size, conditions) = (Some(write.to), written.conditions);
                Some(Written { size, conditions, warning: None })
            }
            RoleDone::Failed { write, error } => {
                let error = error.to_string();
                let written = messages.after_write(&reference, write.to, Err(&error));
                let (conditions, warning) = (written.conditions, Some(written.event));
                Some(Written { size: None, conditions, warning })
            }
        }
    }

    /// Makes its status what the step has come to.
    #[expect(clippy::too_many_arguments, reason = "one call, right above")]
    fn report(
        &mut self,
        decision: &Decision,
        metrics: &[MetricDescription],
        findings: &Findings,
        problems: &[Problem],
        sight: &RoleSight,
        written: Option<Written>,
        now: Now,
    ) {
        let Some(target) = &self.target else { return };
        let selector = target.selector_problem();
        let policy = &self.plan.policy;
        let messages = Step { policy, decision, metrics, selector: selector.as_ref() };
        let failed = written.as_ref().and_then(|written| written.warning.clone());
        let warnings: Vec<_> = failed.into_iter().chain(messages.events()).collect();
        let report = RoleReport {
            role: self.name.as_deref(),
            generation: self.object.metadata.generation,
            plan: &self.plan,
            findings,
            problems,
            view: &target.view,
            messages,
            block: &sight.block,
            drain: &target.progress,
            written,
            memory: &target.memory,
            pod_monitor: self.pod_monitor.condition(),
        };
        self.status = report::role_status(&self.status, &report, now.wall);
        self.warn(warnings);
    }

    /// What the texts need to know of each metric: its name, and why it failed.
    fn describe_metrics(&self, problems: &[Problem]) -> Vec<MetricDescription> {
        let error = report::missing(problems);
        let namespace = self.namespace();
        let describe = |name: &String| MetricDescription {
            name: name.clone(),
            namespace: namespace.clone(),
            error: error.clone(),
            // A query has no selector, and that is how the HPA writes it.
            selector: "nil".to_owned(),
            ..MetricDescription::default()
        };
        self.plan.metrics.iter().map(|metric| describe(&metric.series)).collect()
    }

    /// The step ended before a decision: one condition says why, and nothing else changes.
    pub(super) fn fail(&mut self, update: ConditionUpdate, is_terminal: bool) {
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
        warnings::publish(&self.context.events, &self.context.limiter, &self.object, event);
    }
}

/// The decision as the operator's metrics count it.
fn outcome_label(decision: &Decision) -> &'static str {
    match &decision.outcome {
        Outcome::Computed(derivation) if derivation.held.is_some() => "held",
        Outcome::Computed(_) => "computed",
        Outcome::NoEvents => "no_events",
        Outcome::Fallback { .. } => "fallback",
        Outcome::NoMetrics { .. } => "no_metrics",
        Outcome::NoSelector => "no_selector",
        Outcome::OutOfBounds { .. } => "out_of_bounds",
        Outcome::Disabled => "disabled",
    }
}

impl RoleSight {
    /// The findings of the observation that the decision rests on. Advice is given whatever it rests on.
    pub(super) fn findings(&self, basis: Basis) -> Cow<'_, Findings> {
        let usable = &self.observed.usable.findings;
        let mut findings = match (&self.observed.beyond_doubt, basis) {
            (Some(strict), Basis::BeyondDoubt) => {
                let mut findings = strict.findings.clone();
                findings.advice.extend(usable.advice.iter().cloned());
                Cow::Owned(findings)
            }
            _ => Cow::Borrowed(usable),
        };
        if let Some(advice) = &self.advice {
            findings.to_mut().advice.insert(advice.clone());
        }
        findings
    }

    /// Returns the problems to report. Samples in doubt are among them if the decision was made
    /// again without them.
    pub(super) fn problems(&self, basis: Basis) -> &[Problem] {
        let reported = self.observed.without_doubt(basis).unwrap_or(&self.observed.usable);
        &reported.findings.problems
    }
}
