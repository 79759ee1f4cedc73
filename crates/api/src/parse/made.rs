//! What has been made of the tables of engines and gateways. Thousands of autoscalers share it.

use std::sync::{Arc, Mutex, PoisonError};

use llm_autoscaler_engines::{Engine, Program, Recipe, Signal};

/// What has been made so far, by its key.
pub(super) struct Made<T, K = Engine>(Mutex<Vec<(K, Option<Arc<T>>)>>);

impl<T, K: Copy + Eq> Made<T, K> {
    /// Begins with nothing.
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Returns what was made for a key, or makes it.
    pub(super) fn get(&self, key: K, build: impl FnOnce() -> Option<T>) -> Option<Arc<T>> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = made.iter().find(|(made_for, _)| *made_for == key) {
            return known.clone();
        }
        let new = build().map(Arc::new);
        made.push((key, new.clone()));
        new
    }
}

/// Returns how a program reports a signal; `None` if it does not.
pub(super) fn recipe(program: Program, signal: Signal) -> Option<Recipe> {
    static MADE: Made<Recipe, (Program, Signal)> = Made::new();
    let made = MADE.get((program, signal), || program.profile().recipe(signal))?;
    Some((*made).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_of_a_signal_is_that_of_its_program() {
        for engine in Engine::ALL {
            for signal in [Signal::InFlightRequests, Signal::KVCacheUsage, Signal::RequestLatency] {
                for _ in 0..2 {
                    let made = recipe(Program::Engine(engine), signal);
                    assert_eq!(made, engine.profile().recipe(signal), "{engine:?} {signal:?}");
                }
            }
        }
    }
}
