//! The task of one autoscaler: the loop that causes its steps.
//!
//! A step happens on a fixed tick, and at once when a fresh sample is there. Pods that come and go
//! change what is sampled, and never cause a step by themselves. Between ticks a target's scale is
//! taken as it was last read; a write is accepted only if it still is like that. While a failed
//! step waits to be tried again, fresh samples are only remembered.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future};
use kube::ResourceExt;
use llm_autoscaler_api::{
    LLMAutoscaler,
    conditions::{ConditionType, ConditionUpdate, Reason},
};
use llm_autoscaler_core::{Monotonic, Profile};
use tracing::Instrument;

use crate::{
    clock::Clock,
    http::wake::AutoscalerKey,
    latest,
    reconcile::{
        autoscaler::{Autoscaler, Update},
        context::Context,
        role::Role,
        step::{Cause, StepFailed},
    },
    spans,
    status::{assemble, writer::write_once},
    supervise::Panic,
};

/// Samples that arrive within this time of each other make one step.
const COALESCE_BASE: Duration = Duration::from_millis(10);
/// The time that each further pod adds, so that a target of a thousand pods is not decided upon at
/// each of their samples.
const COALESCE_PER_POD: Duration = Duration::from_micros(200);
/// The longest time for which samples are gathered, unless the share below is longer. The first
/// ones of a target are gathered for no longer.
const COALESCE_MAX: Duration = Duration::from_millis(100);
/// A target of ten pods and more gathers samples for this part of their interval, and a smaller one
/// for less, in proportion to the pods beside the first. It is longer than the part over which the
/// scrapes of a group are spread (`sampling::phase`), so that each group makes one step, which
/// looks at all pods.
const COALESCE_PART: u32 = 20;
/// The number of pods that gather for that long.
const COALESCE_PODS: u32 = 10;
/// That part is no longer than this, whatever the interval: others may have the same pages scraped
/// more often.
const COALESCE_LONGEST: Duration = Duration::from_secs(1);
/// Wake calls that follow each other faster are answered by the scales as they were read.
const WAKE_READS_EVERY: Duration = Duration::from_secs(1);
/// The time for which the first step waits for a page of the first listing of the pods, while that
/// has not failed.
const FIRST_PODS_WITHIN: Duration = Duration::from_secs(15);
/// The task's name in the operator's metrics.
pub(super) const NAME: &str = "autoscaler";

/// Runs one autoscaler until its object is gone. `objects` carries every version of it. Nothing is
/// read before `delay` has passed.
///
/// A panic is reported in the status, and the autoscaler begins again, as after a restart of the
/// operator: after a while, or at once when the spec has changed.
pub(super) fn run(
    context: Arc<Context>,
    mut objects: latest::Receiver<Arc<LLMAutoscaler>>,
    delay: Duration,
) -> impl Future<Output = ()> + use<> {
    // Its claims are there before anything of it runs, so that no younger autoscaler overlooks
    // them.
    let mut begun = begin(&context, &mut objects);
    async move {
        // Waits that come once are in boxes, so that they take no memory later.
        Box::pin(tokio::time::sleep(delay)).await;
        // A step without the pods would end with a status that says so, for each autoscaler.
        Box::pin(context.sampling.pods.health().begun(FIRST_PODS_WITHIN)).await;
        let mut restarts = context.supervisor.restarts();
        loop {
            restarts.record_start();
            let result = match begun {
                Ok(autoscaler) => {
                    let run = Box::pin(autoscaler.run(objects.clone()));
                    context.supervisor.attempt(NAME, run).await
                }
                Err(panic) => Err(panic),
            };
            let Err(panic) = result else { return };
            let wait = restarts.wait();
            let report = Box::pin(report_panic(&context, &objects, &panic, wait));
            // A second panic is counted, and changes nothing.
            let _ = context.supervisor.attempt(NAME, report).await;
            let broken = objects.get().metadata.generation;
            let is_changed = |object: &Arc<LLMAutoscaler>| object.metadata.generation != broken;
            let changed = Box::pin(tokio::time::timeout(wait, objects.wait_for(is_changed)));
            if changed.await.is_ok_and(|changed| changed.is_err()) {
                // The object is gone.
                return;
            }
            begun = begin(&context, &mut objects);
        }
    }
}

fn begin(
    context: &Arc<Context>,
    objects: &mut latest::Receiver<Arc<LLMAutoscaler>>,
) -> Result<Box<Autoscaler>, Panic> {
    let object = objects.get_and_update();
    context.supervisor.call(NAME, || {
        #[cfg(test)]
        tests::panic_if_asked(&object);
        Box::new(Autoscaler::new(context.clone(), object))
    })
}

/// Says in the status that the autoscaler has panicked.
async fn report_panic(
    context: &Context,
    objects: &latest::Receiver<Arc<LLMAutoscaler>>,
    panic: &Panic,
    wait: Duration,
) {
    let (object, now) = (objects.get(), context.clock.now());
    let message = format!(
        "{panic}; the autoscaler begins again in {} s, or when its spec changes; please report \
         this with the operator's log",
        wait.as_secs().max(1)
    );
    let update = ConditionUpdate::no(ConditionType::ScalingActive, Reason::InternalError, message);
    let before = object.status.clone().unwrap_or_default();
    let status = assemble::obstructed(&before, &object, update, false, now.wall);
    // The next panic says it again.
    let _ = write_once(&context.status, &object, status).await;
}

