//! The report of one role: the decision is remembered, and told by events and the status.

use kube::ResourceExt;
use llm_autoscaler_api::{
    conditions::Reason,
    messages::{MetricDescription, Step, promised_size},
};
use llm_autoscaler_core::{Now, RolePlan, WaitingOn};
use llm_autoscaler_observe::observer::Problem;
use tracing::{debug, info};

use crate::{
    drain::progress::{DrainOutcome, FinishedDrain},
    reconcile::{
        decision_label,
        decision_log::{self, Action, Entry},
        execute::RoleDone,
        role::Role,
        sight::RoleSight,
    },
    sampling::page_view::ScrapePace,
    status::{
        events,
        report::{self, RoleReport, Written},
    },
};

impl Role {
    /// Counts the decision and its samples, sets the pace of scrapes, and keeps the sources that
    /// the decision needs active.
    pub(super) fn adapt_sampling(&mut self, plan: &RolePlan, sight: &RoleSight, now: Now) {
        debug!(autoscaler = self.path(), decision = ?plan.decision, reasons = ?plan.reasons, "planned");
        let telemetry = &self.context.telemetry;
        telemetry.record_decision(decision_label::result(&plan.decision));
        let paced = matches!(plan.waits, Some(WaitingOn::Pace { .. })).then_some("paced");
        if plan.decision.rescale().is_some()
            && let Some(reason) = sight.block.metric_label().or(paced)
        {
            telemetry.record_withheld(reason);
        }
        let Some(target) = &mut self.target else { return };
        for origin in &sight.findings(plan.basis).origins {
            for (source, samples) in target.sources.list.iter().zip(&origin.samples) {
                telemetry.record_samples(source.name(), u64::from(*samples));
            }
            let first = target.sources.list.get(origin.source);
            if let Some(source) = first.filter(|_| origin.samples.iter().any(|count| *count > 0)) {
                telemetry.record_sample_age(source.name(), origin.age);
            }
        }
        if let Some(certain) = sight.observed.without_doubt(plan.basis) {
            target.sources.renew(&certain.findings.needed_sources, now.monotonic);
            target.sources.update_subscriptions(&target.replicas.reporting_pods, now.monotonic);
        }
        let observation = &sight.observed.usable.observation;
        let pace = if observation.scale.current == 0 && observation.scaled_to_zero {
            ScrapePace::AtZero
        } else if plan.near_target && target.promise.size().is_none() {
            ScrapePace::NearTarget
        } else {
            ScrapePace::Normal
        };
        target.sources.set_pace(pace, now.monotonic);
        if !plan.shrinks(sight.block.for_plan()) {
            target.workload.clear(&mut target.drain);
        }
    }

    /// Bills the time up to the decision, and remembers it with what was done about it.
    pub(super) fn record_step(
        &mut self,
        plan: &RolePlan,
        sight: &RoleSight,
        done: &RoleDone,
        now: Now,
    ) {
        if !self.recommends() {
            self.bill(plan, now);
        }
        self.record(plan, sight, done, now);
    }

    /// Reports the decision with what was done about it.
    pub(super) fn report(&mut self, plan: &RolePlan, sight: &RoleSight, done: &RoleDone, now: Now) {
        let findings = sight.findings(plan.basis);
        let problems = sight.observed.problems(plan.basis);
        let metrics = self.describe_metrics(problems);
        let Some(target) = &self.target else { return };
        let selector = target.selector_problem();
        let messages = Step {
            policy: &self.config.policy,
            decision: &plan.decision,
            metrics: &metrics,
            selector: selector.as_ref(),
        };
        let written = self.written(&messages, done);
        let failed = written.as_ref().and_then(|written| written.warning.clone());
        let warnings: Vec<_> = failed.into_iter().chain(messages.events()).collect();
        let entry = Entry {
            result: decision_label::result(&plan.decision),
            current: plan.decision.current,
            desired: plan.decision.desired(),
            limited_by: messages.limited_by(),
            action: self.action(plan, sight, done),
        };
        if let Some(left_out) = self.log.next(entry, now.monotonic) {
            self.log_decision(&entry, plan, &messages.reason(), left_out);
        }
        let report = RoleReport {
            role: self.name.as_deref(),
            generation: self.object.metadata.generation,
            config: &self.config,
            findings: &findings,
            problems,
            view: &target.view,
            messages,
            block: &sight.block,
            drain: &target.progress,
            written,
            memory: &target.memory,
            changes: self.sizes.repeated().records(),
            wedged: target.engines.wedged(),
            promise: &target.promise,
            pod_monitor: self.pod_monitor.condition().filter(|_| !self.recommends()),
        };
        self.status = report::role_status(&self.status, &report, now.wall);
        self.warn(warnings);
    }

    /// Writes the line of a changed decision, by the contract in docs/logs.md.
    fn log_decision(&self, entry: &Entry, plan: &RolePlan, reason: &str, left_out: u32) {
        info!(
            target: decision_log::TARGET,
            namespace = self.namespace(),
            name = self.object.name_any(),
            role = self.name,
            target = self.reference(),
            result = entry.result,
            current = entry.current,
            desired = entry.desired,
            proposed = decision_label::proposed(&plan.decision),
            limited_by = entry.limited_by.map(Reason::as_str),
            action = entry.action.name(),
            reason,
            left_out,
            "decided"
        );
    }

    /// Remembers the decision, and what was done about it.
    pub(super) fn record(&mut self, plan: &RolePlan, sight: &RoleSight, done: &RoleDone, now: Now) {
        let recommends = self.recommends();
        let Some(target) = &mut self.target else { return };
        let (policy, actual) = (&self.config.policy, target.view.scale.current);
        if recommends {
            let billed = target.memory.record_recommended(policy, plan, actual, now);
            self.context.telemetry.record_recommended(&billed);
            return;
        }
        let block = sight.block.for_plan();
        target.memory.record(policy, &plan.decision, block, done.written(), now);
        if let RoleDone::Failed { .. } = done {
            target.memory.record_try(now.monotonic);
        }
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

    /// Describes each metric for the texts: its name, and why it failed.
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
        let metrics = self.config.metrics.iter();
        let mut metrics: Vec<_> = metrics.map(|metric| describe(&metric.series)).collect();
        let promise = self.target.as_ref().and_then(|target| target.promise.size());
        if let Some((first, size)) = metrics.first_mut().zip(promise) {
            first.promised = Some(promised_size(size));
        }
        metrics
    }

    /// Returns the action that followed a decision.
    fn action(&self, plan: &RolePlan, sight: &RoleSight, done: &RoleDone) -> Action {
        match done {
            RoleDone::Written { .. } => Action::Written,
            RoleDone::Failed { .. } => Action::Failed,
            RoleDone::Nothing if plan.decision.rescale().is_none() => Action::None,
            RoleDone::Nothing if self.recommends() => Action::Recommended,
            RoleDone::Nothing => match (sight.block.metric_label(), &plan.waits) {
                (Some(blocked), _) => Action::Withheld(blocked),
                (None, Some(WaitingOn::Pace { .. })) => Action::Withheld("paced"),
                (None, _) => Action::Waiting,
            },
        }
    }
}
