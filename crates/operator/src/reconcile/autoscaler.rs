//! One autoscaler: its state between steps, and the loop that causes them.
//!
//! A step happens on a fixed tick, and at once when a fresh sample is there. Pods that come and go change what is sampled, and
//! never cause a step by themselves. Between ticks a target's scale is taken as it was last read; a write is accepted only if it
//! still is like that.

use std::{sync::Arc, time::Duration};

use futures::future;
use kube::ResourceExt;
use llm_autoscaler_api::{LLMAutoscaler, ParsedSpec, SpecError, parse_spec};
use llm_autoscaler_core::{Config, Profile};
use tokio::sync::{Notify, watch};
use tracing::info;

use crate::{
    pod_monitor::keeper,
    reconcile::{context::Context, role::Role, step::Cause, target_state::TargetState},
    status::{warnings::Warnings, writer::StatusWriter},
};

/// Samples that arrive within this time of each other make one step.
const COALESCE_BASE: Duration = Duration::from_millis(10);
/// What each pod adds to that time, so that a target of a thousand pods is not decided upon at each of their samples.
const COALESCE_PER_POD: Duration = Duration::from_micros(200);
/// The longest time for which samples are gathered.
const COALESCE_MAX: Duration = Duration::from_millis(100);
/// The wait after a failed step; it doubles with each further failure, up to the period.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The state of one autoscaler between steps.
pub struct Autoscaler {
    pub(super) context: Arc<Context>,
    pub(super) object: Arc<LLMAutoscaler>,
    /// Why its spec cannot be carried out. Its roles are those of the last spec that could.
    pub(super) problem: Option<SpecError>,
    /// Its targets.
    pub(super) roles: Vec<Role>,
    /// What the plan of a step is made by.
    pub(super) config: Config,
    pub(super) status: StatusWriter,
    pub(super) warnings: Warnings,
    fresh: Arc<Notify>,
    /// The number of steps that have failed in a row.
    failures: u32,
}

/// Runs one autoscaler until its object is gone. `objects` carries every version of it.
pub fn run(
    context: Arc<Context>,
    mut objects: watch::Receiver<Arc<LLMAutoscaler>>,
) -> impl Future<Output = ()> {
    let object = objects.borrow_and_update().clone();
    // Its claims are there before anything of it runs, so that no younger autoscaler overlooks them.
    let autoscaler = Autoscaler::new(context, object);
    autoscaler.run(objects)
}

impl Autoscaler {
    fn new(context: Arc<Context>, object: Arc<LLMAutoscaler>) -> Self {
        let mut autoscaler = Self {
            problem: None,
            roles: Vec::new(),
            config: Config { roles: Vec::new(), shared: None },
            status: StatusWriter::new(
                &context.client,
                &object,
                context.telemetry.clone(),
                context.limiter.clone(),
            ),
            warnings: Warnings::new(context.events.clone(), context.limiter.clone()),
            fresh: Arc::default(),
            failures: 0,
            context,
            object,
        };
        autoscaler.parse_spec();
        autoscaler.retire_forgotten_roles();
        autoscaler
    }