impl Autoscaler {
    async fn run(mut self: Box<Self>, mut objects: latest::Receiver<Arc<LLMAutoscaler>>) {
        let mut wake = self.context.wake.listen(AutoscalerKey::of(&self.object));
        let mut tick = tokio::time::interval(self.context.period);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The end of the time for which samples are gathered, while some are.
        let mut gathered_at = None;
        loop {
            let follows_samples = self.follows_samples();
            let is_retried_later = self.retries.has_failed();
            let put_off = self.put_off.filter(|_| follows_samples && !is_retried_later);
            let next = gathered_at.into_iter().chain(put_off).min();
            let cause = tokio::select! {
                due = tick.tick() => {
                    self.context.telemetry.record_tick_lateness(due.elapsed());
                    Cause::Tick
                }
                changed = objects.changed() => {
                    let Ok(()) = changed else { return };
                    let object = objects.get_and_update();
                    let Update { is_woken, asks_for_else } = self.update_object(object);
                    match (is_woken, asks_for_else) {
                        (_, true) => Cause::Spec,
                        (true, false) => self.wake(),
                        (false, false) => continue,
                    }
                }
                () = self.fresh.notified(), if follows_samples && gathered_at.is_none() => {
                    let window = self.coalesce_window();
                    gathered_at = Some(self.context.clock.monotonic().after(window));
                    continue;
                }
                () = wake.next_call() => self.wake(),
                () = wait_until(self.context.clock, next) => {
                    if is_retried_later {
                        self.end_gathering(&mut gathered_at);
                        Box::pin(self.remember()).await;
                        continue;
                    }
                    Cause::Sample
                }
                () = pods_changed(&mut self.roles) => {
                    let now = self.context.clock.now();
                    self.roles.iter_mut().for_each(|role| role.follow_pods(now));
                    continue;
                }
            };
            // Whatever caused it, the step sees all samples that have come.
            let has_gathered = self.end_gathering(&mut gathered_at);
            // In a box, so that an autoscaler needs the memory of a step only while one runs.
            if Box::pin(self.traced_step(cause)).await.is_ok() {
                self.retries.reset();
            } else {
                tick.reset_after(self.retries.next().min(self.context.period));
                // The step may have ended before it saw them. They are remembered then.
                if has_gathered {
                    self.fresh.notify_one();
                }
            }
        }
    }

    /// Makes one step, with its span and its duration.
    async fn traced_step(&mut self, cause: Cause) -> Result<(), StepFailed> {
        let context = self.context.clone();
        let namespace = self.object.namespace().unwrap_or_default();
        let span = spans::step(&namespace, &self.object.name_any(), cause.name());
        let began = context.clock.monotonic();
        let result = self.step(cause).instrument(span.clone()).await;
        context.telemetry.record_step(context.clock.monotonic().since(began));
        spans::record_decision(&span, || self.latest_decisions());
        result
    }

    /// The latest decision of each role, for traces.
    fn latest_decisions(&self) -> String {
        let decisions = self.roles.iter().filter_map(|role| role.log.latest(role.name.as_deref()));
        decisions.collect::<Vec<_>>().join(", ")
    }

    /// Records a wake call. Returns the cause of the step that it asks for.
    fn wake(&mut self) -> Cause {
        let now = self.context.clock.monotonic();
        self.targets().for_each(|target| target.wake(now));
        cause_of_wake(self.read_at, now)
    }

    /// Returns whether fresh samples cause steps, or are remembered while a failed step waits to be
    /// tried again: not under the HPA's profile, which knows only its tick, once the first samples
    /// are there.
    fn follows_samples(&mut self) -> bool {
        let waits_for_first = self.targets().any(|target| !target.decided);
        self.context.profile == Profile::Default || waits_for_first && !self.retries.has_failed()
    }

    /// Ends the time for which samples are gathered: those that came meanwhile cause no step of
    /// their own. Returns whether any were gathered.
    fn end_gathering(&self, gathered_at: &mut Option<Monotonic>) -> bool {
        let has_gathered = gathered_at.take().is_some();
        if has_gathered {
            let _ = self.fresh.notified().now_or_never();
        }
        has_gathered
    }

    /// The time for which further samples are gathered.
    fn coalesce_window(&mut self) -> Duration {
        let pods: u32 = self.targets().map(|target| target.sources.pod_count()).sum();
        let intervals = self.targets().filter_map(|target| target.sources.interval());
        let window = coalesce_window(pods, intervals.min().unwrap_or_default());
        let waits_for_first = self.targets().any(|target| !target.decided);
        if waits_for_first { window.min(COALESCE_MAX) } else { window }
    }
}

/// Returns the time for which samples of this many pods are gathered, by their interval.
fn coalesce_window(pods: u32, interval: Duration) -> Duration {
    let share = (interval / COALESCE_PART).min(COALESCE_LONGEST);
    let others = pods.saturating_sub(1);
    let of_interval = share * others.min(COALESCE_PODS - 1) / (COALESCE_PODS - 1);
    let window = COALESCE_BASE + of_interval.max(COALESCE_PER_POD * others);
    window.min(COALESCE_MAX.max(share))
}

/// Returns the cause of a step that a wake call asks for: a flood of them reads no scales.
fn cause_of_wake(read_at: Option<Monotonic>, now: Monotonic) -> Cause {
    let is_read = read_at.is_some_and(|at| now.since(at) < WAKE_READS_EVERY);
    if is_read { Cause::Sample } else { Cause::Tick }
}

/// Returns at a time; never if there is none.
async fn wait_until(clock: Clock, at: Option<Monotonic>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(clock.monotonic())).await,
        None => future::pending().await,
    }
}

async fn pods_changed(roles: &mut [Role]) {
    let targets = roles.iter_mut().filter_map(|role| role.target.as_deref_mut());
    let changes: Vec<_> = targets.map(|target| Box::pin(target.pods_changed())).collect();
    if changes.is_empty() {
        future::pending::<()>().await;
    } else {
        future::select_all(changes).await;
    }
}

#[cfg(test)]
mod tests;
