//! One autoscaler: its loop, and its step `observe → decide → scale → report`.
//!
//! A step happens on a fixed tick and at once when a fresh sample is there. Pods that come and go
//! change what is sampled, and never cause a step by themselves. Between ticks the target's scale is taken as
//! it was last read; before a write it is always read anew, and decided upon anew.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use kube::{Client, ResourceExt};
use llm_autoscaler_api::{
    LLMAutoscaler, Plan, SpecError, conditions,
    conditions::ConditionUpdate,
    managers, plan, selector,
    words::{self, EventWords, MetricWords, SelectorProblem, Step},
};
use llm_autoscaler_core::{Decision, History, Profile, Selector, decide};
use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

use crate::{
    events::{self, Events},
    observe::{Seen, Subscriptions},
    pod_monitor,
    pods::{PodStore, PodView},
    report::{self, Report, Writer, Written},
    sampler::Sampler,
    target::{ScaleView, TargetError, Targets},
    telemetry::Telemetry,
};

/// What all autoscalers share.
pub struct Context {
    /// The way to the API server.
    pub client: Client,
    /// All pods.
    pub pods: PodStore,
    /// All samples.
    pub sampler: Sampler,
    /// Scale subresources.
    pub targets: Targets,
    /// Where events go.
    pub events: Events,
    /// The operator's own metrics.
    pub telemetry: Telemetry,
    /// How often a step happens at least.
    pub period: Duration,
    /// Whether decisions are the HPA's to the bit.
    pub profile: Profile,
}

/// Several samples that arrive together make one step.
const TOGETHER: Duration = Duration::from_millis(10);
/// The wait after a failed step; it doubles up to the period.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// How often a step is tried again because somebody else wrote to the target.
const CONFLICTS: u32 = 5;
/// How often the PodMonitor is looked after when nothing has changed.
const POD_MONITOR_EVERY: Duration = Duration::from_mins(1);

/// Keeps one autoscaler until its object is gone. `objects` carries every version of it.
pub async fn keep(context: Arc<Context>, mut objects: watch::Receiver<Arc<LLMAutoscaler>>) {
    let object = objects.borrow_and_update().clone();
    let mut keeper = Keeper::new(context, object);
    let mut tick = tokio::time::interval(keeper.context.period);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let ok = tokio::select! {
            _ = tick.tick() => keeper.step(Cause::Tick).await,
            changed = objects.changed() => {
                let Ok(()) = changed else { return };
                let object = objects.borrow_and_update().clone();
                if !keeper.adopt(object) {
                    continue;
                }
                keeper.step(Cause::Spec).await
            }
            () = keeper.fresh.notified() => {
                tokio::time::sleep(TOGETHER).await;
                keeper.step(Cause::Sample).await
            }
            () = pods_changed(keeper.target.as_mut()) => {
                keeper.follow_pods();
                continue;
            }
        };
        if ok.is_ok() {
            keeper.failures = 0;
        } else {
            let wait = FIRST_RETRY * 2_u32.saturating_pow(keeper.failures.min(10));
            keeper.failures += 1;
            tick.reset_after(wait.min(keeper.context.period));
        }
    }
}

