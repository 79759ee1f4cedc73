//! The whole step through virtual time: what the HPA's controller does around a decision, in the world of the
//! oracle.

use std::rc::Rc;

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{
    conditions::ConditionType,
    messages::{
        EventMessage, MetricDescription, Step, failed_get_scale, failed_get_scale_error, got_scale,
    },
};
use llm_autoscaler_core::{
    Decision, History, Observation, Outcome, Profile, Reading, Scale, Selector, decide,
};
use serde_json::Value;

use super::{
    Unsupported, behavior, explain,
    input::{Case, Timeline, WorldStep, seconds},
    spec::ParsedCase,
    status::Status,
    world::World,
};

/// The steps of a timeline: as the oracle tells them, and for people.
pub(super) struct Told {
    pub(super) steps: Vec<Value>,
    pub(super) explanations: Vec<String>,
}

/// Answers a case of mode `timeline`.
pub(super) fn answer(case: &Case, profile: Profile) -> Result<Told, Unsupported> {
    let timeline =
        case.timeline.as_ref().ok_or_else(|| Unsupported::new("a timeline without a timeline"))?;
    if !matches!(timeline.engine.as_str(), "" | "reconcile") {
        return Err(Unsupported::new(format!("engine {}", timeline.engine)));
    }
    let start = start();
    let mut run = Run {
        case,
        profile,
        plan: Rc::new(timeline.spec.parse(case, profile)?),
        generation: 1,
        history: behavior::history(case, start),
        status: Status::new(&timeline.initial_status),
        world: World::new(timeline, start),
        start,
        now: start,
    };
    run.through(timeline)
}

/// When virtual time begins, as in the oracle's bubble.
fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(946_684_800, 0).unwrap_or_default()
}

struct Run<'a> {
    case: &'a Case,
    profile: Profile,
    /// Shared, because a step borrows it while the rest changes.
    plan: Rc<ParsedCase>,
    generation: i64,
    history: History,
    status: Status,
    world: World<'a>,
    start: DateTime<Utc>,
    now: DateTime<Utc>,
}

/// What one reconcile left behind beside the status.
#[derive(Default)]
pub(super) struct Reconciled {
    pub(super) events: Vec<EventMessage>,
    pub(super) error: Option<String>,
    pub(super) scaled: bool,
    pub(super) explanation: String,
}

impl<'a> Run<'a> {
    fn through(&mut self, timeline: &'a Timeline) -> Result<Told, Unsupported> {
        let mut told = Told { steps: Vec::new(), explanations: Vec::new() };
        for step in &timeline.steps {
            self.now = self.now.max(self.start + seconds(step.t));
            self.apply(step)?;
            if step.no_reconcile {
                continue;
            }
            let before = self.world.replicas;
            let reconciled = self.reconcile();
            told.explanations.push(format!("t={} {}", step.t, reconciled.explanation));
            let after = self.world.replicas;
            told.steps.push(self.status.snapshot(step.t, (before, after), &reconciled, self.start));
        }
        Ok(told)
    }

    fn apply(&mut self, step: &'a WorldStep) -> Result<(), Unsupported> {
        self.world.apply(step, self.now);
        if let Some(spec) = &step.spec {
            self.generation += 1;
            self.plan = Rc::new(spec.parse(self.case, self.profile)?);
        }
        if step.restart {
            let record = self.history.snapshot();
            self.history =
                History::restore(&record, &self.plan.policy, self.world.replicas, self.now);
        }
        Ok(())
    }

    /// One reconcile: read the scale, decide, write it, say so.
    fn reconcile(&mut self) -> Reconciled {
        let now = self.now;
        if let Some(error) = self.world.get_scale_error.clone() {
            return self.without_scale(&error);
        }
        self.status.set(got_scale(), now);

        let plan = Rc::clone(&self.plan);
        let (observation, metrics) = self.observe();
        let decision = decide(&plan.policy, &self.history, &observation, now);
        self.history.record(&plan.policy, &decision, now);

        let problem = self.world.selector_problem();
        let step = Step {
            policy: &plan.policy,
            decision: &decision,
            metrics: &metrics,
            selector: problem.as_ref(),
        };
        self.status.set_all(step.conditions(), now);
        let mut reconciled = Reconciled {
            events: step.events(),
            error: step.error(&plan.reference),
            scaled: false,
            explanation: explain::step(&step),
        };
        if decision.outcome == Outcome::Disabled && !plan.policy.settings.scale_to_zero {
            self.status.remove(ConditionType::ScaledToZero);
        }
        let scaled =
            decision.rescale().map(|replicas| self.scale(&step, &mut reconciled, replicas));
        self.report(&decision, scaled);
        reconciled
    }

    fn without_scale(&mut self, error: &str) -> Reconciled {
        let (condition, event) = failed_get_scale(error);
        self.status.set(condition, self.now);
        let error = failed_get_scale_error(&self.plan.reference, error);
        Reconciled {
            events: vec![event],
            explanation: error.clone(),
            error: Some(error),
            scaled: false,
        }
    }

    fn observe(&self) -> (Observation, Vec<MetricDescription>) {
        let pods = self.world.selected_pods(self.now);
        let mut words = self.plan.metrics.clone();
        let metrics = self.plan.policy.metrics.iter().zip(&mut words);
        let readings: Vec<Reading> = metrics
            .map(|(metric, words)| {
                let (reading, error) = self.world.read(metric.kind, &words.name, &pods, self.now);
                words.error = error;
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
            doubt: None,
            woken: false,
        };
        (observation, words)
    }

    /// Writes the scale; whether that went well.
    fn scale(&mut self, step: &Step<'_>, reconciled: &mut Reconciled, replicas: i32) -> bool {
        let error = self.world.update_scale_error.clone();
        let result = error.as_deref().map_or(Ok(()), Err);
        let written = step.after_write(&self.plan.reference, replicas, result);
        self.status.set_all(written.conditions, self.now);
        reconciled.events.push(written.event);
        reconciled.error = written.error.or(reconciled.error.take());
        reconciled.scaled = result.is_ok();
        if reconciled.scaled {
            self.history.record_scale(step.policy, self.world.replicas, replicas, self.now);
            self.world.scale(replicas, self.now);
            if !step.policy.settings.scale_to_zero {
                self.status.remove(ConditionType::ScaledToZero);
            }
        }
        reconciled.scaled
    }

    /// The numbers of the status. A write that failed, or no number at all, leaves the desired one as it was.
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
