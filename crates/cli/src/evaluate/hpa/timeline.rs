//! Mode `timeline`: whole steps through virtual time, in the cluster of the oracle.
//!
//! A step is planned by [`plan`], as in the operator; around it is what the HPA's controller does.

use std::rc::Rc;

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{
    conditions::ConditionType,
    messages::{MetricDescription, Step, failed_get_scale, failed_get_scale_error, got_scale},
};
use llm_autoscaler_core::{
    Config, Decision, DrainObservation, History, Mode, Monotonic, Now, Observation, Outcome,
    Profile, Reading, ReplicaCounts, ReplicaState, RoleConfig, RoleMemory, RoleObservation, Scale,
    Selector, StepPlan, Write, WriteBlock, plan,
};
use serde_json::{Value, json};

use super::{
    history::HistoryCase,
    scenario::{Timeline, TimelineCase, WorldStep},
    settings::SettingsCase,
    spec::ParsedHpa,
    status::{Reconciled, Status},
    world::World,
};
use crate::evaluate::{
    answer::{Answer, Unsupported},
    explain,
    fields::seconds,
};

/// Answers a case of mode `timeline`.
pub(super) fn answer(
    case: &TimelineCase,
    history: &HistoryCase,
    settings: &SettingsCase,
    profile: Profile,
) -> Result<Answer, Unsupported> {
    let timeline =
        case.timeline.as_ref().ok_or_else(|| Unsupported::new("a timeline without a timeline"))?;
    if !matches!(timeline.engine.as_str(), "" | "reconcile") {
        return Err(Unsupported::new(format!("engine {}", timeline.engine)));
    }
    let start = start();
    let mut run = Run {
        settings,
        profile,
        hpa: Rc::new(timeline.spec.parse(settings, profile)?),
        generation: 1,
        memory: RoleMemory { history: history.at(start), ..RoleMemory::default() },
        status: Status::new(&timeline.initial_status),
        world: World::new(timeline, start),
        start,
        now: start,
    };
    run.through(timeline)
}

/// Returns the time at which virtual time begins, as in the oracle's bubble.
fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(946_684_800, 0).unwrap_or_default()
}

struct Run<'a> {
    settings: &'a SettingsCase,
    profile: Profile,
    /// The parsed spec. It is shared, because a step borrows it while the rest changes.
    hpa: Rc<ParsedHpa>,
    generation: i64,
    memory: RoleMemory,
    status: Status,
    world: World<'a>,
    start: DateTime<Utc>,
    now: DateTime<Utc>,
}

impl<'a> Run<'a> {
    fn through(&mut self, timeline: &'a Timeline) -> Result<Answer, Unsupported> {
        let (mut steps, mut explanations): (Vec<Value>, Vec<String>) = Default::default();
        for step in &timeline.steps {
            self.now = self.now.max(self.start + seconds(step.t));
            self.apply(step)?;
            if step.no_reconcile {
                continue;
            }
            let before = self.world.replicas;
            let reconciled = self.reconcile();
            explanations.push(format!("t={} {}", step.t, reconciled.explanation));
            let after = self.world.replicas;
            steps.push(self.status.snapshot(step.t, (before, after), &reconciled, self.start));
        }
        Ok(Answer { json: json!({"steps": steps}), steps: explanations })
    }

    fn apply(&mut self, step: &'a WorldStep) -> Result<(), Unsupported> {
        self.world.apply(step, self.now);
        if let Some(spec) = &step.spec {
            self.generation += 1;
            self.hpa = Rc::new(spec.parse(self.settings, self.profile)?);
        }
        if step.restart {
            let record = self.memory.history.snapshot();
            self.memory.history =
                History::restore(&record, &self.hpa.policy, self.world.replicas, self.now);
        }
        Ok(())
    }