async fn pods_changed(target: Option<&mut Target>) {
    match target {
        Some(target) => target.pods.changed().await,
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
    plan: Result<Plan, SpecError>,
    fresh: Arc<Notify>,
    target: Option<Target>,
    writer: Writer,
    pod_monitor_at: Option<Instant>,
    announced: HashMap<&'static str, String>,
    failures: u32,
}

/// What is known of the target.
struct Target {
    view: ScaleView,
    /// Which pods are the target's, where that can be said.
    selector: Result<kube::core::Selector, SelectorProblem>,
    pods: PodView,
    subscriptions: Subscriptions,
    history: History,
    /// A decision has been made: the first samples are there.
    decided: bool,
}

impl Keeper {
    fn new(context: Arc<Context>, object: Arc<LLMAutoscaler>) -> Self {
        let plan = plan(&object.spec, context.profile);
        let writer = Writer::new(&context.client, &object, context.telemetry.clone());
        Self {
            context,
            plan,
            fresh: Arc::default(),
            target: None,
            writer,
            pod_monitor_at: None,
            announced: HashMap::new(),
            failures: 0,
            object,
        }
    }

    /// Takes over a newer version of the object; whether the spec has changed.
    fn adopt(&mut self, object: Arc<LLMAutoscaler>) -> bool {
        let changed = object.metadata.generation != self.object.metadata.generation;
        let other_target = object.spec.scale_target_ref != self.object.spec.scale_target_ref;
        self.object = object;
        if !changed {
            return false;
        }
        info!(name = self.name(), generation = self.object.metadata.generation, "the spec has changed");
        self.plan = plan(&self.object.spec, self.context.profile);
        self.pod_monitor_at = None;
        if other_target {
            self.target = None;
        }
        if let (Some(target), Ok(plan)) = (&mut self.target, &self.plan) {
            // The new subscriptions begin before the old ones end, so that no sample is lost.
            let sampler = self.context.sampler.clone();
            let mut subscriptions = Subscriptions::new(sampler, self.fresh.clone(), plan);
            subscriptions.follow(&target.pods.members());
            target.subscriptions = subscriptions;
            target.decided = false;
        }
        true
    }

    fn name(&self) -> String {
        format!("{}/{}", self.object.namespace().unwrap_or_default(), self.object.name_any())
    }

    fn follow_pods(&mut self) {
        if let Some(target) = &mut self.target {
            let members = target.pods.members();
            target.subscriptions.follow(&members);
        }
    }

    async fn step(&mut self, cause: Cause) -> Result<(), Failed> {
        let plan = match self.plan.clone() {
            Ok(plan) => plan,
            Err(error) => {
                self.writer.invalid(&self.object, "InvalidSpec", &error.to_string()).await;
                return Ok(());
            }
        };
        if !self.context.pods.is_synced() {
            return Err(Failed);
        }
        if cause != Cause::Sample || self.target.is_none() {
            self.locate(&plan).await?;
        }
        for _ in 0..CONFLICTS {
            let Some((seen, decision)) = self.look_and_decide(&plan) else { return Ok(()) };
            let Some(replicas) = decision.rescale() else {
                self.remember(&plan, &decision);
                self.report(&plan, &seen, &decision, None).await;
                return Ok(());
            };
            // A write is decided upon with the scale as it is at that moment.
            self.locate(&plan).await?;
            let Some((seen, decision)) = self.look_and_decide(&plan) else { return Ok(()) };
            if decision.rescale() != Some(replicas) {
                continue;
            }
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
        let reference = &self.object.spec.scale_target_ref;
        let view = match self.context.targets.get(&namespace, reference).await {
            Ok(view) => view,
            Err(error) => {
                self.target = None;
                self.cannot_locate(&error).await;
                return Err(Failed);
            }
        };
        if let Some(target) = &mut self.target
            && target.view.uid == view.uid
            && target.view.selector == view.selector
        {
            target.view = view;
        } else {
            self.begin(plan, view, &namespace);
        }
        self.keep_pod_monitor().await;
        Ok(())
    }

    /// A target that was not known before: its history is in the status, if it is still the same object.
    fn begin(&mut self, plan: &Plan, view: ScaleView, namespace: &str) {
        let remembered = self.target.take().filter(|old| old.view.uid == view.uid).map(|old| old.history);
        let history = remembered.unwrap_or_else(|| {
            let record = self.object.status.iter().flat_map(|status| &status.targets);
            let record = record
                .filter(|target| target.uid.as_ref() == Some(&view.uid))
                .find_map(|t| t.history.clone());
            record.map_or_else(History::default, |record| {
                History::restore(&record, &plan.policy, view.scale.current, Utc::now())
            })
        });
        let selector = match selector::parse(&view.selector) {
            _ if view.selector.is_empty() => Err(SelectorProblem::Missing),
            Ok(selector) => Ok(selector),
            Err(error) => Err(SelectorProblem::Invalid { error: error.to_string() }),
        };
        let mut pods =
            self.context.pods.view(namespace, selector.clone().unwrap_or_else(|_| selector::nothing()));
        let sampler = self.context.sampler.clone();
        let mut subscriptions = Subscriptions::new(sampler, self.fresh.clone(), plan);
        subscriptions.follow(&pods.members());
        self.target = Some(Target { view, selector, pods, subscriptions, history, decided: false });
    }

    /// The pure part: what is seen, and what follows from it. `None` while the first samples are on their way.
    fn look_and_decide(&mut self, plan: &Plan) -> Option<(Seen, Decision)> {
        let scaled_to_zero = conditions::holds(self.writer.conditions(), "ScaledToZero");
        let target = self.target.as_mut()?;
        // Looking at the members also takes note of their change, so the subscriptions follow at once.
        let members = target.pods.members();
        target.subscriptions.follow(&members);
        let now = Utc::now();
        let mut seen = target.subscriptions.observe(&target.view, scaled_to_zero, &members, now);
        seen.observation.selector = match target.selector {
            Ok(_) => Selector::Valid,
            Err(SelectorProblem::Missing) => Selector::Missing,
            Err(_) => Selector::Invalid,
        };
        if seen.warming_up && !target.decided {
            return None;
        }
        target.decided = true;
        let decision = decide(&plan.policy, &target.history, &seen.observation, now);
        self.context.telemetry.decided();
        debug!(name = self.name(), ?decision, "decided");
        Some((seen, decision))
    }

    fn remember(&mut self, plan: &Plan, decision: &Decision) {
        if let Some(target) = &mut self.target {
            target.history.record(&plan.policy, decision, Utc::now());
        }
    }

    async fn write(&self, decision: &Decision, to: i32) -> Result<ScaleView, TargetError> {
        let Some(target) = &self.target else { return Err(TargetError::Conflict) };
        let namespace = self.object.namespace().unwrap_or_default();
        let reference = &self.object.spec.scale_target_ref;
        let result = self.context.targets.set(&namespace, reference, &target.view, to).await;
        self.context.telemetry.scale_written(match &result {
            Ok(_) => "ok",
            Err(TargetError::Conflict) => "conflict",
            Err(_) => "error",
        });
        if result.is_ok() {
            info!(name = self.name(), from = decision.current, to, manager = managers::SCALE, "scaled");
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
        let metrics = words_of(plan, seen);
        let step = Step { policy: &plan.policy, decision, metrics: &metrics, selector: None };
        let error = result.as_ref().err().map(ToString::to_string);
        let outcome = error.as_deref().map_or(Ok(()), Err);
        let written = step.after_write(&report::reference(&self.object), to, outcome);
        let note = written.event.message.clone();
        if let (Ok(view), Some(target)) = (result, &mut self.target) {
            target.view = view;
            target.history.scaled(&plan.policy, decision.current, to, Utc::now());
            self.context.events.publish(&self.object, events::rescaled(decision.current, to, note)).await;
        } else {
            warn!(name = self.name(), note, "scaling failed");
            self.context.events.publish(&self.object, events::rescale_failed(to, note)).await;
        }
        let size = error.is_none().then_some(to);
        self.report(plan, seen, decision, Some(Written { size, conditions: written.conditions })).await;
        if size.is_some() { Ok(()) } else { Err(Failed) }
    }

    async fn report(&mut self, plan: &Plan, seen: &Seen, decision: &Decision, written: Option<Written>) {
        let metrics = words_of(plan, seen);
        let Some(target) = &self.target else { return };
        let problem = target.selector.clone().err();
        let step = Step { policy: &plan.policy, decision, metrics: &metrics, selector: problem.as_ref() };
        self.announce(step.events()).await;
        let Some(target) = &self.target else { return };
        let history = target.history.snapshot();
        let report = Report { object: &self.object, plan, seen, view: &target.view, step, written, history };
        let status = report::status(self.writer.status(), &report, Utc::now());
        self.writer.write(&self.object, status).await;
    }

    /// The HPA's warnings, once per change instead of once per reconcile.
    async fn announce(&mut self, warnings: Vec<EventWords>) {
        self.announced.retain(|reason, _| warnings.iter().any(|warning| warning.reason == *reason));
        for EventWords { reason, message, .. } in warnings {
            if self.announced.get(reason) == Some(&message) {
                continue;
            }
            warn!(name = self.name(), reason, message);
            self.context.events.publish(&self.object, events::problem(reason, reason, message.clone())).await;
            self.announced.insert(reason, message);
        }
    }

    async fn cannot_locate(&mut self, error: &TargetError) {
        let (update, event) = words::failed_get_scale(&error.to_string());
        self.announce(vec![event]).await;
        self.writer.failed(&self.object, update, error.is_terminal()).await;
    }

    async fn keep_pod_monitor(&mut self) {
        let Some(Target { selector: Ok(pods), .. }) = &self.target else { return };
        if self.pod_monitor_at.is_some_and(|at| at.elapsed() < POD_MONITOR_EVERY) {
            return;
        }
        self.pod_monitor_at = Some(Instant::now());
        let condition: Option<ConditionUpdate> =
            pod_monitor::keep(&self.context.client, &self.object, pods).await;
        self.writer.set_pod_monitor(condition);
    }
}

/// What the words need to know of each metric: its name, and why it failed.
fn words_of(plan: &Plan, seen: &Seen) -> Vec<MetricWords> {
    let error = report::missing(&seen.problems);
    let of =
        |name: &String| MetricWords { name: name.clone(), error: error.clone(), ..MetricWords::default() };
    plan.metrics.iter().map(|metric| of(&metric.series)).collect()
}
