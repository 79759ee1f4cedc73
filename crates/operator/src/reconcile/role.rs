//! One target of an autoscaler, between steps and within one.

use std::sync::Arc;

use chrono::Utc;
use kube::{ResourceExt, runtime::events::Event};
use llm_autoscaler_api::{
    LLMAutoscaler, LLMAutoscalerSpec, LLMAutoscalerStatus, Plan, RolePlan,
    conditions::ConditionUpdate,
    managers,
    messages::{self, EventMessage, MetricDescription, Step},
};
use llm_autoscaler_core::{Decision, Lag};
use tokio::sync::Notify;
use tracing::info;

use crate::{observe::observer::Seen, ownership::{claims::Holding, manual_changes::Sizes, write_block::Restraint}, pod_monitor::keeper::PodMonitorKeeper, reconcile::{context::Context, target_state::Tracked}, scale::client::{ScaleView, TargetError}, status::{events, report::{Report, Written, self}, warnings::{Warning, self}}};
use crate::reconcile::autoscaler::{Failed, parent::Parental};

/// One target, and what is known of it.
pub(super) struct Role {
    pub(super) context: Arc<Context>,
    /// Its name, where it is one of several.
    pub(super) name: Option<String>,
    /// The autoscaler, with the spec that this role would have by itself.
    pub(super) object: Arc<LLMAutoscaler>,
    pub(super) plan: Arc<Plan>,
    /// How many GPUs a replica takes.
    pub(super) gpus: i64,
    /// How many of its replicas do not come.
    pub(super) lag: Lag,
    pub(super) target: Option<Tracked>,
    pub(super) holding: Holding,
    pub(super) parent: Parental,
    pub(super) sizes: Sizes,
    pub(super) restraint: Restraint,
    /// The status of the autoscaler, had it no other role.
    pub(super) status: LLMAutoscalerStatus,
    /// What is wrong, as events of this step.
    pub(super) warnings: Vec<Warning>,
    pod_monitor: PodMonitorKeeper,
    fresh: Arc<Notify>,
}

impl Role {
    /// Nothing is known of it but what the status of the autoscaler says.
    pub(super) fn new(
        context: &Arc<Context>,
        whole: &Arc<LLMAutoscaler>,
        fresh: &Arc<Notify>,
        status: &LLMAutoscalerStatus,
        RolePlan { name, spec, plan, gpus }: RolePlan,
    ) -> Self {
        let monitor =
            PodMonitorKeeper::new(context.client.clone(), context.monitors.clone(), name.clone());
        Self {
            holding: context.claims.begin(whole, name.as_deref()),
            object: named(whole, name.as_deref(), || spec),
            status: report::of_role(status, name.as_deref()),
            context: context.clone(),
            plan: Arc::new(plan),
            gpus,
            lag: Lag::default(),
            target: None,
            parent: Parental::default(),
            sizes: Sizes::default(),
            restraint: Restraint::default(),
            warnings: Vec::new(),
            pod_monitor: monitor,
            fresh: fresh.clone(),
            name,
        }
    }

    /// Takes over a version of the object with the same spec.
    pub(super) fn is_now(&mut self, whole: &Arc<LLMAutoscaler>) {
        self.object = named(whole, self.name.as_deref(), || self.object.spec.clone());
    }

    /// Takes over a changed spec.
    pub(super) fn adopt(
        &mut self,
        whole: &Arc<LLMAutoscaler>,
        RolePlan { name, spec, plan, gpus }: RolePlan,
    ) {
        let other_target = plan.target != self.plan.target;
        self.object = named(whole, name.as_deref(), || spec);
        (self.plan, self.gpus) = (Arc::new(plan), gpus);
        self.pod_monitor.look_again();
        if other_target {
            self.target = None;
            self.lag = Lag::default();
            self.holding.nothing();
        }
        if let Some(target) = &mut self.target {
            target.sample_by(&self.context, &self.object, &self.fresh, &self.plan);
        }
    }

