//! Memory that is reused by one scrape after the other.

use std::sync::Mutex;

use crate::lock::lock;

/// The number of spares that are kept.
const KEPT: usize = 32;

/// Spares of one kind of memory.
#[derive(Debug)]
pub(super) struct Spares<T>(Mutex<Vec<T>>);

impl<T> Default for Spares<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> Spares<T> {
    /// Returns a spare, as it was released, or a new one if there is none.
    pub(super) fn acquire(&self) -> T {
        lock(&self.0).pop().unwrap_or_default()
    }

    /// Takes memory back. What is more than is kept is given to the system.
    pub(super) fn release(&self, spare: T) {
        let mut kept = lock(&self.0);
        if kept.len() < KEPT {
            kept.push(spare);
        }
    }

    /// Returns the number of spares.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        lock(&self.0).len()
    }
}