    /// Makes one step: reads the scale, plans, writes the scale, and reports it.
    fn reconcile(&mut self) -> Reconciled {
        let now = self.now;
        if let Some(error) = self.world.get_scale_error.clone() {
            return self.without_scale(&error);
        }
        self.status.set(got_scale(), now);

        let hpa = Rc::clone(&self.hpa);
        let (observation, metrics) = self.observe();
        let plan = self.plan(&observation);
        let decision = &plan.roles[0].decision;
        self.memory.history.record(&hpa.policy, decision, now);

        let problem = self.world.selector_problem();
        let step =
            Step { policy: &hpa.policy, decision, metrics: &metrics, selector: problem.as_ref() };
        self.status.set_all(step.conditions(), now);
        let mut reconciled = Reconciled {
            events: step.events(),
            error: step.error(&hpa.reference),
            scaled: false,
            explanation: explain::step(&step),
        };
        if decision.outcome == Outcome::Disabled && !hpa.policy.settings.scale_to_zero {
            self.status.remove(ConditionType::ScaledToZero);
        }
        let write = plan.writes().next_write();
        let scaled = write.map(|write| self.scale(&step, &mut reconciled, write));
        self.report(decision, scaled);
        reconciled
    }

    fn without_scale(&mut self, error: &str) -> Reconciled {
        let (condition, event) = failed_get_scale(error);
        self.status.set(condition, self.now);
        let error = failed_get_scale_error(&self.hpa.reference, error);
        Reconciled {
            events: vec![event],
            explanation: error.clone(),
            error: Some(error),
            scaled: false,
        }
    }

    fn observe(&self) -> (Observation, Vec<MetricDescription>) {
        let pods = self.world.selected_pods(self.now);
        let mut descriptions = self.hpa.metrics.clone();
        let metrics = self.hpa.policy.metrics.iter().zip(&mut descriptions);
        let readings: Vec<Reading> = metrics
            .map(|(metric, description)| {
                let (reading, error) =
                    self.world.read(metric.kind, &description.name, &pods, self.now);
                description.error = error;
                reading
            })
            .collect();
        let observation = Observation {
            scale: Scale { current: self.world.replicas, status: self.world.status_replicas() },
            selector: if self.world.selector_problem().is_some() {
                Selector::Invalid
            } else {
                Selector::Valid
            },
            scaled_to_zero: self.status.holds(ConditionType::ScaledToZero),
            replicas: pods.replicas(),
            readings,
            promised: None,
            doubt: None,
            woken: false,
        };
        (observation, descriptions)
    }

    /// Plans the step of an autoscaler with one target that does not drain.
    fn plan(&self, observation: &Observation) -> StepPlan {
        let policy = self.hpa.policy.clone();
        let role = RoleConfig { policy, gpus: 0, drain_deadline: None, mode: Mode::Scale };
        let config = Config { roles: vec![role], shared: None };
        let states: Vec<ReplicaState> =
            observation.replicas.iter().copied().map(ReplicaState::new).collect();
        let observed = RoleObservation {
            usable: observation,
            beyond_doubt: None,
            states: &states,
            counts: ReplicaCounts::default(),
            block: WriteBlock::default(),
            drain: DrainObservation::default(),
        };
        let now = Now { wall: self.now, monotonic: Monotonic::default() };
        plan(&config, &[&self.memory], &[observed], now)
    }

    /// Writes the scale. Returns whether the write succeeded.
    fn scale(&mut self, step: &Step<'_>, reconciled: &mut Reconciled, write: Write) -> bool {
        let Write { from, to, .. } = write;
        let error = self.world.update_scale_error.clone();
        let result = error.as_deref().map_or(Ok(()), Err);
        let written = step.after_write(&self.hpa.reference, to, result);
        self.status.set_all(written.conditions, self.now);
        reconciled.events.push(written.event);
        reconciled.error = written.error.or(reconciled.error.take());
        reconciled.scaled = result.is_ok();
        if reconciled.scaled {
            self.memory.history.record_scale(step.policy, from, to, self.now);
            self.world.scale(to, self.now);
            if !step.policy.settings.scale_to_zero {
                self.status.remove(ConditionType::ScaledToZero);
            }
        }
        reconciled.scaled
    }

    /// Sets the numbers of the status. After a failed write, or without a number, the desired one
    /// stays as it was.
    fn report(&mut self, decision: &Decision, scaled: Option<bool>) {
        self.status.current = decision.current;
        self.status.observed_generation = Some(self.generation);
        if scaled == Some(false) {
            return;
        }
        if let Some(desired) = decision.desired() {
            self.status.desired = desired;
        }
        if scaled == Some(true) {
            self.status.last_scale_time = Some(self.now);
        }
    }
}
