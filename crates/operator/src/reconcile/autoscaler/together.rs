//! One decision for all roles, and the order of what is written.

use chrono::Utc;
use llm_autoscaler_core::{Decision, RoleDemand, coordinate, next_write};

use crate::{observe::observer::Seen, scale::client::TargetError};
use crate::{
    reconcile::autoscaler::Failed, reconcile::autoscaler::Keeper, reconcile::autoscaler::role::Role,
};

/// What was seen of one role, and what follows from it.
pub(super) struct RoleStep {
    pub(super) seen: Seen,
    pub(super) decision: Decision,
}

impl Keeper {
    /// The pure part: what is seen, and what follows from it. `None` while the first samples are on their way.
    pub(super) fn look_and_decide(&mut self) -> Option<Vec<RoleStep>> {
        let steps: Option<Vec<RoleStep>> =
            self.roles.iter_mut().map(Role::look_and_decide).collect();
        let mut steps = steps?;
        if let Some(terms) = &self.terms {
            let parts: Vec<RoleDemand> = self
                .roles
                .iter_mut()
                .zip(&steps)
                .map(|(role, step)| role.part(&step.decision))
                .collect();
            for (step, size) in steps.iter_mut().zip(coordinate(terms, &parts)) {
                step.decision.apply_coordination(size);
            }
        }
        Some(steps)
    }

    /// Writes what can be written now, and reports; whether that was all. It is not where somebody else has changed a target:
    /// what was decided then is void, and nothing more of it is written.
    pub(super) async fn write(&mut self, mut steps: Vec<RoleStep>) -> Result<bool, Failed> {
        let mut now = Vec::with_capacity(steps.len());
        for (role, step) in self.roles.iter_mut().zip(&mut steps) {
            now.push(role.size_to_write(step).await);
        }
        let mut sizes: Vec<i32> = steps.iter().map(|step| step.decision.current).collect();
        let goal: Vec<i32> =
            self.roles.iter().zip(&steps).map(|(role, step)| role.goal(&step.decision)).collect();
        let (mut result, mut told) = (Ok(true), vec![false; steps.len()]);
        while let Some((index, to)) = self.next(&sizes, &goal, &now) {
            let (role, RoleStep { seen, decision }) = (&mut self.roles[index], &steps[index]);
            let written = role.write(decision, to).await;
            if matches!(written, Err(TargetError::Conflict)) {
                return Ok(false);
            }
            role.remember(decision);
            if role.written(seen, decision, to, written).is_ok() {
                sizes[index] = to;
            } else {
                result = Err(Failed);
            }
            (now[index], told[index]) = (None, true);
        }
        for (index, RoleStep { seen, decision }) in
            steps.iter().enumerate().filter(|(index, _)| !told[*index])
        {
            let role = &mut self.roles[index];
            if let (Some(to), Some(target)) = (now[index], &mut role.target) {
                target.drain.waits_for_role((decision.current, to));
            }
            role.remember(decision);
            role.report(seen, decision, None);
        }
        result
    }

    /// The next role to write, and its size.
    fn next(&self, sizes: &[i32], goal: &[i32], now: &[Option<i32>]) -> Option<(usize, i32)> {
        let next = match &self.terms {
            Some(terms) => next_write(terms, sizes, goal, now)?,
            None => now.iter().position(Option::is_some)?,
        };
        Some((next, now[next]?))
    }
}

impl Role {
    /// What the other roles have to know of it.
    fn part(&mut self, decision: &Decision) -> RoleDemand {
        let now = Utc::now();
        let Some(target) = &self.target else { return RoleDemand::default() };
        let (policy, history) = (&self.plan.policy, &target.history);
        let fixed = self.restraint.respected.is_some();
        let coming = target.replicas.coming(now, target.start_ups.startup_timeout()) as i32;
        RoleDemand {
            existing: target.replicas.taking(decision.current),
            lagging: self.lag.observe((decision.current - coming).max(0), now),
            gpus: self.gpus,
            ..RoleDemand::new(policy, history, decision, fixed, now)
        }
    }

    /// The size that it is to have when everything is written that can be written at once; that which it has while something keeps us
    /// from it.
    fn goal(&self, decision: &Decision) -> i32 {
        let free = self.restraint.first().is_none();
        let (current, wanted) = (decision.current, decision.desired().filter(|_| free));
        let drain =
            self.target.as_ref().filter(|_| self.plan.drain.is_some()).map(|target| &target.drain);
        match (wanted, drain) {
            (Some(wanted), Some(drain)) if wanted < current => drain.aim((current, wanted)),
            (wanted, _) => wanted.unwrap_or(current),
        }
    }
}
