//! One autoscaler: its state between steps, and how it follows the spec.

use std::{sync::Arc, time::Duration};

use kube::ResourceExt;
use llm_autoscaler_api::{
    LLMAutoscaler, LLMAutoscalerStatus, ParsedSpec, ScalingMode, SpecError,
    conditions::{ConditionType, Reason, status_text},
    parse_spec,
};
use llm_autoscaler_core::{Config, Monotonic, Now};
use tokio::sync::Notify;
use tracing::info;

use crate::{
    backoff::Backoff,
    cluster::pods::Following,
    http::wake::AutoscalerKey,
    metrics_api::recommendations::StepEntry,
    pace::Turn,
    reconcile::{
        context::Context, reported_step::ReportedStep, role::Role, target_state::TargetState,
        wake_call::last_wake_time,
    },
    status::{event_queue::EventQueue, warnings::Warnings, writer::StatusWriter},
    telemetry::{ConditionState, DecidedEntry, StateEntry},
};

/// The wait after a failed step; it doubles with each further failure, up to the period.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The state of one autoscaler between steps.
pub(super) struct Autoscaler {
    pub(super) context: Arc<Context>,
    pub(super) object: Arc<LLMAutoscaler>,
    /// Why its spec cannot be carried out. Its roles are those of the last spec that could.
    pub(super) problem: Option<SpecError>,
    /// Its targets.
    pub(super) roles: Vec<Role>,
    /// The configuration that steps are planned by.
    pub(super) config: Config,
    pub(super) status: StatusWriter,
    pub(super) warnings: Warnings,
    /// Its events on their way.
    events: EventQueue,
    pub(super) fresh: Arc<Notify>,
    /// The waits after steps that have failed in a row.
    pub(super) retries: Backoff,
    /// Its place in the line of its namespace, while a write waits for that.
    pub(super) turn: Turn,
    /// The time for which the pace of its namespace puts the writes of this step off.
    pub(super) paced: Option<Duration>,
    /// The time at which a write that was put off may be made.
    pub(super) put_off: Option<Monotonic>,
    /// The latest step that was reported, while it was the last one, or the steps since then said
    /// the same.
    pub(super) reported: Option<ReportedStep>,
    /// The time at which all scales were last read.
    pub(super) read_at: Option<Monotonic>,
    /// Its conditions and sizes among the operator's metrics.
    exposed: StateEntry,
    /// Its place among those that were decided on, once it has been.
    pub(super) decided: Option<DecidedEntry>,
    /// Its latest step, for the metrics API.
    latest_step: StepEntry,
    /// Keeps the pods of its namespace known.
    _pods: Following,
}

/// The difference that a newer version of the object makes.
pub(super) struct Update {
    /// A copy of the operator has recorded a wake call.
    pub(super) is_woken: bool,
    /// It asks for something else, which an annotation can do too.
    pub(super) asks_for_else: bool,
}

impl Autoscaler {
    pub(super) fn new(context: Arc<Context>, object: Arc<LLMAutoscaler>) -> Self {
        let (recorder, limiter) = (context.events.clone(), context.status.limiter.clone());
        let events = EventQueue::new(recorder, limiter, context.clock);
        let namespace = object.namespace().unwrap_or_default();
        let mut autoscaler = Self {
            _pods: context.sampling.pods.follow(&namespace),
            latest_step: context.latest_steps.add(AutoscalerKey::of(&object)),
            exposed: context.telemetry.add_autoscaler(namespace, object.name_any()),
            decided: None,
            problem: None,
            roles: Vec::new(),
            config: Config { roles: Vec::new(), shared: None },
            status: StatusWriter::new(&context.status, &object),
            warnings: Warnings::new(events.clone()),
            events,
            fresh: Arc::default(),
            retries: Backoff::new(FIRST_RETRY, context.period),
            turn: Turn::default(),
            paced: None,
            put_off: None,
            reported: None,
            read_at: None,
            context,
            object,
        };
        autoscaler.parse_spec();
        autoscaler.retire_forgotten_roles();
        autoscaler
    }

    /// Removes the PodMonitors of roles that the status names and the spec does not: it was changed
    /// while no operator ran.
    fn retire_forgotten_roles(&self) {
        let known = &self.status.status().targets;
        let had_roles = known.len() > 1;
        let recommends = self.object.spec.mode == ScalingMode::Recommend;
        if recommends || self.problem.is_some() || !had_roles && self.config.shared.is_none() {
            return;
        }
        let is_role = |name: &str| self.roles.iter().any(|role| role.name.as_deref() == Some(name));
        let forgotten =
            known.iter().map(|target| &*target.name).filter(|name| !is_role(name)).map(Some);
        // The PodMonitor of an only target, where there are several now.
        let only = self.config.shared.as_ref().map(|_| None);
        for role in forgotten.chain(only) {
            self.context.pod_monitors.delete(&self.object, role);
        }
    }

    /// Shows the conditions of a status, and the sizes of the targets, in the operator's metrics,
    /// and keeps the status for the metrics API.
    pub(super) fn expose(&self, status: &LLMAutoscalerStatus, now: Now) {
        self.latest_step.record(status, now);
        let conditions = status.conditions.iter().filter_map(|condition| {
            let type_ = ConditionType::parse(&condition.type_)?;
            let reason = Reason::parse(&condition.reason)?;
            Some(ConditionState { type_, holds: condition.status == status_text(true), reason })
        });
        self.exposed.set(conditions, self.roles.iter().filter_map(Role::sizes));
    }

    pub(super) fn targets(&mut self) -> impl Iterator<Item = &mut TargetState> {
        self.roles.iter_mut().filter_map(|role| role.target.as_deref_mut())
    }

    /// Takes over a newer version of the object.
    pub(super) fn update_object(&mut self, object: Arc<LLMAutoscaler>) -> Update {
        let changed = object.metadata.generation != self.object.metadata.generation;
        let toggled = object.is_paused() != self.object.is_paused();
        let is_woken = last_wake_time(&object) > last_wake_time(&self.object);
        self.status.observe_version(&object);
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
        // A spec that changes does not lose the call of the same version.
        if is_woken && (changed || toggled) {
            let now = self.context.clock.monotonic();
            self.targets().for_each(|target| target.wake(now));
        }
        Update { is_woken, asks_for_else: changed || toggled }
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
        // There are rarely more than one, and room for more would take as much as the rest.
        self.roles.reserve_exact(roles.len());
        for parsed in roles {
            let role = match before.iter().position(|old| old.name == parsed.name) {
                Some(known) => {
                    let mut role = before.swap_remove(known);
                    role.change_config(&self.object, parsed);
                    role
                }
                None => Role::new(
                    &self.context,
                    &self.object,
                    &self.fresh,
                    &self.events,
                    self.status.status(),
                    parsed,
                ),
            };
            self.roles.push(role);
        }
    }
}