    /// The autoscaler and the role, for the log.
    pub(super) fn path(&self) -> String {
        let object = super::path(&self.object);
        self.name.as_ref().map_or_else(|| object.clone(), |role| format!("{object}/{role}"))
    }

    /// What is scaled.
    pub(super) fn reference(&self) -> String {
        self.plan.target.to_string()
    }

    /// Samples the pods that there are now.
    pub(super) fn follow_pods(&mut self) {
        if let Some(target) = &mut self.target {
            target.follow_pods(&self.plan);
        }
        self.greet_pods();
    }

    /// Nothing is asked of it, and nothing claimed, until the spec makes sense again.
    pub(super) fn rest(&mut self) {
        self.holding.nothing();
        self.nothing_decided();
    }

    /// Reads the target's scale, and follows its pods.
    pub(super) async fn locate(&mut self) -> Result<(), Failed> {
        let namespace = self.object.namespace().unwrap_or_default();
        let view = match self.context.targets.get(&namespace, &self.plan.target).await {
            Ok(view) => view,
            Err(error) => {
                self.not_found(&error);
                return Err(Failed);
            }
        };
        self.claim(&view).await?;
        self.notice_change(&view).await;
        match &mut self.target {
            Some(target) if target.is_about(&view) => target.read(&self.plan, view),
            target => {
                let before = target.take();
                let new = Tracked::begin(
                    &self.context,
                    &self.object,
                    &self.fresh,
                    &self.plan,
                    view,
                    before,
                );
                *target = Some(new);
            }
        }
        if let Some(target) = &mut self.target {
            target.rivals = self.holding.rivals(&target.pods.members());
        }
        if let Some(target) = &mut self.target
            && let Ok(selector) = target.selector.clone()
        {
            self.pod_monitor.keep(&self.object, || target.published(&self.plan, selector));
        }
        Ok(())
    }

    fn not_found(&mut self, error: &TargetError) {
        self.holding.looked();
        if error.is_gone() || error.is_terminal() {
            self.target = None;
            self.holding.nothing();
        }
        self.target.iter_mut().for_each(|target| target.unread = true);
        self.nothing_decided();
        let (update, event) = messages::failed_get_scale(&error.to_string());
        self.warn([event]);
        self.failed(update, error.is_terminal());
    }

    pub(super) fn remember(&mut self, decision: &Decision) {
        if let Some(target) = &mut self.target {
            let now = Utc::now();
            if self.restraint.paused {
                target.history.record_blocked(&self.plan.policy, decision, now);
            } else {
                target.history.record(&self.plan.policy, decision, now);
            }
        }
    }

    pub(super) async fn write(
        &mut self,
        decision: &Decision,
        to: i32,
    ) -> Result<ScaleView, TargetError> {
        let Some(target) = &self.target else { return Err(TargetError::Conflict) };
        let namespace = self.object.namespace().unwrap_or_default();
        let result =
            self.context.targets.set(&namespace, &self.plan.target, &target.view, to).await;
        self.context.telemetry.scale_written(match &result {
            Ok(_) => "ok",
            Err(TargetError::Conflict) => "conflict",
            Err(_) => "error",
        });
        self.remember_write(&result, to);
        match &result {
            Ok(_) => {
                info!(
                    name = self.path(),
                    from = decision.current,
                    to,
                    manager = managers::SCALE,
                    "scaled"
                );
            }
            Err(error) => {
                if let Some(target) = &mut self.target {
                    target.write_failed(error, decision.current, to);
                }
            }
        }
        result
    }

