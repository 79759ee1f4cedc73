//! The writes of a step, one after the other: each is chosen by the plan, given how the ones before
//! it went.

use super::StepPlan;
use crate::coordinate::next_write;

/// One write of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// The place of the role.
    pub role: usize,
    /// The size that was decided upon.
    pub from: i32,
    /// The size to write.
    pub to: i32,
}

/// The writes of a step that have not been tried yet.
#[derive(Clone, Debug)]
pub struct Writes<'a> {
    plan: &'a StepPlan,
    /// The sizes as they are, by the writes so far.
    sizes: Vec<i32>,
    goal: Vec<i32>,
    /// The sizes that can be written at once, of the roles that have not been tried.
    writable: Vec<Option<i32>>,
}

impl<'a> Writes<'a> {
    pub(super) fn new(plan: &'a StepPlan) -> Self {
        Self {
            sizes: plan.roles.iter().map(|role| role.decision.current).collect(),
            goal: plan.roles.iter().map(|role| role.goal).collect(),
            writable: plan.roles.iter().map(|role| role.write).collect(),
            plan,
        }
    }

    /// Returns the next write; `None` where nothing is left that may be written now.
    pub fn next_write(&self) -> Option<Write> {
        let role = match &self.plan.shared {
            Some(shared) => next_write(shared, &self.sizes, &self.goal, &self.writable)?,
            None => self.writable.iter().position(Option::is_some)?,
        };
        self.write(role)
    }

    /// Records how a write went: whether the role has the new size now. It is not tried again in
    /// this step.
    pub fn record(&mut self, write: Write, accepted: bool) {
        self.writable[write.role] = None;
        if accepted {
            self.sizes[write.role] = write.to;
        }
    }

    /// Leaves a role out of this step: what has to come before its write has failed.
    pub fn skip(&mut self, role: usize) {
        self.writable[role] = None;
    }

    /// Returns the writes that are left because the ratio to another role would suffer.
    pub fn waiting(&self) -> impl Iterator<Item = Write> {
        (0..self.writable.len()).filter_map(|role| self.write(role))
    }

    fn write(&self, role: usize) -> Option<Write> {
        let from = self.plan.roles[role].decision.current;
        self.writable[role].map(|to| Write { role, from, to })
    }
}
