//! One autoscaler: its loop, and its step `observe → decide → scale → report`.
//!
//! A step happens on a fixed tick and at once when a fresh sample is there. Pods that come and go
//! change what is sampled, and never cause a step by themselves. Between ticks the target's scale is taken as
//! it was last read; a write is accepted only if it still is like that.

mod deciding;
mod draining;
mod owned;
mod parent;

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use kube::{Client, ResourceExt};
use llm_autoscaler_api::{
    LLMAutoscaler, Plan, SpecError, managers, plan,
    words::{self, MetricWords, Step},
};
use llm_autoscaler_core::{Decision, Profile};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use parent::Parental;

use crate::{
    announce::Announcer,
    calls::Calls,
    drivers::Drivers,
    events::{self, Events},
    in_service::InService,
    lane::Lane,
    monitors::Monitors,
    observe::Seen,
    owners::{Claims, Holding},
    pod_monitor::PodMonitorKeeper,
    pods::PodStore,
    prometheus::Servers,
    report::{self, Report, Written},
    restraint::Restraint,
    sampler::Sampler,
    sizes::Sizes,
    target::{ScaleView, TargetError, Targets},
    telemetry::Telemetry,
    tracked::Tracked,
    writer::Writer,
};

/// What all autoscalers share.
pub struct Context {
    /// The way to the API server.
    pub client: Client,
    /// All pods.
    pub pods: PodStore,
    /// All samples of pages.
    pub sampler: Sampler,
    /// All Prometheus servers.
    pub servers: Servers,
    /// All PodMonitors.
    pub monitors: Monitors,
    /// Scale subresources.
    pub targets: Targets,
    /// Who has been called for.
    pub calls: Calls,
    /// Whose each of them is.
    pub claims: Claims,
    /// Other autoscalers of the cluster.
    pub drivers: Drivers,
    /// Pods that are put in service, and taken out of it.
    pub in_service: InService,
    /// Where events go.
    pub events: Events,
    /// Where writes wait that are not urgent.
    pub lane: Lane,
    /// The operator's own metrics.
    pub telemetry: Telemetry,
    /// How often a step happens at least.
    pub period: Duration,
    /// Whether decisions are the HPA's to the bit.
    pub profile: Profile,
}

/// Samples that arrive within so much of each other make one step: this, and a share for each pod, up to a limit, so that
/// a target of a thousand pods is not decided upon at each of them.
const TOGETHER: Duration = Duration::from_millis(10);
const TOGETHER_A_POD: Duration = Duration::from_micros(200);
const TOGETHER_AT_MOST: Duration = Duration::from_millis(100);
/// The wait after a failed step; it doubles up to the period.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// How often a step is tried again because somebody else wrote to the target.
const CONFLICTS: u32 = 5;

/// Keeps one autoscaler until its object is gone. `objects` carries every version of it.
pub async fn keep(context: Arc<Context>, mut objects: watch::Receiver<Arc<LLMAutoscaler>>) {
    let object = objects.borrow_and_update().clone();
    let mut keeper = Keeper::new(context, object);
    let mut calls = keeper.context.calls.listen(&keeper.object);
    let mut tick = tokio::time::interval(keeper.context.period);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let takes_samples = keeper.takes_samples();
        let result = tokio::select! {
            _ = tick.tick() => keeper.step(Cause::Tick).await,
            changed = objects.changed() => {
                let Ok(()) = changed else { return };
                let object = objects.borrow_and_update().clone();
                if !keeper.adopt(object) {
                    continue;
                }
                keeper.step(Cause::Spec).await
            }
            () = keeper.fresh.notified(), if takes_samples => {
                tokio::time::sleep(keeper.together()).await;
                keeper.step(Cause::Sample).await
            }
            () = calls.called() => {
                keeper.target.iter_mut().for_each(Tracked::wake);
                keeper.step(Cause::Tick).await
            }
            () = pods_changed(keeper.target.as_mut()) => {
                keeper.follow_pods();
                continue;
            }
        };
        if result.is_ok() {
            keeper.failures = 0;
        } else {
            let wait = FIRST_RETRY * 2_u32.saturating_pow(keeper.failures.min(10));
            keeper.failures += 1;
            tick.reset_after(wait.min(keeper.context.period));
        }
    }
}

async fn pods_changed(target: Option<&mut Tracked>) {
    match target {
        Some(target) => target.pods_changed().await,
        None => std::future::pending().await,
    }
}

/// Why a step happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Tick,
    Spec,
    Sample,
}

/// A step that is to be tried again soon. What went wrong is in the status by then.
struct Failed;

