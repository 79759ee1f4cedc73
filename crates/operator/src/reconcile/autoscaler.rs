//! One autoscaler: its loop, and its step `observe → decide → scale → report`.
//!
//! A step happens on a fixed tick and at once when a fresh sample is there. Pods that come and go
//! change what is sampled, and never cause a step by themselves. Between ticks the target's scale is taken as
//! it was last read; a write is accepted only if it still is like that.
//!
//! Most autoscalers have one target. One with several roles looks at all of them, makes one decision of theirs, and writes
//! what follows from it in the order in which they stay in proportion ([`together`]).

mod deciding;
mod draining;
mod owned;
mod parent;
mod role;
mod together;

use std::{sync::Arc, time::Duration};

use futures::future;
use kube::ResourceExt;
use llm_autoscaler_api::{LLMAutoscaler, Plans, SpecError, conditions::{ConditionType, ConditionUpdate, Reason}, plans};
use llm_autoscaler_core::{Profile, SharedLimits};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use role::Role;

use crate::{pod_monitor::keeper, reconcile::{context::Context, target_state::Tracked}, status::{report, warnings::Announcer, writer::Writer}};

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
pub fn keep(
    context: Arc<Context>,
    mut objects: watch::Receiver<Arc<LLMAutoscaler>>,
) -> impl Future<Output = ()> {
    let object = objects.borrow_and_update().clone();
    // Its claims are there before anything of it runs, so that no younger one overlooks them.
    let keeper = Keeper::new(context, object);
    run(keeper, objects)
}

async fn run(mut keeper: Keeper, mut objects: watch::Receiver<Arc<LLMAutoscaler>>) {
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
                keeper.targets().for_each(Tracked::wake);
                keeper.step(Cause::Tick).await
            }
            () = pods_changed(&mut keeper.roles) => {
                keeper.roles.iter_mut().for_each(Role::follow_pods);
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

async fn pods_changed(roles: &mut [Role]) {
    let targets = roles.iter_mut().filter_map(|role| role.target.as_mut());
    let changes: Vec<_> = targets.map(|target| Box::pin(target.pods_changed())).collect();
    if changes.is_empty() {
        future::pending::<()>().await;
    } else {
        future::select_all(changes).await;
    }
}

/// An autoscaler, for the log.
fn path(object: &LLMAutoscaler) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
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
    /// What is wrong with its spec. Its roles are those of the last one that was understood.
    problem: Option<SpecError>,
    /// Its targets.
    roles: Vec<Role>,
    /// What they have in common, where there are several.
    terms: Option<SharedLimits>,
    fresh: Arc<Notify>,
    writer: Writer,
    announcer: Announcer,
    failures: u32,
}

impl Keeper {
    fn new(context: Arc<Context>, object: Arc<LLMAutoscaler>) -> Self {
        let mut keeper = Self {
            problem: None,
            roles: Vec::new(),
            terms: None,
            fresh: Arc::default(),
            writer: Writer::new(
                &context.client,
                &object,
                context.telemetry.clone(),
                context.lane.clone(),
            ),
            announcer: Announcer::new(context.events.clone(), context.lane.clone()),
            failures: 0,
            context,
            object,
        };
        keeper.understand();
        keeper.retire_forgotten();
        keeper
    }

    /// Leaves nothing behind of roles that the status tells of and the spec does not: it was changed while nobody looked.
    fn retire_forgotten(&self) {
        let told = &self.writer.status().targets;
        let had_roles = told.len() > 1;
        if self.problem.is_some() || !had_roles && self.terms.is_none() {
            return;
        }
        let has = |name: &str| self.roles.iter().any(|role| role.name.as_deref() == Some(name));
        let forgotten = told.iter().map(|target| &*target.name).filter(|name| !has(name)).map(Some);
        // That of an only target, where there are several now.
        let only = self.terms.as_ref().map(|_| None);
        for role in forgotten.chain(only) {
            keeper::retire(&self.context.client, &self.object, role);
        }
    }

    fn targets(&mut self) -> impl Iterator<Item = &mut Tracked> {
        self.roles.iter_mut().filter_map(|role| role.target.as_mut())
    }

    /// Whether fresh samples cause steps: not while a failed step waits to be tried again; and the HPA knows
    /// no other time than its tick, except that nothing can be said before the first samples.
    fn takes_samples(&mut self) -> bool {
        let waiting_for_first = self.targets().any(|target| !target.decided);
        self.failures == 0 && (self.context.profile == Profile::Default || waiting_for_first)
    }

