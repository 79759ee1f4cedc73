//! Mode `step`: whole steps of an autoscaler in time, from pods and samples to writes.
//!
//! ```text
//! spec ──parse_spec──> Config ─────────┐
//! pods, samples ─────> observe ────────┼─> plan ─> Writes
//! status, earlier steps ─> RoleMemory ─┘
//! ```
//!
//! These are the functions that the operator calls. The bookkeeping around them is here: a case
//! gives the state of the cluster, the sizes and readiness gates that a plan writes are taken over,
//! and nothing else is simulated.

mod case;
mod lookup;
mod names;
mod pods;
mod problem;
mod report;
mod samples;
mod seconds;
mod sight;
mod target;

use std::time::Duration;

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{LLMAutoscalerStatus, ParsedSpec, parse_spec};
use llm_autoscaler_core::{
    Config, Monotonic, Now, Profile, RoleMemory, RoleObservation, StepPlan, Write, plan,
};
use serde_json::{Value, json};

use self::{
    case::{Case, ProfileName, StepCase},
    problem::{Problem, line_of},
    report::RoleReport,
    sight::RoleSight,
    target::{Leaving, Target},
};
use super::answer::Answer;

/// Answers the case in `text`, which begins on this line of the input. A malformed case, and one
/// with a spec that cannot be carried out, is answered by `Err`: an error with its field and line.
pub(super) fn answer(text: &[u8], line: usize, profile: Profile) -> Result<Answer, Answer> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let case: Case = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let field = match error.path().to_string().as_str() {
            "." => String::new(),
            field => format!("{field}: "),
        };
        let error = error.into_inner();
        let line = line + error.line().saturating_sub(1);
        let error = error.to_string();
        let what = error.split(" at line ").next().unwrap_or_default();
        Answer::malformed(line, &format!("not a case: {field}{what}"))
    })?;
    let profile = case.profile.map_or(profile, |profile| match profile {
        ProfileName::Default => Profile::Default,
        ProfileName::HpaExact => Profile::HpaExact,
    });
    evaluate(&case, profile).map_err(|Problem { field, text: what }| {
        Answer::malformed(line + line_of(text, &field), &format!("not a case: {field}: {what}"))
    })
}

fn evaluate(case: &Case, profile: Profile) -> Result<Answer, Problem> {
    let spec = parse_spec(&case.spec, profile)
        .map_err(|error| Problem::new(format!("spec.{}", error.field), error.problem))?;
    let start = case.start.unwrap_or_else(beginning);
    let mut autoscaler = Autoscaler::new(spec, start);
    let mut answer = Answer::of(json!({"steps": []}));
    let mut steps = Vec::with_capacity(case.steps.len());
    for (index, step) in case.steps.iter().enumerate() {
        let status = (index == 0).then_some(&case.status);
        let (json, sentences) =
            autoscaler.step(step, status).map_err(|it| it.below(&format!("steps[{index}]")))?;
        steps.push(json);
        answer.steps.extend(sentences);
    }
    answer.json["steps"] = steps.into();
    Ok(answer)
}

/// Returns the time of `t` 0 where a case gives none, which is that of mode `timeline`.
fn beginning() -> DateTime<Utc> {
    DateTime::from_timestamp(946_684_800, 0).unwrap_or_default()
}

/// An autoscaler between steps.
struct Autoscaler {
    config: Config,
    targets: Vec<Target>,
    is_paused: bool,
    start: DateTime<Utc>,
    /// The time of the latest step.
    t: Duration,
}

/// The writes of one step, in their order.
#[derive(Default)]
struct Written {
    writes: Vec<(Write, bool)>,
    /// The writes that wait because the ratio to another role would suffer.
    waiting: Vec<Write>,
}

impl Autoscaler {
    fn new(spec: ParsedSpec, start: DateTime<Utc>) -> Self {
        Self {
            config: spec.config(),
            targets: spec.roles.into_iter().map(|role| Target::new(role, start)).collect(),
            is_paused: false,
            start,
            t: Duration::ZERO,
        }
    }

    /// Makes one step: observe, plan, execute, record. Returns its answer, as JSON and in
    /// sentences. `status` is given in the first step.
    fn step(
        &mut self,
        step: &StepCase,
        status: Option<&LLMAutoscalerStatus>,
    ) -> Result<(Value, Vec<String>), Problem> {
        let now = self.begin(step)?;
        for target in &mut self.targets {
            target.follow_pods();
            match status {
                Some(status) => target.restore(status, now),
                None => target.learn_starts(now.wall),
            }
        }
        let t = self.t.as_secs_f64();
        let Some(mut sights) = self.observe(now) else {
            let sentence = format!("t={t} waits for the first samples");
            return Ok((json!({"t": t, "waitsForSamples": true}), vec![sentence]));
        };
        let plan = self.plan(&mut sights, now);
        let plan = match step.paced_for_seconds {
            Some(wait) => plan.put_off(now.wall + wait.delta()),
            None => plan,
        };
        let written = self.execute(&plan, &sights, now.wall);
        self.record(&plan, &sights, &written, now);
        Ok(self.report(&plan, &sights, &written))
    }