/// The state of one autoscaler between steps.
struct Keeper {
    context: Arc<Context>,
    object: Arc<LLMAutoscaler>,
    plan: Result<Arc<Plan>, SpecError>,
    fresh: Arc<Notify>,
    target: Option<Tracked>,
    holding: Holding,
    parent: Parental,
    sizes: Sizes,
    restraint: Restraint,
    writer: Writer,
    announcer: Announcer,
    pod_monitor: PodMonitorKeeper,
    failures: u32,
}

impl Keeper {
    fn new(context: Arc<Context>, object: Arc<LLMAutoscaler>) -> Self {
        Self {
            plan: plan(&object.spec, context.profile).map(Arc::new),
            fresh: Arc::default(),
            target: None,
            holding: context.claims.begin(&object),
            parent: Parental::default(),
            sizes: Sizes::default(),
            restraint: Restraint::default(),
            writer: Writer::new(&context.client, &object, context.telemetry.clone(), context.lane.clone()),
            announcer: Announcer::new(context.events.clone(), context.lane.clone()),
            pod_monitor: PodMonitorKeeper::new(context.client.clone(), context.monitors.clone()),
            failures: 0,
            context,
            object,
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.object.namespace().unwrap_or_default(), self.object.name_any())
    }

    /// Whether fresh samples cause steps: not while a failed step waits to be tried again; and the HPA knows
    /// no other time than its tick, except that nothing can be said before the first samples.
    fn takes_samples(&self) -> bool {
        let waiting_for_first = self.target.as_ref().is_some_and(|target| !target.decided);
        self.failures == 0 && (self.context.profile == Profile::Default || waiting_for_first)
    }

    /// Samples the pods that there are now.
    fn follow_pods(&mut self) {
        if let (Some(target), Ok(plan)) = (&mut self.target, &self.plan) {
            target.follow_pods(plan);
        }
        self.greet_pods();
    }

    /// For how long other samples are waited for.
    fn together(&self) -> Duration {
        let pods = self.target.as_ref().map_or(0, |target| target.sources.pods());
        (TOGETHER + TOGETHER_A_POD * pods).min(TOGETHER_AT_MOST)
    }

    /// Takes over a newer version of the object; whether it asks for something else, which an annotation can do too.
    fn adopt(&mut self, object: Arc<LLMAutoscaler>) -> bool {
        let changed = object.metadata.generation != self.object.metadata.generation;
        let toggled = object.is_paused() != self.object.is_paused();
        let other_target = object.spec.scale_target_ref != self.object.spec.scale_target_ref;
        self.object = object;
        if !changed {
            return toggled;
        }
        info!(name = self.name(), generation = self.object.metadata.generation, "the spec has changed");
        self.plan = plan(&self.object.spec, self.context.profile).map(Arc::new);
        self.pod_monitor.look_again();
        if other_target {
            self.target = None;
            self.holding.nothing();
        }
        if let (Some(target), Ok(plan)) = (&mut self.target, &self.plan) {
            target.sample_by(&self.context, &self.object, &self.fresh, plan);
        }
        true
    }

    async fn step(&mut self, cause: Cause) -> Result<(), Failed> {
        let plan = match self.plan.clone() {
            Ok(plan) => plan,
            Err(error) => {
                self.holding.nothing();
                self.nothing_decided();
                self.writer.invalid(&self.object, &error.to_string()).await;
                return Ok(());
            }
        };
        if let Some(problem) = self.context.pods.problem() {
            self.writer.pods_unknown(&self.object, &problem).await;
            return Err(Failed);
        }
        if cause != Cause::Sample || self.is_outdated() {
            self.locate(&plan).await?;
        }
        for _ in 0..CONFLICTS {
            let Some((mut seen, decision)) = self.look_and_decide(&plan) else { return Ok(()) };
            let Some(replicas) = self.size_to_write(&plan, &mut seen, &decision).await else {
                self.remember(&plan, &decision);
                self.report(&plan, &seen, &decision, None).await;
                return Ok(());
            };
            // The write carries the version that was decided upon: if anybody has changed the target since, it is a
            // conflict, and the decision is made anew.
            match self.write(&decision, replicas).await {
                Err(TargetError::Conflict) => self.locate(&plan).await?,
                result => {
                    self.remember(&plan, &decision);
                    return self.written(&plan, &seen, &decision, replicas, result).await;
                }
            }
        }
        warn!(name = self.name(), "the target is being changed by others all the time; trying again soon");
        Err(Failed)
    }