    /// For how long other samples are waited for.
    fn together(&mut self) -> Duration {
        let pods: u32 = self.targets().map(|target| target.sources.pods()).sum();
        (TOGETHER + TOGETHER_A_POD * pods).min(TOGETHER_AT_MOST)
    }

    /// Takes over a newer version of the object; whether it asks for something else, which an annotation can do too.
    fn adopt(&mut self, object: Arc<LLMAutoscaler>) -> bool {
        let changed = object.metadata.generation != self.object.metadata.generation;
        let toggled = object.is_paused() != self.object.is_paused();
        self.object = object;
        if changed {
            info!(
                name = path(&self.object),
                generation = self.object.metadata.generation,
                "the spec has changed"
            );
            self.understand();
        } else {
            self.roles.iter_mut().for_each(|role| role.is_now(&self.object));
        }
        changed || toggled
    }

    /// Makes its roles what the spec says. What is known of those that stay is kept.
    fn understand(&mut self) {
        let Plans { roles, terms } = match plans(&self.object.spec, self.context.profile) {
            Ok(plans) => plans,
            Err(error) => {
                self.problem = Some(error);
                self.roles.iter_mut().for_each(|role| role.is_now(&self.object));
                return;
            }
        };
        (self.problem, self.terms) = (None, terms);
        let mut before = std::mem::take(&mut self.roles);
        for mut gone in before.extract_if(.., |old| roles.iter().all(|role| role.name != old.name))
        {
            gone.retire();
        }
        for plan in roles {
            let role = match before.iter().position(|old| old.name == plan.name) {
                Some(known) => {
                    let mut role = before.swap_remove(known);
                    role.adopt(&self.object, plan);
                    role
                }
                None => {
                    Role::new(&self.context, &self.object, &self.fresh, self.writer.status(), plan)
                }
            };
            self.roles.push(role);
        }
    }

    async fn step(&mut self, cause: Cause) -> Result<(), Failed> {
        if let Some(error) = &self.problem {
            let update =
                ConditionUpdate::no(ConditionType::ScalingActive, Reason::InvalidSpec, error.to_string());
            self.roles.iter_mut().for_each(Role::rest);
            self.failed(update, true).await;
            return Ok(());
        }
        if let Some(problem) = self.context.pods.problem() {
            let update = ConditionUpdate::no(ConditionType::ScalingActive, Reason::PodsUnknown, problem);
            self.failed(update, false).await;
            return Err(Failed);
        }
        let result = self.scale(cause).await;
        self.report().await;
        result
    }

    /// Looks, decides and writes.
    async fn scale(&mut self, cause: Cause) -> Result<(), Failed> {
        self.locate(|role| cause != Cause::Sample || role.is_outdated()).await?;
        for _ in 0..CONFLICTS {
            let Some(steps) = self.look_and_decide() else { return Ok(()) };
            if self.write(steps).await? {
                return Ok(());
            }
            // It is decided anew, so what a role has said is said again.
            self.roles.iter_mut().for_each(|role| role.warnings.clear());
            self.locate(Role::is_outdated).await?;
        }
        warn!(
            name = path(&self.object),
            "the target is being changed by others all the time; trying again soon"
        );
        Err(Failed)
    }

    /// Reads the scales of those targets that have to be read. One decision needs all of them.
    async fn locate(&mut self, which: impl Fn(&Role) -> bool) -> Result<(), Failed> {
        let mut roles: Vec<&mut Role> = self.roles.iter_mut().filter(|role| which(role)).collect();
        let results = future::join_all(roles.iter_mut().map(|role| role.locate())).await;
        if results.iter().all(Result::is_ok) {
            return Ok(());
        }
        let found = roles.into_iter().zip(&results).filter(|(_, result)| result.is_ok());
        found.for_each(|(role, _)| role.found());
        self.roles.iter_mut().for_each(Role::nothing_decided);
        Err(Failed)
    }

    /// The step ended before a decision: one condition says why, and nothing else changes.
    async fn failed(&mut self, update: ConditionUpdate, terminal: bool) {
        for role in &mut self.roles {
            role.failed(update.clone(), terminal);
        }
        if self.roles.is_empty() {
            self.writer.failed(&self.object, update, terminal).await;
        } else {
            self.report().await;
        }
    }

    /// Says what the step has come to.
    async fn report(&mut self) {
        let warnings =
            self.roles.iter_mut().flat_map(|role| std::mem::take(&mut role.warnings)).collect();
        self.announcer.warn(&self.object, warnings);
        let roles: Vec<_> =
            self.roles.iter().map(|role| (role.name.as_deref(), &role.status)).collect();
        let status = report::merged(self.writer.status(), &self.object, &roles, chrono::Utc::now());
        self.writer.write(&self.object, status).await;
    }
}