    /// After a write: the event, the history of sizes, the status.
    pub(super) fn written(
        &mut self,
        seen: &Seen,
        decision: &Decision,
        to: i32,
        result: Result<ScaleView, TargetError>,
    ) -> Result<(), Failed> {
        let metrics = words_of(&self.object, &self.plan, seen);
        let step = Step { policy: &self.plan.policy, decision, metrics: &metrics, selector: None };
        let error = result.as_ref().err().map(ToString::to_string);
        let outcome = error.as_deref().map_or(Ok(()), Err);
        let written = step.after_write(&self.reference(), to, outcome);
        let mut warning = None;
        if let (Ok(view), Some(target)) = (result, &mut self.target) {
            target.view = view;
            target.history.record_scale(&self.plan.policy, decision.current, to, Utc::now());
            self.publish(events::rescaled(decision.current, to, written.event.message));
            self.drained();
        } else {
            warning = Some(written.event);
        }
        let size = error.is_none().then_some(to);
        let conditions = written.conditions;
        self.report(seen, decision, Some(Written { size, conditions, warning }));
        if size.is_some() { Ok(()) } else { Err(Failed) }
    }

    /// Makes its status what the step has come to.
    pub(super) fn report(&mut self, seen: &Seen, decision: &Decision, written: Option<Written>) {
        let metrics = words_of(&self.object, &self.plan, seen);
        let Some(target) = &self.target else { return };
        let selector = target.selector_problem();
        let step = Step {
            policy: &self.plan.policy,
            decision,
            metrics: &metrics,
            selector: selector.as_ref(),
        };
        let failed = written.as_ref().and_then(|written| written.warning.clone());
        let warnings: Vec<_> = failed.into_iter().chain(step.events()).collect();
        let history = target.history.snapshot();
        let (object, plan, view, restraint) =
            (&self.object, &self.plan, &target.view, &self.restraint);
        let (start_ups, drain) = (&target.start_ups, target.drain.told());
        let role = self.name.as_deref();
        let report = Report {
            object,
            role,
            plan,
            seen,
            view,
            step,
            restraint,
            drain,
            written,
            history,
            start_ups,
        };
        let monitor = self.pod_monitor.condition();
        self.status = report::status(&self.status, &report, monitor.as_ref(), Utc::now());
        self.warn(warnings);
    }

    /// It is there and ours; another role is not, so nothing is decided.
    pub(super) fn found(&mut self) {
        self.status = report::found(&self.status);
    }

    /// It is none of the autoscaler's roles any longer.
    pub(super) fn retire(&mut self) {
        self.pod_monitor.retire(&self.object);
    }

    /// The step ended before a decision: one condition says why, and nothing else changes.
    pub(super) fn failed(&mut self, update: ConditionUpdate, terminal: bool) {
        self.status = report::failed(&self.status, &self.object, update, terminal, Utc::now());
    }

    /// Has warnings said at the end of the step.
    pub(super) fn warn(&mut self, warnings: impl IntoIterator<Item = EventMessage>) {
        let of = |words| Warning { role: self.name.clone(), words };
        self.warnings.extend(warnings.into_iter().map(of));
    }

    /// Says something that has happened.
    pub(super) fn publish(&self, event: Event) {
        let event = match &self.name {
            Some(role) => events::of_role(event, role),
            None => event,
        };
        warnings::publish(&self.context.events, &self.context.lane, &self.object, event);
    }
}

/// The autoscaler with the spec that a role of it would have by itself.
fn named(
    whole: &Arc<LLMAutoscaler>,
    role: Option<&str>,
    spec: impl FnOnce() -> LLMAutoscalerSpec,
) -> Arc<LLMAutoscaler> {
    if role.is_none() {
        return whole.clone();
    }
    Arc::new(LLMAutoscaler {
        metadata: whole.metadata.clone(),
        spec: spec(),
        status: whole.status.clone(),
    })
}

/// What the words need to know of each metric: its name, and why it failed.
fn words_of(object: &LLMAutoscaler, plan: &Plan, seen: &Seen) -> Vec<MetricDescription> {
    let error = report::missing(&seen.problems);
    let namespace = object.namespace().unwrap_or_default();
    let of = |name: &String| MetricDescription {
        name: name.clone(),
        namespace: namespace.clone(),
        error: error.clone(),
        // A query has no selector, and that is how the HPA writes it.
        selector: "nil".to_owned(),
        ..MetricDescription::default()
    };
    plan.metrics.iter().map(|metric| of(&metric.series)).collect()
}