    async fn run(mut self, mut objects: watch::Receiver<Arc<LLMAutoscaler>>) {
        let mut wake = self.context.wake.listen(&self.object);
        let mut tick = tokio::time::interval(self.context.period);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let steps_on_samples = self.steps_on_samples();
            let cause = tokio::select! {
                _ = tick.tick() => Cause::Tick,
                changed = objects.changed() => {
                    let Ok(()) = changed else { return };
                    let object = objects.borrow_and_update().clone();
                    if !self.update_object(object) {
                        continue;
                    }
                    Cause::Spec
                }
                () = self.fresh.notified(), if steps_on_samples => {
                    tokio::time::sleep(self.coalesce_window()).await;
                    Cause::Sample
                }
                () = wake.called() => {
                    let now = self.context.clock.monotonic();
                    self.targets().for_each(|target| target.wake(now));
                    Cause::Tick
                }
                () = pods_changed(&mut self.roles) => {
                    let now = self.context.clock.now();
                    self.roles.iter_mut().for_each(|role| role.follow_pods(now));
                    continue;
                }
            };
            match self.step(cause).await {
                Ok(()) => self.failures = 0,
                Err(_) => {
                    let wait = FIRST_RETRY * 2_u32.saturating_pow(self.failures.min(10));
                    self.failures += 1;
                    tick.reset_after(wait.min(self.context.period));
                }
            }
        }
    }

    /// Removes the PodMonitors of roles that the status names and the spec does not: it was changed while no operator ran.
    fn retire_forgotten_roles(&self) {
        let known = &self.status.status().targets;
        let had_roles = known.len() > 1;
        if self.problem.is_some() || !had_roles && self.config.shared.is_none() {
            return;
        }
        let is_role = |name: &str| self.roles.iter().any(|role| role.name.as_deref() == Some(name));
        let forgotten =
            known.iter().map(|target| &*target.name).filter(|name| !is_role(name)).map(Some);
        // The PodMonitor of an only target, where there are several now.
        let only = self.config.shared.as_ref().map(|_| None);
        for role in forgotten.chain(only) {
            keeper::retire(&self.context.client, &self.object, role);
        }
    }

    fn targets(&mut self) -> impl Iterator<Item = &mut TargetState> {
        self.roles.iter_mut().filter_map(|role| role.target.as_mut())
    }

    /// Returns whether fresh samples cause steps: not while a failed step waits to be tried again, and not under the HPA's profile,
    /// which knows only its tick, once the first samples are there.
    fn steps_on_samples(&mut self) -> bool {
        let waits_for_first = self.targets().any(|target| !target.decided);
        self.failures == 0 && (self.context.profile == Profile::Default || waits_for_first)
    }

    /// The time for which further samples are gathered.
    fn coalesce_window(&mut self) -> Duration {
        let pods: u32 = self.targets().map(|target| target.sources.pods()).sum();
        (COALESCE_BASE + COALESCE_PER_POD * pods).min(COALESCE_MAX)
    }

    /// Takes over a newer version of the object. Returns whether it asks for something else, which an annotation can do too.
    fn update_object(&mut self, object: Arc<LLMAutoscaler>) -> bool {
        let changed = object.metadata.generation != self.object.metadata.generation;
        let toggled = object.is_paused() != self.object.is_paused();
        self.object = object;
        if changed {
            info!(
                namespace = self.object.namespace(),
                name = self.object.name_any(),
                generation = self.object.metadata.generation,
                "the spec has changed"
            );
            self.parse_spec();
        } else {
            self.roles.iter_mut().for_each(|role| role.set_object(&self.object));
        }
        changed || toggled
    }

    /// Makes its roles what the spec says. What is known of those that stay is kept.
    fn parse_spec(&mut self) {
        let parsed = match parse_spec(&self.object.spec, self.context.profile) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.problem = Some(error);
                self.roles.iter_mut().for_each(|role| role.set_object(&self.object));
                return;
            }
        };
        self.problem = None;
        self.config = parsed.config();
        let ParsedSpec { roles, .. } = parsed;
        let mut before = std::mem::take(&mut self.roles);
        for mut gone in before.extract_if(.., |old| roles.iter().all(|role| role.name != old.name))
        {
            gone.retire();
        }
        for plan in roles {
            let role = match before.iter().position(|old| old.name == plan.name) {
                Some(known) => {
                    let mut role = before.swap_remove(known);
                    role.change_plan(&self.object, plan);
                    role
                }
                None => {
                    Role::new(&self.context, &self.object, &self.fresh, self.status.status(), plan)
                }
            };
            self.roles.push(role);
        }
    }
}

async fn pods_changed(roles: &mut [Role]) {
    let targets = roles.iter_mut().filter_map(|role| role.target.as_mut());
    let changes: Vec<_> = targets.map(|target| Box::pin(target.pods_changed())).collect();
    if changes.is_empty() {
        future::pending::<()>().await;
    } else {
        future::select_all(changes).await;
    }
}