    /// Takes the state of the cluster from a step. Returns the time.
    fn begin(&mut self, step: &StepCase) -> Result<Now, Problem> {
        let t = step.t.duration();
        if t < self.t {
            let before = self.t.as_secs_f64();
            return Err(Problem::new("t", format!("it is before that of the last step, {before}")));
        }
        self.t = t;
        let now = Now { wall: self.start + step.t.delta(), monotonic: Monotonic(t) };
        self.is_paused = step.paused.unwrap_or(self.is_paused);
        for (index, role) in step.roles.iter().enumerate() {
            let field = format!("roles[{index}]");
            let target = self.targets.iter_mut().find(|target| target.name == role.name);
            let target = target.ok_or_else(|| {
                let problem = match &role.name {
                    Some(_) => "the spec has no role with this name",
                    None => "the spec has roles: name one",
                };
                Problem::new(format!("{field}.name"), problem)
            })?;
            target.apply(role, now.wall).map_err(|problem| problem.below(&field))?;
        }
        match self.targets.iter().find(|target| !target.is_found()) {
            None => Ok(now),
            Some(Target { name: None, .. }) => {
                Err(Problem::new("roles", "the target has no scale in this step or before"))
            }
            Some(Target { name: Some(name), .. }) => {
                let problem = format!("the role {name} has no scale in this step or before");
                Err(Problem::new("roles", problem))
            }
        }
    }

    /// Observes all roles; `None` while the first samples of one of them are on their way.
    fn observe(&mut self, now: Now) -> Option<Vec<RoleSight>> {
        let mut sights = Vec::with_capacity(self.targets.len());
        for target in &mut self.targets {
            sights.push(target.observe(self.is_paused, now)?);
        }
        if self.config.shared.is_some() {
            for (target, sight) in self.targets.iter_mut().zip(&sights) {
                target.record_lag(sight, now.wall);
            }
        }
        Some(sights)
    }

    /// Plans the step. If a scale-down depends on a target's own object, the object is read and the
    /// plan made again.
    fn plan(&mut self, sights: &mut [RoleSight], now: Now) -> StepPlan {
        let first = self.plan_by(sights, now);
        let unread: Vec<usize> = first.needs_workload().collect();
        if unread.is_empty() {
            return first;
        }
        for role in unread {
            self.targets[role].read_workload(&mut sights[role], now.wall);
        }
        self.plan_by(sights, now)
    }

    fn plan_by(&self, sights: &[RoleSight], now: Now) -> StepPlan {
        let memory: Vec<&RoleMemory> = self.targets.iter().map(|target| &target.memory).collect();
        let observed: Vec<RoleObservation<'_>> = sights.iter().map(RoleSight::for_plan).collect();
        plan(&self.config, &memory, &observed, now)
    }

    /// Carries out the drains of a plan, and then its writes in their order.
    fn execute(&mut self, plan: &StepPlan, sights: &[RoleSight], now: DateTime<Utc>) -> Written {
        let roles = self.targets.iter_mut().zip(&plan.roles).zip(sights);
        let leaving: Vec<Leaving> =
            roles.map(|((target, plan), sight)| target.carry_out_drain(plan, sight, now)).collect();
        let (mut writes, mut written) = (plan.writes(), Written::default());
        while let Some(write) = writes.next_write() {
            let accepted = self.targets[write.role].write(write, &leaving[write.role], now);
            writes.record(write, accepted);
            written.writes.push((write, accepted));
        }
        written.waiting = writes.waiting().collect();
        written
    }

    fn record(&mut self, plan: &StepPlan, sights: &[RoleSight], written: &Written, now: Now) {
        let roles = self.targets.iter_mut().zip(&plan.roles).zip(sights);
        for (role, ((target, plan), sight)) in roles.enumerate() {
            target.record(plan, sight, written.accepted(role), now);
        }
    }

    fn report(
        &self,
        plan: &StepPlan,
        sights: &[RoleSight],
        written: &Written,
    ) -> (Value, Vec<String>) {
        let t = self.t.as_secs_f64();
        let roles = self.targets.iter().zip(sights).zip(&plan.roles);
        let reports: Vec<RoleReport<'_>> = roles
            .map(|((target, sight), plan)| RoleReport::new(target, sight, plan, self.start))
            .collect();
        let write = |write: &Write| {
            let mut out = json!({"from": write.from, "to": write.to});
            if let Some(name) = &self.targets[write.role].name {
                out["role"] = json!(name);
            }
            out
        };
        let tried = |(tried, accepted): &(Write, bool)| {
            let mut out = write(tried);
            out["accepted"] = json!(accepted);
            out
        };
        let json = json!({
            "t": t,
            "roles": reports.iter().map(RoleReport::json).collect::<Value>(),
            "writes": written.writes.iter().map(tried).collect::<Value>(),
            "waitingWrites": written.waiting.iter().map(write).collect::<Value>(),
        });
        let sentences = reports.iter().map(|report| format!("t={t} {}", report.sentences()));
        (json, sentences.collect())
    }
}

impl Written {
    /// Returns the accepted write of a role.
    fn accepted(&self, role: usize) -> Option<Write> {
        let own = self.writes.iter().find(|(write, accepted)| write.role == role && *accepted);
        own.map(|(write, _)| *write)
    }
}