    /// Reads the target's scale, and follows its pods.
    async fn locate(&mut self, plan: &Plan) -> Result<(), Failed> {
        let namespace = self.object.namespace().unwrap_or_default();
        let view = match self.context.targets.get(&namespace, &self.object.spec.scale_target_ref).await {
            Ok(view) => view,
            Err(error) => {
                self.holding.looked();
                if error.is_gone() || error.is_terminal() {
                    self.target = None;
                    self.holding.nothing();
                }
                self.target.iter_mut().for_each(|target| target.unread = true);
                self.nothing_decided();
                let (update, event) = words::failed_get_scale(&error.to_string());
                self.announcer.warn(&self.object, vec![event]);
                self.writer.failed(&self.object, update, error.is_terminal()).await;
                return Err(Failed);
            }
        };
        self.claim(&view).await?;
        self.notice_change(&view).await;
        match &mut self.target {
            Some(target) if target.is_about(&view) => target.read(plan, view),
            target => {
                let before = target.take();
                *target = Some(Tracked::begin(&self.context, &self.object, &self.fresh, plan, view, before));
            }
        }
        if let Some(target) = &mut self.target {
            target.rivals = self.holding.rivals(&target.pods.members());
        }
        if let Some(target) = &mut self.target
            && let Ok(selector) = target.selector.clone()
        {
            self.pod_monitor.keep(&self.object, || target.published(plan, selector));
        }
        Ok(())
    }

    fn remember(&mut self, plan: &Plan, decision: &Decision) {
        if let Some(target) = &mut self.target {
            let now = Utc::now();
            if self.restraint.paused {
                target.history.kept(&plan.policy, decision, now);
            } else {
                target.history.record(&plan.policy, decision, now);
            }
        }
    }

    async fn write(&mut self, decision: &Decision, to: i32) -> Result<ScaleView, TargetError> {
        let Some(target) = &self.target else { return Err(TargetError::Conflict) };
        let namespace = self.object.namespace().unwrap_or_default();
        let reference = &self.object.spec.scale_target_ref;
        let result = self.context.targets.set(&namespace, reference, &target.view, to).await;
        self.context.telemetry.scale_written(match &result {
            Ok(_) => "ok",
            Err(TargetError::Conflict) => "conflict",
            Err(_) => "error",
        });
        self.remember_write(&result, to);
        match &result {
            Ok(_) => {
                info!(name = self.name(), from = decision.current, to, manager = managers::SCALE, "scaled");
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
    async fn written(
        &mut self,
        plan: &Plan,
        seen: &Seen,
        decision: &Decision,
        to: i32,
        result: Result<ScaleView, TargetError>,
    ) -> Result<(), Failed> {
        let metrics = words_of(&self.object, plan, seen);
        let step = Step { policy: &plan.policy, decision, metrics: &metrics, selector: None };
        let error = result.as_ref().err().map(ToString::to_string);
        let outcome = error.as_deref().map_or(Ok(()), Err);
        let written = step.after_write(&report::reference(&self.object), to, outcome);
        let mut warning = None;
        if let (Ok(view), Some(target)) = (result, &mut self.target) {
            target.view = view;
            target.history.scaled(&plan.policy, decision.current, to, Utc::now());
            let event = events::rescaled(decision.current, to, written.event.message);
            self.announcer.publish(&self.object, event);
            self.drained();
        } else {
            warning = Some(written.event);
        }
        let size = error.is_none().then_some(to);
        let conditions = written.conditions;
        self.report(plan, seen, decision, Some(Written { size, conditions, warning })).await;
        if size.is_some() { Ok(()) } else { Err(Failed) }
    }

    async fn report(&mut self, plan: &Plan, seen: &Seen, decision: &Decision, written: Option<Written>) {
        let metrics = words_of(&self.object, plan, seen);
        let Some(target) = &self.target else { return };
        let selector = target.selector_problem();
        let step = Step { policy: &plan.policy, decision, metrics: &metrics, selector: selector.as_ref() };
        let failed = written.as_ref().and_then(|written| written.warning.clone());
        let warnings = failed.into_iter().chain(step.events()).collect();
        self.announcer.warn(&self.object, warnings);
        let history = target.history.snapshot();
        let (object, view, restraint) = (&self.object, &target.view, &self.restraint);
        let (start_ups, drain) = (&target.start_ups, target.drain.told());
        let report = Report { object, plan, seen, view, step, restraint, drain, written, history, start_ups };
        let status =
            report::status(self.writer.status(), &report, self.pod_monitor.condition().as_ref(), Utc::now());
        self.writer.write(&self.object, status).await;
    }
}

/// What the words need to know of each metric: its name, and why it failed.
fn words_of(object: &LLMAutoscaler, plan: &Plan, seen: &Seen) -> Vec<MetricWords> {
    let error = report::missing(&seen.problems);
    let namespace = object.namespace().unwrap_or_default();
    let of = |name: &String| MetricWords {
        name: name.clone(),
        namespace: namespace.clone(),
        error: error.clone(),
        // A query has no selector, and that is how the HPA writes it.
        selector: "nil".to_owned(),
        ..MetricWords::default()
    };
    plan.metrics.iter().map(|metric| of(&metric.series)).collect()
}
