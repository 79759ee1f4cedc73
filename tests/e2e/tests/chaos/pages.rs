//! The pages of all targets: their loads, and the faults in front of them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use llm_autoscaler_testbed::{Page, Script};

use crate::evidence::{Target, load_for};

/// Chooses pods of a target by their ordinals.
pub(crate) type Pods = fn(i32) -> bool;

/// The pages of all targets.
#[derive(Default)]
pub(crate) struct Pages(Mutex<HashMap<String, State>>);

struct State {
    target: Target,
    script: Script,
    size: i32,
    /// The page that some pods answer with instead.
    fault: Option<(Page, Pods)>,
}

impl Pages {
    /// Adds a target, with the load of its least size.
    pub(crate) fn add(&self, target: Target, script: Script) {
        let (name, size) = (target.name.clone(), target.min);
        let state = State { target, script, size, fault: None };
        state.apply();
        self.lock().insert(name, state);
    }

    /// Sets the load of a target to that of a size.
    pub(crate) fn set_load(&self, target: &str, size: i32) {
        self.change(target, |state| state.size = size);
    }

    /// Has some pods of a target answer with another page.
    pub(crate) fn break_pods(&self, target: &str, page: &Page, is_broken: Pods) {
        self.change(target, |state| state.fault = Some((page.clone(), is_broken)));
    }

    /// Has all pods of a target answer again.
    pub(crate) fn repair(&self, target: &str) {
        self.change(target, |state| state.fault = None);
    }

    fn change(&self, target: &str, change: impl FnOnce(&mut State)) {
        if let Some(state) = self.lock().get_mut(target) {
            change(state);
            state.apply();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sets the pages of all pods. The load is that of the pods which always run, so that the total
    /// does not depend on the size.
    fn apply(&self) {
        let sharing = u64::from(self.target.min.unsigned_abs());
        for ordinal in 0..self.target.max {
            let place = u64::from(ordinal.unsigned_abs());
            let total = load_for(self.size);
            let waiting = if place < sharing { (total + sharing - 1 - place) / sharing } else { 0 };
            let page = match &self.fault {
                Some((page, is_broken)) if is_broken(ordinal) => page.clone(),
                _ => Page::waiting(waiting),
            };
            self.script.set(&format!("{}-{ordinal}", self.target.name), page);
        }
    }
}
