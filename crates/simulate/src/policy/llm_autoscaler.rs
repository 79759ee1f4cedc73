//! This project's autoscaler: the observing and planning of the operator, by a spec.
//!
//! Only what stands around them is made here: pages are read as the operator's scrapes do, and the
//! writes of a plan are taken over.

mod drain;
mod gateway;
mod pages;
mod pods;
mod reason;
mod record;
mod role;
mod sources;
mod spec;

use std::{slice, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::LLMAutoscalerSpec;
use llm_autoscaler_core::{
    Config, Monotonic, Now, Profile, RoleMemory, RoleObservation, StepPlan, Write, plan,
};

use self::{
    record::Record,
    role::{Role, RoleSight},
    sources::Sources,
};
use super::{Autoscaler, RoleAutoscaler, Step, Timing};
use crate::{error::SimulateError, sight::Sight};

/// The operator's longest time between two decisions, in seconds.
const SYNC_PERIOD: f64 = 15.0;
/// The share of the interval after which a metric near its target is scraped again.
const NEAR_TARGET: f64 = 0.25;
/// The shortest time until that scrape, in seconds.
const SHORTEST_INTERVAL: f64 = 0.5;

/// An `LLMAutoscaler` with this spec.
#[derive(Debug)]
pub struct Spec {
    simulated: LLMAutoscalerSpec,
    config: Config,
    /// Its roles: prefill and decode, or one without a name.
    roles: Vec<Role>,
    profile: Profile,
    interval: f64,
    notes: Vec<String>,
    record: Record,
}

impl Spec {
    /// Returns an autoscaler with this spec. `delay` is the time that pages take to arrive, in
    /// seconds: for so long older samples than usual are good.
    ///
    /// # Errors
    /// Fails if the spec is not valid, or has something that is not simulated.
    pub fn new(
        spec: &LLMAutoscalerSpec,
        profile: Profile,
        delay: f64,
    ) -> Result<Self, SimulateError> {
        let simulated = spec::simulated(spec, profile)?;
        let (interval, timeout) = (simulated.interval, simulated.timeout);
        let roles = simulated.roles.into_iter().map(|role| {
            let sources = Sources::new(&role.target, interval, timeout, delay);
            Role::new(role, sources)
        });
        Ok(Self {
            roles: roles.collect(),
            config: simulated.config,
            profile,
            interval: interval.as_secs_f64(),
            notes: simulated.notes,
            record: Record::default(),
            simulated: simulated.spec,
        })
    }

    /// Sets the tokens of the engines' KV caches. With `slo` they are needed to learn the engines;
    /// without them the requests in flight decide.
    #[must_use]
    pub fn with_kv_cache(mut self, tokens: u64) -> Self {
        self.roles.iter_mut().for_each(|role| role.sources.set_kv_tokens(tokens));
        self
    }

    /// Returns sentences on what of the spec is simulated in another way.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the spec as it is simulated.
    pub fn simulated(&self) -> &LLMAutoscalerSpec {
        &self.simulated
    }

    /// Returns true if it has the roles prefill and decode, so that it scales two pools.
    pub fn has_roles(&self) -> bool {
        self.roles.len() > 1
    }

    /// Has each step sent to a receiver before it is decided, in the format of a case of
    /// `llm-autoscaler evaluate`. A case of the [simulated](Self::simulated) spec with these steps
    /// has the answers of this autoscaler, unless its clock is set meanwhile.
    pub fn record_steps(&mut self, receiver: Box<dyn FnMut(serde_json::Value)>) {
        self.record = Record::to(receiver);
    }

    /// Makes one step of all roles. There is a sight for each of them.
    fn steps(&mut self, sights: &[Sight<'_>]) -> Vec<Step> {
        let nothing = vec![Step::default(); sights.len()];
        let Some(now) = sights.first().map(time) else { return nothing };
        let records = self.record.is_there();
        let roles = self.roles.iter_mut().zip(sights);
        let mut observed: Vec<RoleSight> =
            roles.map(|(role, sight)| role.observe(sight, records, now)).collect();
        self.record.add(now, observed.iter_mut().filter_map(|sight| sight.case.take()));
        if observed.iter().any(|sight| sight.waits) {
            let waiting = self.roles.iter_mut().zip(&observed).filter(|(_, sight)| sight.waits);
            waiting.for_each(|(role, _)| role.memory.await_samples());
            return nothing;
        }
        if self.config.shared.is_some() {
            let roles = self.roles.iter_mut().zip(&observed);
            roles.for_each(|(role, sight)| role.record_lag(sight, now));
        }
        let plan = self.plan(&observed, now);
        let mut writes = plan.writes();
        let mut written: Vec<Option<Write>> = vec![None; self.roles.len()];
        while let Some(write) = writes.next_write() {
            writes.record(write, true);
            written[write.role] = Some(write);
        }
        let roles = self.roles.iter_mut().zip(&plan.roles).zip(observed.iter().zip(written));
        let mut steps: Vec<Step> = roles
            .map(|((role, plan), (sight, written))| role.carry_out(plan, sight, written, now))
            .collect();
        let is_near = plan.roles.iter().any(|role| role.near_target);
        if is_near && self.profile != Profile::HpaExact {
            let near = (self.interval * NEAR_TARGET).max(SHORTEST_INTERVAL).min(self.interval);
            for step in &mut steps {
                step.scrape_in = Some(near);
            }
        }
        steps
    }

    fn plan(&self, sights: &[RoleSight], now: Now) -> StepPlan {
        let memory: Vec<&RoleMemory> = self.roles.iter().map(|role| &role.memory).collect();
        let observed: Vec<RoleObservation<'_>> = sights.iter().map(RoleSight::for_plan).collect();
        plan(&self.config, &memory, &observed, now)
    }

    fn times(&self) -> Timing {
        Timing {
            scrape_every: self.interval,
            decide_every: SYNC_PERIOD,
            decides_on_scrapes: self.profile != Profile::HpaExact,
        }
    }

    fn has_gateway(&self) -> bool {
        self.roles.iter().any(|role| role.sources.has_gateway())
    }
}

impl Autoscaler for Spec {
    fn timing(&self) -> Timing {
        self.times()
    }

    fn reads_gateway(&self) -> bool {
        self.has_gateway()
    }

    fn step(&mut self, sight: &Sight<'_>) -> Step {
        self.steps(slice::from_ref(sight)).pop().unwrap_or_default()
    }
}

impl RoleAutoscaler for Spec {
    fn timing(&self) -> Timing {
        self.times()
    }

    fn reads_gateway(&self) -> bool {
        self.has_gateway()
    }

    fn step(&mut self, sights: &[Sight<'_>]) -> Vec<Step> {
        self.steps(sights)
    }
}

/// Returns the time of a step.
fn time(sight: &Sight<'_>) -> Now {
    Now {
        wall: wall(sight.now + sight.clock_ahead),
        monotonic: Monotonic(Duration::try_from_secs_f64(sight.now).unwrap_or_default()),
    }
}

/// Returns the time of day at so many seconds since the start: 2000-01-01, as in `evaluate`.
fn wall(seconds: f64) -> DateTime<Utc> {
    let start = DateTime::from_timestamp(946_684_800, 0).unwrap_or_default();
    start + TimeDelta::microseconds((seconds * 1e6).round() as i64)
}
